"""Lanes: slots, the waiting room and object locks, as the LanesTable holds them. Pure: `store` reads and writes.

pk                       sk                      attributes
LANE#<name>              SLOTS                   holders: set of job ids; waiting: entries in the waiting room;
                                                 layouts: into how many shards the lane was ever divided, 1 left out
LANE#<name>              WAIT#<sentAt>#<jobId>#… request: the frozen request (JSON); attempts: refused starts
OBJECT#<bucket>/<key>    LOCK                    jobId, version: the one accepted job that works on this object

A lane that many claims meet in is divided into shards: lanes in their own right, `<name>/<number>of<shards>`, each with
its part of the slots and a waiting room of its own (ADR 0016). Their names say of which layout they are, so that what
is in one finds its way out of it after the layout has changed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Source, WorkRequest

SLOTS = "SLOTS"
LOCK = "LOCK"
WAIT_PREFIX = "WAIT#"


_SHARD = re.compile(r"(?P<lane>.+)/(?P<number>[0-9]+)of(?P<shards>[0-9]+)")
_SLOTS_TO_DIVIDE = 50
"""With fewer slots a shard, jobs would too often wait in one while another has slots free."""

HOLDERS_LIMIT = 3000
"""Holders that fit into one item of DynamoDB's 400 KB, with ids of 128 characters."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A path to a target: at most `limit` jobs at a time, whose slots are divided among so many shards."""

    name: str
    limit: int
    shards: int = 1

    def shard_for(self, job_id: str) -> "Lane":
        """Where a job's slot is, always the same; the lane itself where it is not divided."""
        return self.shard(int(stable_hash(job_id, length=8), 16) % self.shards, self.shards)

    def shard(self, number: int, shards: int) -> "Lane":
        """One shard of a layout of so many; the lane as a whole where that is one."""
        if shards == 1:
            return Lane(self.name, self.limit)
        limit = self.limit // shards + (number < self.limit % shards)
        # Where the limit has come down below an older layout's shards, what waits in one must come out all the same.
        return Lane(f"{self.name}/{number}of{shards}", max(limit, 1))


def divided(name: str, limit: int, shards: int) -> Lane:
    """A lane in so many shards, or whole where each would have too few slots."""
    return Lane(name, limit, shards if limit >= shards * _SLOTS_TO_DIVIDE else 1)


def lane_of(name: str) -> str:
    """The lane's own name, given that of a shard of it or its own."""
    return _parse(name)[0]


def layout_of(name: str) -> int:
    """Of how many shards the layout is that a name belongs to."""
    return _parse(name)[2]


def find(lanes: Mapping[str, Lane], name: str) -> Lane | None:
    """A lane or a shard by its name, also of another layout than the one that is; None where there is no such lane."""
    lane, number, shards = _parse(name)
    return lanes[lane].shard(number, shards) if lane in lanes else None


def _parse(name: str) -> tuple[str, int, int]:
    """The lane, the shard's number, and of how many."""
    shard = _SHARD.fullmatch(name)
    return (shard["lane"], int(shard["number"]), int(shard["shards"])) if shard else (name, 0, 1)


@dataclass(frozen=True, slots=True)
class Slots:
    """A lane at one moment: who holds its slots, how many wait, and in how many shards it ever was besides whole."""

    holders: frozenset[str]
    waiting: int
    layouts: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WaitEntry:
    """A place in the waiting room. `attempts` counts the starts that the target refused."""

    request: WorkRequest
    attempts: int = 0

    @property
    def sort_key(self) -> str:
        """Oldest first; the same message always has the same place, so entering twice changes nothing."""
        # The version tells two uploads of one object apart that arrive in one message.
        request = self.request
        version = stable_hash(request.source.version, length=8)
        return f"{WAIT_PREFIX}{clock.iso(request.sent_at)}#{request.job_id}#{version}"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """Who works on an object. `version` is the source version that it works on."""

    job_id: str
    version: str


def lane_key(lane: str) -> str:
    """The partition of a lane."""
    return f"LANE#{lane}"


def object_key(source: Source) -> str:
    """The partition of an object's lock. At most 1,095 bytes; DynamoDB allows 2,048."""
    return f"OBJECT#{source.bucket}/{source.key}"
