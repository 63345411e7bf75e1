"""A `switchyard.protocol.ports.JobStore` in dictionaries. tests/contract verifies it against the real store."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from switchyard import clock
from switchyard.errors import ForeignRow
from switchyard.protocol.jobs import (
    HOLDING_SLOT,
    TERMINAL,
    TRANSITIONS,
    Job,
    JobError,
    Status,
    WorkRequest,
    is_other_work,
    origins_of,
    past_versions_after,
)
from switchyard.protocol.lanes import Lane, ObjectLock, Pause, Slots, WaitEntry, object_key
from switchyard.protocol.ports import (
    ActiveJob,
    Claimed,
    EntryGone,
    Held,
    JobChanged,
    LaneFull,
    ObjectLocked,
)


@dataclass
class _Lane:
    holders: set[str] = field(default_factory=set)
    taken: int = 0
    room: dict[str, WaitEntry] = field(default_factory=dict)
    waiting: int = 0
    later: dict[str, WaitEntry] = field(default_factory=dict)
    timed: int = 0
    moves: int = 0
    pause: Pause | None = None


class MemoryStore:
    """A job store in memory. Every method is atomic, like a DynamoDB transaction."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.locks: dict[str, ObjectLock] = {}
        self.lanes: dict[str, _Lane] = {}
        self.foreign: dict[str, Job | None] = {}
        """The jobs whose rows another program has made unreadable, and what they were. None if there was no row."""
        self._mutex = threading.RLock()

    def _lane(self, name: str) -> _Lane:
        return self.lanes.setdefault(name, _Lane())

    def haunt(self, job_id: str) -> None:
        """Makes a row unreadable, as another program might."""
        with self._mutex:
            self.foreign[job_id] = self.jobs.pop(job_id, None)

    def mend(self, job_id: str) -> None:
        """Makes an unreadable row what it was before."""
        with self._mutex:
            if job := self.foreign.pop(job_id):
                self.jobs[job_id] = job

    def get(self, job_id: str) -> Job | None:
        if job_id in self.foreign:
            raise ForeignRow(f"the row of job {job_id!r} is not ours")
        return self.jobs.get(job_id)

    def slots(self, lane: Lane) -> Slots:
        with self._mutex:
            held = self._lane(lane.name)
            return Slots(held.taken, held.waiting, held.timed, held.moves, held.pause)

    def holders(self, lane: Lane) -> Iterator[str]:
        with self._mutex:
            holders = sorted(self._lane(lane.name).holders)
        yield from holders

    def entries(self, lane: Lane) -> Iterator[WaitEntry]:
        with self._mutex:
            found = [*self.waiting(lane), *self.later(lane)]
        yield from found

    def waiting(self, lane: Lane) -> Iterator[WaitEntry]:
        with self._mutex:
            room = self._lane(lane.name).room
            entries = [room[key] for key in sorted(room)]
        yield from entries

    def later(self, lane: Lane) -> Iterator[WaitEntry]:
        with self._mutex:
            later = self._lane(lane.name).later
            entries = [later[key] for key in sorted(later)]
        yield from entries

    def by_status(self, status: Status) -> Iterator[ActiveJob]:
        with self._mutex:
            found = sorted((job.created_at, job.id) for job in self.jobs.values() if job.status is status)
            jobs = [self.jobs[job_id] for _, job_id in found]
        for job in jobs:
            yield ActiveJob(
                id=job.id,
                status=job.status,
                fence=job.fence,
                lane=job.request.lane,
                target=job.request.target,
                target_id=job.target_id,
                claimed_at=job.claimed_at,
                created_at=job.created_at,
                cancel_requested=job.cancel_requested,
            )

    def claim(
        self, request: WorkRequest, seen: Job | None, lane: Lane, *, entry: WaitEntry | None = None, fifo: bool = True
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        with self._mutex:
            held = self._lane(lane.name)
            if entry is not None and entry.sort_key not in held.room:
                return EntryGone()
            if not self._still(request.job_id, seen):
                return JobChanged(self.get(request.job_id))
            if locked := self._locked(request):
                return ObjectLocked(locked)
            stopped = held.pause is not None and held.pause.until is None
            if stopped or held.taken >= lane.limit or (entry is None and fifo and (held.waiting > 0 or held.pause)):
                return LaneFull()
            now = clock.now()
            job = replace(self._reopened(request, seen, now, Status.CLAIMED), claimed_at=now)
            self.jobs[job.id] = replace(job, fence=job.fence + 1)
            self._lock(request)
            self._take(lane.name, job.id)
            if entry is not None:
                self._leave(entry)
            return Claimed(self.jobs[job.id])

    def hold(
        self, request: WorkRequest, seen: Job | None, *, lock_object: bool = True
    ) -> Held | JobChanged | ObjectLocked:
        with self._mutex:
            entry = WaitEntry.of(request, clock.now())
            if not self._still(request.job_id, seen):
                return JobChanged(self.get(request.job_id))
            if lock_object and (locked := self._locked(request)):
                return ObjectLocked(locked)
            if entry.sort_key in self._place(entry):
                return Held()
            self.jobs[request.job_id] = self._reopened(request, seen, clock.now(), Status.WAITING)
            if lock_object:
                self._lock(request)
            self._enter(entry)
            return Held()

    def hold_behind(self, request: WorkRequest) -> None:
        with self._mutex:
            self._enter(WaitEntry.of(request, clock.now()))

    def admit(self, entry: WaitEntry) -> bool:
        with self._mutex:
            if not self._leave(entry):
                return False
            self._enter(entry.moved())
            return True

    def drop(self, entry: WaitEntry, seen: Job | None) -> JobChanged | None:
        with self._mutex:
            if not self._still(entry.request.job_id, seen):
                return JobChanged(self.get(entry.request.job_id))
            self._leave(entry)
            return None

    def add_owner(self, job: Job, user_id: str) -> JobChanged | None:
        with self._mutex:
            if not self._still(job.id, job) or self.jobs[job.id].request.user_id is not None:
                return JobChanged(self.get(job.id))
            fence = job.fence + (job.status is Status.WAITING)
            self._change(job.id, request=replace(job.request, user_id=user_id), fence=fence)
            return None

    def add_token(self, job: Job, token: str) -> JobChanged | None:
        with self._mutex:
            if not self._still(job.id, job):
                return JobChanged(self.jobs.get(job.id))
            self._change(job.id, request=replace(self.jobs[job.id].request, task_token=token))
            return None

    def record_start(self, job: Job, target_id: str) -> JobChanged | None:
        with self._mutex:
            if changed := self._claim_changed(job):
                return changed
            self._change(job.id, status=Status.SUBMITTED, target_id=target_id)
            return None

    def raise_fence(self, job: Job) -> Claimed | JobChanged:
        with self._mutex:
            if changed := self._claim_changed(job):
                return changed
            self._change(job.id, fence=job.fence + 1, claimed_at=clock.now(), run_id=None, target_id=None)
            return Claimed(self.jobs[job.id])

    def undo_claim(self, job: Job, error: JobError | None, *, entry: WaitEntry | None = None) -> JobChanged | None:
        with self._mutex:
            if changed := self._claim_changed(job):
                return changed
            back_to = Status.WAITING if entry else Status.PENDING
            self._change(job.id, status=back_to, error=error or self.jobs[job.id].error, claimed_at=None)
            self._free(job.request.lane, job.id)
            if entry is None:
                self._unlock(job)
            else:
                self._enter(entry)
                self._place(entry)[entry.sort_key] = entry
            return None

    def give_up(self, job: Job, error: JobError) -> bool:
        with self._mutex:
            if not self._still(job.id, replace(job, status=Status.PENDING)):
                return False
            self._change(job.id, status=Status.FAILED, error=error, never_started=True, ended_at=clock.now())
            return True

    def cancel(self, job: Job, *, by: str = "") -> JobChanged | None:  # noqa: ARG002
        assert job.status in {Status.PENDING, Status.WAITING}
        with self._mutex:
            if not self._still(job.id, job):
                return JobChanged(self.get(job.id))
            self._change(job.id, status=Status.CANCELLED, fence=job.fence + 1, error=None, ended_at=clock.now())
            if job.status is Status.WAITING:
                entry = WaitEntry.of(job.request, clock.now())
                _ = self._leave(entry) or self._leave(entry.moved())
                self._unlock(job)
            return None

    def request_cancel(self, job: Job, *, by: str = "") -> Job | JobChanged:  # noqa: ARG002
        with self._mutex:
            now = self.get(job.id)
            if now is None or now.fence != job.fence or now.status not in HOLDING_SLOT:
                return JobChanged(now)
            self._change(job.id, cancel_requested=True)
            return self.jobs[job.id]

    def advance(
        self,
        job_id: str,
        fence: int,
        target_id: str,
        to: Status,
        *,
        attempts: int,  # noqa: ARG002
        log_stream: str | None = None,
    ) -> bool:
        with self._mutex:
            job = self.jobs.get(job_id)
            if job is None or job.fence != fence or job.target_id not in (None, target_id):
                return False
            if job.status in origins_of(to):
                self._change(job_id, status=to, target_id=target_id)
                return True
            if log_stream and job.status is to is Status.RUNNING and job.run_id in (None, target_id):
                self._change(job_id, target_id=target_id)
            return False

    def retry(self, job: Job, again: Job) -> bool:
        with self._mutex:
            if not self._still(job.id, job) or self.jobs[job.id].cancel_requested:
                return False
            self._change(
                job.id,
                request=replace(self.jobs[job.id].request, start_after=again.request.start_after),
                status=Status.WAITING,
                fence=job.fence + 1,
                attempts=again.attempts,
                claimed_at=None,
                target_id=None,
                run_id=None,
                error=None,
            )
            self._free(job.request.lane, job.id)
            self._enter(WaitEntry.of(again.request, clock.now()))
            return True

    def finish(
        self,
        job: Job,
        to: Status,
        *,
        error: JobError | None,
        target_id: str | None,
        attempts: int,  # noqa: ARG002
        log_stream: str | None = None,  # noqa: ARG002
    ) -> bool:
        with self._mutex:
            if not self._still(job.id, job):
                return False
            if job.status not in TERMINAL:
                if to not in TRANSITIONS[job.status] & TERMINAL:
                    return False
                now = self.jobs[job.id]
                because = (now.error or error) if error else None
                self._change(
                    job.id, status=to, target_id=target_id or now.target_id, error=because, ended_at=clock.now()
                )
            self._free(job.request.lane, job.id)
            self._unlock(job)
            return True

    def set_pause(self, lane: Lane, seen: Pause | None, to: Pause | None) -> bool:
        with self._mutex:
            held = self._lane(lane.name)
            if held.pause != seen:
                return False
            held.pause = to
            return True

    def free_leaked_slot(self, lane: Lane, job_id: str, seen: Job | None) -> bool:
        with self._mutex:
            if not self._still(job_id, seen):
                return False
            self._free(lane.name, job_id)
            if seen is not None and seen.status in TERMINAL:
                self._unlock(seen)
            return True

    def free_foreign_slot(self, lane: Lane, job_id: str) -> bool:
        with self._mutex:
            return self._free(lane.name, job_id)

    def retake_slot(self, lane: Lane, job: Job) -> bool:
        with self._mutex:
            if not self._still(job.id, job):
                return False
            self._take(lane.name, job.id)
            if not self._locked(job.request):
                self._lock(job.request)
            return True

    def recount(self, lane: Lane, seen: Slots, actual: Slots) -> bool:
        with self._mutex:
            held = self._lane(lane.name)
            if held.moves != seen.moves:
                return False
            held.taken, held.waiting, held.timed = actual.taken, actual.waiting, actual.later
            held.moves += 1
            return True

    # ---- the conditions ---------------------------------------------------------------------------------------------

    def _still(self, job_id: str, seen: Job | None) -> bool:
        if job_id in self.foreign:
            return False
        job = self.jobs.get(job_id)
        if job is None or seen is None:
            return job is seen
        if (job.status, job.fence) != (seen.status, seen.fence):
            return False
        return bool(job.fence) or _asked(job.request) == _asked(seen.request)

    def _claim_changed(self, job: Job) -> JobChanged | None:
        now = self.get(job.id)
        ours = now is not None and (now.status, now.fence) == (Status.CLAIMED, job.fence) and not now.cancel_requested
        return None if ours else JobChanged(now)

    def _locked(self, request: WorkRequest) -> ObjectLock | None:
        lock = self.locks.get(object_key(request.source))
        return lock if lock and lock.job_id != request.job_id else None

    def _lock(self, request: WorkRequest) -> None:
        if request.source.is_object:
            self.locks[object_key(request.source)] = ObjectLock(request.job_id, request.source.version)

    def _unlock(self, job: Job) -> None:
        key = object_key(job.request.source)
        if key in self.locks and self.locks[key].job_id == job.id:
            del self.locks[key]

    def _take(self, lane: str, job_id: str) -> None:
        held = self._lane(lane)
        if job_id not in held.holders:
            held.holders.add(job_id)
            self._count(lane, taken=1)

    def _free(self, lane: str, job_id: str) -> bool:
        held = self._lane(lane)
        if job_id not in held.holders:
            return False
        held.holders.remove(job_id)
        self._count(lane, taken=-1)
        return True

    def _place(self, entry: WaitEntry) -> dict[str, WaitEntry]:
        held = self._lane(entry.request.lane)
        return held.later if entry.later else held.room

    def _enter(self, entry: WaitEntry) -> None:
        if entry.sort_key not in self._place(entry):
            self._place(entry)[entry.sort_key] = entry
            self._count_entry(entry, 1)

    def _leave(self, entry: WaitEntry) -> bool:
        if self._place(entry).pop(entry.sort_key, None) is None:
            return False
        self._count_entry(entry, -1)
        return True

    def _count_entry(self, entry: WaitEntry, change: int) -> None:
        self._count(entry.request.lane, **{"timed" if entry.later else "waiting": change})

    def _count(self, lane: str, *, taken: int = 0, waiting: int = 0, timed: int = 0) -> None:
        held = self._lane(lane)
        held.taken += taken
        held.waiting += waiting
        held.timed += timed
        held.moves += 1

    def _reopened(self, request: WorkRequest, seen: Job | None, now: datetime, status: Status) -> Job:
        if seen is None:
            return Job(request, status, fence=0, created_at=now)
        other_work = is_other_work(seen, request)
        return Job(
            request,
            status,
            fence=seen.fence,
            created_at=now if other_work else self.jobs[request.job_id].created_at,
            claimed_at=seen.claimed_at,
            past_versions=past_versions_after(seen, request) if other_work else seen.past_versions,
            attempts=() if other_work else seen.attempts,
        )

    def _change(self, job_id: str, **changes: Any) -> None:  # noqa: ANN401 - as `replace`
        self.jobs[job_id] = replace(self.jobs[job_id], **changes)


def _asked(request: WorkRequest) -> tuple[object, ...]:
    """What is compared before the first claim."""
    source = request.source
    return request.kind, request.user_id, source.bucket, source.key, source.version
