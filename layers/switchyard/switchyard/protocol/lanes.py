"""Lanes: slots, waiting room and object locks. Pure; `tables.store` keeps them in LanesTable.

pk                       sk                      attributes
LANE#<name>              SLOTS                   holders: set of job ids; waiting: entries in the waiting room;
                                                 moves: how often an entry came or went;
                                                 layouts: numbers of shards the lane has ever had, without 1;
                                                 pause: see `Pause`
LANE#<name>              WAIT#<due>#<jobId>#…    request: the frozen request (JSON); attempts: refused starts
OBJECT#<bucket>/<key>    LOCK                    jobId, version: the accepted job that works on this object

A busy lane is divided into shards, `<name>/<number>of<shards>`: lanes with a share of the slots and their own waiting
room (ADR 0016). A shard's name includes the number of shards, the layout, so that jobs in it are still found and
started after the layout has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Source, WorkRequest

SLOTS = "SLOTS"
LOCK = "LOCK"
WAIT_PREFIX = "WAIT#"

_SHARD = re.compile(r"(?P<lane>.+)/(?P<number>[0-9]{1,2})of(?P<shards>[0-9]{1,2})")
_MOST_SHARDS = 64
"""The highest LANE_SHARDS. A row may name any lane; more shards are none of ours, and would all be visited."""
_SLOTS_TO_DIVIDE = 50
"""The fewest slots per shard. With fewer, jobs would too often wait in one shard while another has free slots."""

HOLDERS_LIMIT = 3000
"""How many holders with ids of 128 characters fit into a DynamoDB item of 400 KB."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A path to a target with at most `limit` concurrent jobs. Its slots are divided among `shards`."""

    name: str
    limit: int
    shards: int = 1

    def shard_for(self, job_id: str) -> Lane:
        """The shard of a job, always the same one; the lane itself if it has one shard."""
        return self.shard(int(stable_hash(job_id, length=8), 16) % self.shards, self.shards)

    def shard(self, number: int, shards: int) -> Lane:
        """Shard `number` of a layout of `shards`; the whole lane if `shards` is 1."""
        if shards == 1:
            return Lane(self.name, self.limit)
        limit = self.limit // shards + (number < self.limit % shards)
        # If the limit is now below an older layout's number of shards, jobs that wait in them must still be started.
        return Lane(f"{self.name}/{number}of{shards}", max(limit, 1))


def divided(name: str, limit: int, shards: int) -> Lane:
    """A lane with `shards` shards, or with one if each would have too few slots."""
    return Lane(name, limit, shards if limit >= shards * _SLOTS_TO_DIVIDE else 1)


def lane_of(name: str) -> str:
    """The name of the whole lane, given its name or that of a shard."""
    return _parse(name)[0]


def layout_of(name: str) -> int:
    """The number of shards in the layout of a lane's or shard's name."""
    return _parse(name)[2]


def find(lanes: Mapping[str, Lane], name: str) -> Lane | None:
    """Finds a lane or shard by name, also of an older layout. None if there is no such lane."""
    lane, number, shards = _parse(name)
    return lanes[lane].shard(number, shards) if lane in lanes else None


def _parse(name: str) -> tuple[str, int, int]:
    """Splits a name into lane, shard number and number of shards. A name that is no shard's stands for itself."""
    if shard := _SHARD.fullmatch(name):
        number, shards = int(shard["number"]), int(shard["shards"])
        if number < shards <= _MOST_SHARDS:
            return shard["lane"], number, shards
    return name, 0, 1


FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pause:
    """A lane whose target takes no job: nothing starts until then. `reason` is the code of the error.

    Then one waiting job is tried, and whoever tries it first lengthens the pause. So there is one try at a time, and
    a try that dies leaves the lane paused. A start that works ends the pause.
    """

    until: datetime
    tries: int
    reason: str

    @classmethod
    def begin(cls, now: datetime, reason: str) -> Pause:
        """The pause after a first start that the target did not take."""
        return cls(now + FIRST_PAUSE, 1, reason)

    def again(self, now: datetime) -> Pause:
        """The pause after one more try: twice as long, up to LONGEST_PAUSE."""
        longer: timedelta = FIRST_PAUSE * 2 ** min(self.tries, 16)
        return Pause(now + min(longer, LONGEST_PAUSE), self.tries + 1, self.reason)

    def is_over(self, now: datetime) -> bool:
        """Whether the next job may be tried. A wrong clock can't pause a lane for longer than LONGEST_PAUSE."""
        return not now < self.until <= now + LONGEST_PAUSE


@dataclass(frozen=True, slots=True)
class Slots:
    """The state of a lane: the jobs that hold its slots, the number that wait, and its layouts so far, without 1.

    `moves` counts how often an entry of the waiting room came or went. `pause` is set while the target takes no job.
    """

    holders: frozenset[str]
    waiting: int
    layouts: frozenset[int] = frozenset()
    moves: int = field(default=0, compare=False)
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class WaitEntry:
    """An entry of the waiting room. `attempts` counts the starts that the target refused.

    `stored_key` is the sort key of an entry that was read, since earlier versions formed keys in other ways.
    """

    request: WorkRequest
    attempts: int = 0
    stored_key: str = field(default="", compare=False)

    @property
    def sort_key(self) -> str:
        """Sorts entries by the time they are due. The same message always has the same key."""
        # Two uploads that arrive in one message have different keys: the object and its version tell them apart.
        request, source = self.request, self.request.source
        work = stable_hash(source.bucket, source.key, source.version, length=8)
        return self.stored_key or f"{WAIT_PREFIX}{clock.iso(request.due)}#{request.job_id}#{work}"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """The job that works on an object, and the source version that it works on."""

    job_id: str
    version: str


def lane_key(lane: str) -> str:
    """The partition key of a lane."""
    return f"LANE#{lane}"


def object_key(source: Source) -> str:
    """The partition key of an object's lock. At most 1,095 bytes; DynamoDB allows 2,048."""
    return f"OBJECT#{source.bucket}/{source.key}"
