"""Shows that no function has a superfluous permission (`make check-iam`).

It removes each permission of each function from the deployed system, one at a time, by deploying the built template
without it. Then one of the scenarios in `probes` must fail. A failure counts only if the same probe passes right
afterwards with the permission restored, and fails again without it.

If one policy grants several functions a permission, it is removed from each of them separately. Permissions that only
Lambda itself uses can't be proven, because the emulator doesn't check them. `excuses` lists them, and all of them are
removed together to verify that this is still true.

If everything works without a permission, it is printed in red, and the command exits with 1. Either it is superfluous,
or it lacks a probe.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from local.environment import seal_this_process
from local.view import console
from tests.iam.excuses import excuse
from tests.iam.permissions import Permission, permissions
from tests.iam.probes import PROBES, Probe
from tests.iam.trial import Trial
from tests.integration.system import PATIENCE
from tests.template.rendering import TEMPLATE, load

LEAST_PATIENCE: Final = 8.0
"""The minimum number of seconds for a step of a probe while a permission is missing."""
COLOURS: Final = {"needed": "green", "excused": "yellow", "survived": "bold red", "excuse void": "bold red"}


@dataclass(frozen=True)
class Finding:
    """The result for one permission: the verdict, the failing probe or the reason, and details."""

    permission: Permission
    verdict: str
    because: str
    details: str = ""


class Inspection:
    """Removes permissions and finds the probes that fail.

    Args:
        trial: The running system.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._usual: dict[str, float] = {}

    def baseline(self, probe: Probe) -> float:
        """Checks that a probe passes with all permissions, and returns the seconds it took.

        Raises:
            click.ClickException: If it doesn't.
        """
        outcome = self._trial.run(probe)
        self._trial.clear()
        if outcome.failure is not None:
            raise click.ClickException(f"with every permission in place, {probe.name!r} fails: {outcome.failure}")
        self._usual[probe.name] = outcome.seconds
        return outcome.seconds

    def inspect(self, permission: Permission) -> Finding:
        """Removes one permission and looks for a probe that fails, the likely ones first."""
        for probe in sorted(PROBES, key=lambda probe: not probe.claimed(permission)):
            if failure := self.fails([permission], probe):
                return Finding(permission, "needed", f"fails: {probe.name}", failure)
        return Finding(permission, "survived", "nothing fails without it", "superfluous, or lacks a probe")

    def fails(self, taken: Sequence[Permission], probe: Probe) -> str | None:
        """Returns how a probe fails because these permissions are missing; None if it passes."""
        usual = self._usual.get(probe.name) or self.baseline(probe)
        # On a busy machine a probe may time out once, but hardly twice with a pass in between.
        return self._without(taken, probe, usual) and self._without(taken, probe, self.baseline(probe))

    def _without(self, taken: Sequence[Permission], probe: Probe, usual: float) -> str | None:
        with self._trial.lacking(taken):
            outcome = self._trial.run(probe, patience=min(PATIENCE, max(LEAST_PATIENCE, 2 * usual)))
        self._trial.clear()
        return outcome.failure


@click.command(help=(__doc__ or "").partition("\n")[2])
@click.option("--only", multiple=True, metavar="TEXT", help="Only permissions whose line in --list contains this text.")
@click.option("--list", "only_list", is_flag=True, help="List the permissions, and the probes or the excuse of each.")
def main(*, only: tuple[str, ...], only_list: bool) -> None:
    """Show that no function has a superfluous permission."""
    screen = console()
    seal_this_process()
    if only_list:
        for permission in _chosen(permissions(load(TEMPLATE).written), only):
            proof = [probe.name for probe in PROBES if probe.claimed(permission)]
            if why := excuse(permission):
                proof = [why.reason, why.page]
            screen.print(f"{permission}  [dim]{escape(' · '.join(proof))}[/]")
        return
    began = time.monotonic()
    with Trial.running(screen.print) as trial:
        chosen = _chosen(permissions(trial.template), only)
        if not chosen:
            raise click.ClickException("no such permission; --list shows all")
        with _progress() as progress:
            findings = _inspect(Inspection(trial), chosen, progress)
    screen.print(_table(findings))
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in COLOURS}
    figures = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    screen.print(f"{len(findings)} permissions: {figures}; {timedelta(seconds=round(time.monotonic() - began))}")
    sys.exit(1 if counts["survived"] or counts["excuse void"] else 0)


def _chosen(found: Sequence[Permission], only: Sequence[str]) -> list[Permission]:
    return [permission for permission in found if not only or any(text in str(permission) for text in only)]


def _inspect(inspection: Inspection, chosen: Sequence[Permission], progress: Progress) -> list[Finding]:
    excused = [permission for permission in chosen if excuse(permission)]
    to_prove = [permission for permission in chosen if not excuse(permission)]
    findings: list[Finding] = []

    likely = [probe for probe in PROBES if excused or any(probe.claimed(permission) for permission in to_prove)]
    for probe in progress.track(likely, description="with every permission"):
        seconds = inspection.baseline(probe)
        progress.console.print(f"[dim]passes: {probe.name} ({seconds:.1f} s)[/]")
    if excused:
        each = progress.track(PROBES, description="without all excused permissions")
        failing = [probe.name for probe in each if inspection.fails(excused, probe)]
        findings += [_excused(permission, failing) for permission in excused]
    one_by_one = progress.track(to_prove, len(to_prove), description="one permission at a time")
    for number, permission in enumerate(one_by_one, 1):
        finding = inspection.inspect(permission)
        findings.append(finding)
        progress.console.print(f"{number:>2}/{len(to_prove)}  {permission}  {_coloured(finding)}")
    order = {permission: number for number, permission in enumerate(chosen)}
    return sorted(findings, key=lambda finding: order[finding.permission])


def _excused(permission: Permission, failing: Sequence[str]) -> Finding:
    why = excuse(permission)
    if failing or not why:
        return Finding(permission, "excuse void", f"fails: {' · '.join(failing)} (or another's doing: --only)")
    return Finding(permission, "excused", why.reason, why.page)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(),
    )


def _coloured(finding: Finding) -> str:
    return f"[{COLOURS[finding.verdict]}]{finding.verdict}[/] {escape(f'{finding.because}: {finding.details}')}"


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(
        "function", "permission", "from", "", "because", title="Permissions of each function", title_justify="left"
    )
    for finding in findings:
        permission = finding.permission
        verdict = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(permission.function, permission.what, permission.policy, verdict, escape(finding.because))
    return table


if __name__ == "__main__":
    main()
