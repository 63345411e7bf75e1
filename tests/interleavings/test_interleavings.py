"""The bounded part of the search, and proof that it finds what is wrong. `make test-interleavings` does the rest."""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from switchyard.protocol.jobs import Job, WorkRequest
from switchyard.protocol.lanes import Lane, ObjectLock, Pause, WaitEntry
from switchyard.protocol.ports import Claimed, EntryGone, JobChanged, LaneFull, ObjectLocked
from tests.fakes.memory_store import MemoryStore
from tests.interleavings.explorer import Search, Step, parse
from tests.interleavings.replaying import Fault
from tests.interleavings.scenarios import SCENARIOS, Scenario, State


@pytest.mark.parametrize(
    ("scenario", "names"),
    [
        ("nothing", ("a", "same")),
        ("nothing", ("a", "other")),
        ("nothing", ("newer", "cancel")),
        ("running", ("end", "b")),
        ("running", ("end", "newer")),
        ("one waits", ("end", "cancel b")),
        ("claimed", ("a", "cancel")),
        ("another object waits", ("end", "cancel")),
        ("given up", ("a", "newer")),
        ("interrupted", ("end", "end")),
        ("interrupted", ("end", "cancel")),
        ("interrupted", ("end", "newer")),
        ("no room", ("wake", "c")),
        ("no room", ("wake", "cancel")),
    ],
)
def test_no_meeting_of_two_with_a_fault_breaks_an_invariant(scenario: str, names: tuple[str, ...]) -> None:
    assert Search(scenario, names).run() is None


def test_nothing_that_meets_the_reconciler_breaks_an_invariant() -> None:
    assert Search("running", ("newer", "reconcile"), faults=False).run() is None


class CarelessDrop(MemoryStore):
    """Drops an entry whatever has become of its job."""

    def drop(self, entry: WaitEntry, seen: Job | None) -> JobChanged | None:  # noqa: ARG002
        return super().drop(entry, self.get(entry.request.job_id))


class NoLimit(MemoryStore):
    """Lets more jobs hold a slot than there are."""

    def claim(
        self, request: WorkRequest, seen: Job | None, lane: Lane, *, entry: WaitEntry | None = None, fifo: bool = True
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        return super().claim(request, seen, replace(lane, limit=9), entry=entry, fifo=fifo)


class NoFifo(MemoryStore):
    """Lets new work overtake work that waits."""

    def claim(
        self,
        request: WorkRequest,
        seen: Job | None,
        lane: Lane,
        *,
        entry: WaitEntry | None = None,
        fifo: bool = True,  # noqa: ARG002
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        return super().claim(request, seen, lane, entry=entry, fifo=False)


class NoLock(MemoryStore):
    """Lets two jobs work on one object."""

    def _locked(self, request: WorkRequest) -> ObjectLock | None:  # noqa: ARG002
        return None


class SameFence(MemoryStore):
    """Starts a claim again under its old fence."""

    def raise_fence(self, job: Job) -> Claimed | JobChanged:
        return Claimed(self.jobs[job.id])


class BlindToPauses(MemoryStore):
    """Lets everybody lengthen a pause, whoever was first."""

    def set_pause(self, lane: Lane, seen: Pause | None, to: Pause | None) -> bool:  # noqa: ARG002
        self.lanes[lane.name].pause = to
        return True


class DeafToCancels(MemoryStore):
    """Forgets that a cancel was requested."""

    def request_cancel(self, job: Job, **_: object) -> Job | JobChanged:
        return self.jobs[job.id]


class FreesUncounted(MemoryStore):
    """Removes a hold without counting it."""

    def _free(self, lane: str, job_id: str) -> bool:
        self.lanes[lane].holders.discard(job_id)
        return True


class CountsWhatIsGone(MemoryStore):
    """Counts a slot as freed each time that its job's end is told of."""

    def _free(self, lane: str, job_id: str) -> bool:
        freed = super()._free(lane, job_id)
        if not freed:
            self._count(lane, taken=-1)
        return freed


class LeavesUncounted(MemoryStore):
    """Takes an entry out of the waiting room without counting it."""

    def _leave(self, entry: WaitEntry) -> bool:
        return self._place(entry).pop(entry.sort_key, None) is not None


def _with(name: str, store: MemoryStore) -> Mapping[str, Scenario]:
    """The scenario over another store."""

    def build() -> State:
        state = SCENARIOS[name].build()
        broken = copy.copy(store)
        broken.jobs, broken.locks, broken.lanes = state.store.jobs, state.store.locks, state.store.lanes
        return replace(state, store=broken)

    return {name: replace(SCENARIOS[name], build=build)}


@pytest.mark.parametrize(
    ("store", "scenario", "names", "problem"),
    [
        (NoLimit(), "nothing", ("a", "b"), "more holders than slots"),
        (NoFifo(), "one waits", ("end", "c"), r"started in the order \['c', 'b'\]"),
        (NoLock(), "nothing", ("a", "same"), "not its object's lock"),
        (SameFence(), "claimed", ("a", "a"), "a claim was started twice"),
        (BlindToPauses(), "no room", ("wake", "wake"), "two jobs were tried"),
        (FreesUncounted(), "running", ("end", "b"), "1 slots counted, 0 held"),
        (CountsWhatIsGone(), "running", ("end", "end"), "-1 slots counted, 0 held"),
        (LeavesUncounted(), "one waits", ("end", "cancel b"), "1 counted, 0 wait"),
        (DeafToCancels(), "running", ("cancel", "running"), "after its cancel was answered"),
    ],
    ids=["limit", "fifo", "lock", "fence", "pause", "freed uncounted", "freed twice", "left uncounted", "cancel"],
)
def test_a_store_without_a_condition_is_found(
    store: MemoryStore, scenario: str, names: tuple[str, ...], problem: str
) -> None:
    searches = (Search(scenario, names, faults=faults, scenarios=_with(scenario, store)) for faults in (False, True))
    found = next(filter(None, (search.run() for search in searches)), None)
    assert found is not None
    assert re.search(problem, found.problem)


CARELESS = _with("two wait", CarelessDrop())


def test_an_entry_that_is_dropped_after_it_came_back_is_found() -> None:
    """The race that 620,000 random steps of the model missed."""
    found = Search("two wait", ("end", "end"), scenarios=CARELESS).run()
    assert found is not None
    assert found.problem == "b waits without a place in the waiting room"
    assert Search("two wait", found.actors, scenarios=CARELESS).replay(found.steps) == found


def test_without_a_fault_that_race_does_not_happen() -> None:
    assert Search("two wait", ("end", "end"), scenarios=CARELESS, faults=False).run() is None


def test_a_schedule_is_read_as_it_is_printed() -> None:
    search, steps = parse("one waits:end,cancel b:0 1!throttle 0!kill")
    assert (search.name, search.names) == ("one waits", ("end", "cancel b"))
    assert steps == [Step(0), Step(1, Fault.THROTTLE), Step(0, Fault.KILL)]


@pytest.mark.parametrize("schedule", ["", "nowhere:end:0", "one waits:nobody:0", "one waits:end"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="not a schedule"):
        parse(schedule)
