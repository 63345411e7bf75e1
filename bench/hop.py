"""Time from an upload to its job, and from one job's end to the next one's start, on the deployed local system.

Each is compared with the emulator's own hop from the same kind of event to a no-op function. All take turns.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from bench.environment import Layer
from bench.hop_system import Bare, Nothing, System, Way, deployed
from bench.measure import Effort, Samples
from bench.report import table, verdict
from switchyard.messages.kinds import VIDEO

_UPLOADS, _ENDS = 6, 4
"""Per round: with five rounds 30 uploads and 20 ends."""
_WARM = 4
"""Warm-up turns that are not counted: functions start, rules are read."""
_OWN = 20.0
"""Milliseconds ours may take beyond the hop and three calls."""
_CALLS = ("TransactWriteItems", "SubmitJob", "UpdateItem")
_FIGURES = "ms: median, lowest-highest"


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Deploys one system, measures everything on it, and ends it."""
    with deployed() as system:
        uploads = Uploads(system, system.nothing("bench-uploads"), Bare(system.stack))
        ends = Ends(system, system.nothing("bench-events"), system.witness("bench-witness"))
        many_uploads, many_ends = effort.of((effort.rounds * _UPLOADS, effort.rounds * _ENDS), (1, 1))
        return [*uploads.measured(many_uploads), *ends.measured(many_ends, uploads.calls)]


def in_turns(turns: Sequence[Callable[[], None]], times: int) -> None:
    """Runs all turns `times` times, in a shifting order."""
    for turn in range(times):
        first = turn % len(turns)
        for each in (*turns[first:], *turns[:first]):
            each()


@dataclass
class Uploads:
    """Uploads to the media bucket and to the no-op function's bucket, and the bare calls."""

    system: System
    nothing: Nothing
    maker: Bare
    ours: list[Way] = field(default_factory=list)
    hops: list[Way] = field(default_factory=list)
    bare: list[dict[str, float]] = field(default_factory=list)

    def measured(self, times: int) -> list[Table]:
        """Makes `times` uploads to each bucket, and the bare calls as often."""
        self._over(self.maker.first_run)
        in_turns((self._ours, self._hop, self._bare), _WARM + times)
        del self.ours[:_WARM], self.hops[:_WARM], self.bare[:_WARM]
        return [self._parts(times), self.budget()]

    @property
    def calls(self) -> dict[str, Samples]:
        """Returns the duration of each bare call in ms."""
        return {name: Samples(tuple(took[name] for took in self.bare)) for name in self.bare[0]}

    def _ours(self) -> None:
        key, begun, uploaded = self.system.upload()
        self.ours.append(self.system.started(key, begun, uploaded))
        run = self.system.run_of(key)
        assert run is not None  # noqa: S101 - the job exists
        self._over(run["jobId"])

    def _hop(self) -> None:
        self.hops.append(self.system.upload_to_nothing(self.nothing))

    def _bare(self) -> None:
        run, took = self.maker.make()
        self.bare.append(took)
        self._over(run)

    def _over(self, run: str) -> None:
        self.system.end(run)
        self.system.settle()

    def _parts(self, times: int) -> Table:
        shown = table(
            f"From an upload to its job, {times} uploads of each, {_FIGURES}",
            *("", "ours", "function that does nothing"),
            caption="Message sent: by S3. At work: ours begins to claim the job, the other is called. Answered: with "
            "what the emulator waits for a function's last line of log.",
        )
        for name, start, end in (
            ("upload begun → its answer", "begun", "uploaded"),
            ("upload begun → message sent", "begun", "sent"),
            ("message sent → function at work", "sent", "entered"),
            ("function at work → job taken by Batch", "entered", "taken"),
            ("job taken → function has answered", "taken", "done"),
            ("function at work → it has answered", "entered", "done"),
        ):
            hop = _between(self.hops, start, end).show(0) if "taken" not in (start, end) else ""
            shown.add_row(name, _between(self.ours, start, end).show(0), hop)
        for call, took in self.calls.items():
            shown.add_row(f"bare {call}", took.show(0), "")
        return shown

    def budget(self) -> Table:
        """Compares ours with the budget: until Batch has the job, and until the function has answered."""
        shown = table(
            f"From an upload to its job: ours beside the hop and three calls, {_FIGURES}",
            *("from the upload", "ours", "hop", "three calls", "ours ÷ (hop + calls)", "ours beyond them", "budget"),
            caption="Hop: to the no-op function. Beyond: ours minus hop and calls of the same turn.",
        )
        calls = [sum(took[name] for name in _CALLS) for took in self.bare]
        for name, end, reached in (
            ("until Batch has the job", "taken", "entered"),
            ("until the function has answered", "done", "done"),
        ):
            ours, hops = _between(self.ours, "begun", end), _between(self.hops, "begun", reached)
            least = Samples(tuple(hop + three for hop, three in zip(hops.values, calls, strict=True)))
            beyond = Samples(tuple(mine - floor for mine, floor in zip(ours.values, least.values, strict=True)))
            figures = (ours.show(0), hops.show(0), Samples(tuple(calls)).show(0), ours.over(least).show())
            shown.add_row(name, *figures, beyond.show(0), verdict(round(beyond.median), _OWN, " ms"))
        return shown


@dataclass
class Ends:
    """Ends of runs while other jobs wait, and events for the no-op function."""

    system: System
    nothing: Nothing
    witness: str
    ours: list[Way] = field(default_factory=list)
    hops: list[Way] = field(default_factory=list)
    batch_calls: list[Counter[str]] = field(default_factory=list)

    def measured(self, times: int, bare: Mapping[str, Samples]) -> list[Table]:
        """Measures `times` ends in a lane of one slot, and as many events. `bare` has each call's own duration."""
        self.system.listens(self.nothing)
        for _ in range(_WARM + times + 2):  # one runs first, and one ends while calls are recorded
            self.system.upload()
        self.system.settle(free=False)
        in_turns((self._ours, self._hop), _WARM + times)
        del self.ours[:_WARM], self.hops[:_WARM], self.batch_calls[:_WARM]
        with self.system.recorded() as calls:
            self._ours()
        self.ours.pop()
        own = sum(bare[name].median for name in (*calls[:-1], "SubmitJob"))  # the last call records the start
        return [self._parts(times, own), self.calls(calls)]

    def _ours(self) -> None:
        [run] = self.system.runs()
        before = self.system.batch_calls()
        self.system.end(run["jobId"])
        way = self.system.next_start(run["jobId"])
        self.batch_calls.append(self.system.batch_calls() - before)
        told = self.system.told_at(self.witness, run["jobId"])
        self.ours.append(Way({**way.moments, "sent": told}))
        self.system.settle(free=False)
        if len(self.system.view.lane(VIDEO.lane).holders) != 1:
            raise RuntimeError("one slot is not one job")

    def _hop(self) -> None:
        self.hops.append(self.system.tell_nothing(self.nothing))

    def _parts(self, times: int, own: float) -> Table:
        shown = table(
            f"From one job's end to the next one's start, one slot, {times} ends, {_FIGURES}",
            *("", "ours", "event to a function that does nothing", "ours ÷ it"),
            caption="Ours: from the end as Batch reports it. A second queue behind a rule like ours shows "
            "when the event was sent, slightly late. The other: PutEvents, a rule, a queue, a function.",
        )
        for name, start, end in (
            ("end, or event put → message sent", "begun", "sent"),
            ("message sent → next claim begun, or called", "sent", "entered"),
            ("next claim begun → next job taken by Batch", "entered", "taken"),
        ):
            hop = _between(self.hops, start, end).show(0) if end != "taken" else ""
            shown.add_row(name, _between(self.ours, start, end).show(0), hop, "")
        ours, hops = _between(self.ours, "begun", "taken"), _between(self.hops, "begun", "entered")
        beyond = Samples(tuple(mine - hop - own for mine, hop in zip(ours.values, hops.values, strict=True)))
        shown.add_row("all", ours.show(0), hops.show(0), ours.over(hops).show())
        shown.add_row("the calls until the start, by what each takes bare", f"{own:.0f}", "", "")
        shown.add_row("ours beyond event and calls", beyond.show(0), "", "")
        return shown

    def calls(self, calls: list[str]) -> Table:
        """Lists the calls in between: all calls of Batch for all ends, and other calls by `track_job` for one end."""
        shown = table(
            "Calls between one job's end and the next one's start",
            *("", "calls"),
            caption="The bench calls TerminateJob to end the job. Nobody polls Batch for status: no "
            "DescribeJobs, no ListJobs.",
        )
        shown.columns[1].no_wrap = False
        counts = sum(self.batch_calls, Counter[str]())
        asked = ", ".join(f"{name} {count}" for name, count in counts.items())
        shown.add_row(f"of Batch, by anybody, {len(self.batch_calls)} ends", asked)
        shown.add_row("of all else, by track_job, one end, until it has noted the start", ", ".join(calls))
        polls = sum(counts[name] for name in ("DescribeJobs", "ListJobs"))
        shown.add_row("polls", verdict(polls, 0))
        return shown


def _between(ways: Sequence[Way], start: str, end: str) -> Samples:
    return Samples(tuple(way.milliseconds(start, end) for way in ways))
