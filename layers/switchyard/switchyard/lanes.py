"""Lanes: slots, the waiting room and object locks, as the LanesTable holds them. Pure: `store` reads and writes.

pk                       sk                      attributes
LANE#<name>              SLOTS                   holders: set of job ids; waiting: entries in the waiting room
LANE#<name>              WAIT#<sentAt>#<jobId>#… request: the frozen request (JSON); attempts: refused starts
OBJECT#<bucket>/<key>    LOCK                    jobId, version: the one accepted job that works on this object
"""

from dataclasses import dataclass

from switchyard import clock
from switchyard.jobs import Source, WorkRequest
from switchyard.names import stable_hash

SLOTS = "SLOTS"
LOCK = "LOCK"
WAIT_PREFIX = "WAIT#"


@dataclass(frozen=True, slots=True)
class Lane:
    """A path to a target: at most `limit` jobs at a time."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class Slots:
    """A lane at one moment: who holds its slots, and how many wait."""

    holders: frozenset[str]
    waiting: int


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
