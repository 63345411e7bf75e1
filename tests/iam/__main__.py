"""`make check-iam`: no function may do what it needn't.

Every permission of every function is taken from the deployed system, one at a time: the built template is deployed
again without it. Then something must fail: one of the courses of events in `probes`. A failure counts only if the same
course passes right afterwards, with the permission back, and fails again without it.

What several functions are granted by one policy is taken from each of them alone, so that none hides behind another.
Permissions that only Lambda itself uses can't be proven on an emulator that doesn't ask for them: `excuses` lists them,
and all of them are taken away together to see that this is so, still.

A permission without which everything still works has survived: it is printed in red, and the command ends with exit
code 1. Either it is superfluous, or it lacks a probe.
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
"""Seconds that a step of a probe is given at the least, with a permission missing."""
COLOURS: Final = {"needed": "green", "excused": "yellow", "survived": "bold red", "excuse void": "bold red"}


@dataclass(frozen=True)
class Finding:
    """What was found of one permission: the failing probe, or the reason, and more of it."""

    permission: Permission
    verdict: str
    because: str
    details: str = ""


class Inspection:
    """Takes permissions away, and looks what fails.

    Args:
        trial: The running system.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._usual: dict[str, float] = {}

    def baseline(self, probe: Probe) -> float:
        """See that a probe passes while nothing is missing; the seconds that it took.

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
        """Take one permission away and look for a probe that fails; the likely ones first."""
        for probe in sorted(PROBES, key=lambda probe: not probe.claimed(permission)):
            if failure := self.fails([permission], probe):
                return Finding(permission, "needed", f"fails: {probe.name}", failure)
        return Finding(permission, "survived", "nothing fails without it", "superfluous, or lacks a probe")

    def fails(self, taken: Sequence[Permission], probe: Probe) -> str | None:
        """How a probe fails without these permissions, and for no other reason; None if it doesn't."""
        usual = self._usual.get(probe.name) or self.baseline(probe)
        # On a busy machine it may fail for being slow, but hardly twice, and not in between.
        return self._without(taken, probe, usual) and self._without(taken, probe, self.baseline(probe))

    def _without(self, taken: Sequence[Permission], probe: Probe, usual: float) -> str | None:
        with self._trial.lacking(taken):
            outcome = self._trial.run(probe, patience=min(PATIENCE, max(LEAST_PATIENCE, 2 * usual)))
        self._trial.clear()
        return outcome.failure


@click.command(help=(__doc__ or "").partition("\n")[2])
@click.option("--only", multiple=True, metavar="TEXT", help="Only permissions whose line in --list holds this text.")
@click.option("--list", "only_list", is_flag=True, help="List the permissions, and what is there to prove each.")
def main(*, only: tuple[str, ...], only_list: bool) -> None:
    """Show that nothing can be taken from any function's policies."""
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
            raise click.ClickException("there is no such permission; --list shows all")
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
    for probe in progress.track(likely, description="with everything in place"):
        seconds = inspection.baseline(probe)
        progress.console.print(f"[dim]passes: {probe.name} ({seconds:.1f} s)[/]")
    if excused:
        each = progress.track(PROBES, description="without all that is excused")
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
        "function", "permission", "from", "", "because", title="What each function may do", title_justify="left"
    )
    for finding in findings:
        permission = finding.permission
        verdict = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(permission.function, permission.what, permission.policy, verdict, escape(finding.because))
    return table


if __name__ == "__main__":
    main()
