"""The bounded part of the search, and proof that it finds what is wrong. `make test-interleavings` does the rest."""

from dataclasses import replace

import pytest

from switchyard.protocol.jobs import Job
from switchyard.protocol.lanes import WaitEntry
from switchyard.protocol.ports import JobChanged
from tests.fakes.memory_store import MemoryStore
from tests.interleavings.explorer import Search, Step, parse
from tests.interleavings.replaying import Fault
from tests.interleavings.scenarios import SCENARIOS, State


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


def _careless() -> State:
    state = SCENARIOS["two wait"].build()
    store = CarelessDrop()
    store.jobs, store.locks, store.lanes = state.store.jobs, state.store.locks, state.store.lanes
    return replace(state, store=store)


CARELESS = {"careless": replace(SCENARIOS["two wait"], build=_careless)}


def test_an_entry_that_is_dropped_after_it_came_back_is_found() -> None:
    """The race that 620,000 random steps of the model missed."""
    found = Search("careless", ("end", "end"), scenarios=CARELESS).run()
    assert found is not None
    assert found.problem == "b waits without a place in the waiting room"
    assert Search("careless", found.actors, scenarios=CARELESS).replay(found.steps) == found


def test_without_a_fault_that_race_does_not_happen() -> None:
    assert Search("careless", ("end", "end"), scenarios=CARELESS, faults=False).run() is None


def test_a_schedule_is_read_as_it_is_printed() -> None:
    search, steps = parse("one waits:end,cancel b:0 1!throttle 0!kill")
    assert (search.name, search.names) == ("one waits", ("end", "cancel b"))
    assert steps == [Step(0), Step(1, Fault.THROTTLE), Step(0, Fault.KILL)]


@pytest.mark.parametrize("schedule", ["", "nowhere:end:0", "one waits:nobody:0", "one waits:end"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="not a schedule"):
        parse(schedule)
