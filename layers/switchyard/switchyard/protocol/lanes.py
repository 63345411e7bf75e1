"""Lanes: slots, waiting room and object locks. Pure; `tables.store` keeps them in LanesTable.

pk                       sk                            attributes
LANE#<name>              SLOTS                         taken: slots in use; waiting: entries under WAIT#; later: entries
                                                       under WAITS_UNTIL#; moves: how often one of these changed;
                                                       pause: see `Pause`
HOLDS#<name>             <jobId>                       none: this job holds a slot
LANE#<name>              WAIT#<place>#<due>#<jobId>#…  request: the frozen request (JSON); attempts: refused starts
LANE#<name>              WAITS_UNTIL#<due>#<jobId>#…   the same, until it is due
OBJECT#<bucket>/<key>    LOCK                          jobId, version: the accepted job that works on this object

A slot is counted, and its hold written, in one transaction. So a claim costs the same however many jobs are active.
`<place>` is 9 for priority 0, down to 0 for priority 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import PRIORITIES, Source, WorkRequest

SLOTS = "SLOTS"
LOCK = "LOCK"
WAIT_PREFIX = "WAIT#"
ANY_ENTRY = "WAIT"
LATER_PREFIX = "WAITS_UNTIL#"


@dataclass(frozen=True, slots=True)
class Lane:
    """A path to a target with at most `limit` concurrent jobs."""

    name: str
    limit: int


OPERATOR = "OPERATOR"
"""The reason of a pause that an operator has set. It ends when an operator ends it."""
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pause:
    """A lane whose target takes no job, and in which nothing starts until then. `reason` is the code of the error.

    Without `until`, an operator has paused it. Otherwise one waiting job is tried then, and whoever tries it first
    lengthens the pause. So there is one try at a time, and a try that dies leaves the lane paused. A start that works
    ends the pause.
    """

    until: datetime | None
    tries: int
    reason: str

    @classmethod
    def begin(cls, now: datetime, reason: str) -> Pause:
        """The pause after a first start that the target did not take."""
        return cls(now + FIRST_PAUSE, 1, reason)

    @classmethod
    def by_operator(cls) -> Pause:
        """A pause that lasts until an operator ends it."""
        return cls(None, 0, OPERATOR)

    def again(self, now: datetime) -> Pause:
        """The pause after one more try: twice as long, up to LONGEST_PAUSE."""
        longer: timedelta = FIRST_PAUSE * 2 ** min(self.tries, 16)
        return Pause(now + min(longer, LONGEST_PAUSE), self.tries + 1, self.reason)

    def is_over(self, now: datetime) -> bool:
        """Whether the next job may be tried. A wrong clock can't pause a lane for longer than LONGEST_PAUSE."""
        return self.until is not None and not now < self.until <= now + LONGEST_PAUSE


@dataclass(frozen=True, slots=True)
class Slots:
    """The state of a lane: how many slots are in use, how many jobs wait for one, and how many wait for their time.

    `moves` counts the changes of these numbers. `pause` is set while the target takes no job.
    """

    taken: int
    waiting: int
    later: int = 0
    moves: int = field(default=0, compare=False)
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class WaitEntry:
    """An entry of the waiting room, or with `later` one that waits for its time. `attempts` counts refused starts.

    `stored_key` is the sort key of an entry that was read, since earlier versions formed keys in other ways.
    """

    request: WorkRequest
    attempts: int = 0
    later: bool = False
    stored_key: str = field(default="", compare=False)

    @classmethod
    def of(cls, request: WorkRequest, now: datetime) -> WaitEntry:
        """The entry of a job that has to wait."""
        return cls(request, later=request.start_after is not None and request.start_after > now)

    def moved(self) -> WaitEntry:
        """The same entry in the other place: in the waiting room once it is due, or among those that are not."""
        return replace(self, later=not self.later, stored_key="")

    @property
    def sort_key(self) -> str:
        """Sorts entries by priority and the time they are due. The same message always has the same key."""
        # Two uploads that arrive in one message have different keys: the object and its version tell them apart.
        request, source = self.request, self.request.source
        work = stable_hash(source.bucket, source.key, source.version, length=8)
        prefix = LATER_PREFIX if self.later else f"{WAIT_PREFIX}{PRIORITIES[-1] - request.priority}#"
        return self.stored_key or f"{prefix}{clock.iso(request.due)}#{request.job_id}#{work}"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """The job that works on an object, and the source version that it works on."""

    job_id: str
    version: str


def lane_key(lane: str) -> str:
    """The partition key of a lane."""
    return f"LANE#{lane}"


def holds_key(lane: str) -> str:
    """The partition key of the jobs that hold a lane's slots. Not the lane's own, whose write units SLOTS needs."""
    return f"HOLDS#{lane}"


def object_key(source: Source) -> str:
    """The partition key of an object's lock. At most 1,095 bytes; DynamoDB allows 2,048."""
    return f"OBJECT#{source.bucket}/{source.key}"
