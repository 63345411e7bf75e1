"""Imports a player's library: the work of one job, which a function does itself.

    lease the account ──▶ ask Steam ──▶ diff ──▶ plan to S3 ──▶ note the plan ──▶ change the games ──▶ finish ──▶ match
              └─ a plan is noted: an import was cut off. Its games are changed first ──┘

Every step can be repeated. The plan is written before the first change, so the counts are right whoever finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.clients import translated
from switchyard.errors import SwitchyardError
from switchyard.function_jobs.jobs import FunctionRun, Values
from switchyard.keys import RESULTS
from switchyard.names import stable_hash
from switchyard.observability import logger
from switchyard.steam.accounts import Account
from switchyard.steam.enrichment import Enrichment, matches
from switchyard.steam.library import Plan, Stored, apply, diff, is_made, removals_token
from switchyard.steam.table import Lease, Library
from switchyard.steam.web import Steam, SteamCalls

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RESERVE = 30.0
"""Seconds of an invocation in which no more batch of games is matched."""
_LEASE_MARGIN = 5.0
"""Seconds between the end of an invocation and that of its lease, since clocks differ."""
_ASKED, _CHANGED = 10, 95
"""Progress in percent when Steam has answered, and when all games are changed."""
_GONE = frozenset({"NoSuchKey", "AccessDenied"})  # AccessDenied: a missing key, if we may not list


@dataclass(frozen=True, slots=True)
class _Invocation:
    """What an import needs of the invocation that does it."""

    run: FunctionRun
    seconds_left: Callable[[], float]
    progress: Callable[[int, str], None]

    @property
    def import_id(self) -> str:
        """Names the message that asked for this import, so that a repeated delivery is the same import."""
        return stable_hash(self.run.job_id, self.run.begun_by or str(self.run.fence))


@dataclass(slots=True, eq=False)
class Importer:
    """Imports libraries. Without `enrichment` no games are matched. `keep_history` is how long imports are told of."""

    steam: Steam
    library: Library
    s3: S3Client
    bucket: str
    enrichment: Enrichment | None
    keep_history: timedelta

    def run(
        self,
        run: FunctionRun,
        user_id: str,
        account: Account,
        *,
        confirm_removals: str | None,
        seconds_left: Callable[[], float],
        progress: Callable[[int, str], None],
    ) -> Values:
        """Imports an account's library for a user. Returns the job's result: ids and counts.

        Args:
            run: The job's run that does it.
            user_id: Whose library it becomes.
            account: The account, by either name.
            confirm_removals: The `removalsToken` of an earlier result, whose held removals are to be made.
            seconds_left: The seconds until Lambda ends this invocation.
            progress: Told percent and message after every call and transaction; it may raise Stopped.

        Raises:
            ProfileNotFound, GameDetailsPrivate: Steam has nothing to import.
            Postponed: Steam is not called at the moment, or another job imports the same account.
            RetryableError: a retry may succeed, and continues where this run ended.
            Stopped: this run must not continue.
        """
        invocation = _Invocation(run, seconds_left, progress)
        calls = None
        steam_id = account.steam_id
        if steam_id is None:
            calls = self.steam.begin()
            steam_id = calls.resolve(account.vanity or "")
        with self._leased(invocation, user_id, steam_id) as lease:
            if lease.last_import == invocation.import_id:  # only the job's end is missing
                self.library.release(lease)
                return lease.last_result
            stored = self.library.stored(lease)
            cut_off = self._noted_plan(lease)
            if cut_off is not None:
                key = lease.plan_key or ""
                logger.info("continued", job_id=invocation.run.job_id, steam_id=steam_id, key=key)
                is_ours = cut_off.import_id == invocation.import_id
                result = self._carry_out(invocation, lease, stored, cut_off, key=key, release=is_ours)
                if is_ours:
                    return result
            plan, key = self._plan(invocation, lease, calls or self.steam.begin(), stored, confirm_removals)
            return self._carry_out(invocation, lease, stored, plan, key=key, release=True)

    @contextmanager
    def _leased(self, invocation: _Invocation, user_id: str, steam_id: str) -> Iterator[Lease]:
        """Ends the lease early if the import fails, so that nobody waits for it. A killed run's expires."""
        seconds = invocation.seconds_left() + _LEASE_MARGIN
        lease = self.library.lease(user_id, steam_id, invocation.run.job_id, seconds)
        try:
            yield lease
        except Exception:
            with suppress(SwitchyardError):
                self.library.release(lease)
            raise

    # ---- the plan ---------------------------------------------------------------------------------------------------

    def _plan(
        self,
        invocation: _Invocation,
        lease: Lease,
        calls: SteamCalls,
        stored: Mapping[int, Stored],
        confirm_removals: str | None,
    ) -> tuple[Plan, str]:
        """Asks Steam, and writes down what is to change. Returns the plan and its key, empty if nothing is to tell."""
        profile = calls.profile(lease.steam_id)
        invocation.progress(1, "asking Steam")
        owned = calls.owned(lease.steam_id)
        invocation.progress(2, "asking Steam")
        recent = calls.recent(lease.steam_id)
        invocation.progress(_ASKED, "comparing")
        found = diff(stored, owned, recent, confirm_removals)
        plan = Plan(
            import_id=invocation.import_id,
            steam_id=lease.steam_id,
            persona_name=profile.persona_name,
            imported_at=clock.now(),
            counts=found.counts,
            changes=found.changes,
            held=found.held,
        )
        if not plan.changes and not plan.held:
            return plan, ""
        # Its own key for each run: one that was overtaken can't replace the plan of its successor.
        key = f"{RESULTS}{invocation.run.job_id}/changes-{invocation.run.fence}.json"
        with translated():
            self.s3.put_object(
                Bucket=self.bucket, Key=key, Body=plan.to_json().encode(), ContentType="application/json"
            )
        if plan.changes:
            self.library.register(lease, key)
        return plan, key

    def _noted_plan(self, lease: Lease) -> Plan | None:
        """The plan of an import that was cut off. None if there is none, or if its object was erased.

        Without it the next import finds what is left to change; only counts and history of the first part are lost.
        """
        if lease.plan_key is None:
            return None
        try:
            with translated():
                body = self._read(lease.plan_key)
            plan = Plan.from_json(body or "null")
        except (LookupError, TypeError, ValueError):
            logger.warning("the plan of an import is gone", key=lease.plan_key)
            return None
        return plan if plan.steam_id == lease.steam_id else None

    def _read(self, key: str) -> bytes | None:
        try:
            with closing(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
                return body.read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise

    def _carry_out(
        self, invocation: _Invocation, lease: Lease, stored: dict[int, Stored], plan: Plan, *, key: str, release: bool
    ) -> Values:
        """Makes what is left of a plan, matches games, and records the import. `stored` is kept up to date."""
        left = [change for change in plan.changes if not is_made(stored, change)]

        def told(made: int) -> None:
            invocation.progress(_ASKED + made * (_CHANGED - _ASKED) // len(left), f"{made} of {len(left)} games")

        def has_time() -> bool:
            invocation.progress(_CHANGED, "matching")
            return invocation.seconds_left() > _RESERVE

        self.library.apply(lease, left, plan.imported_at, told)
        stored |= apply(stored, left)
        result: dict[str, str | int] = {"steamId": plan.steam_id, "personaName": plan.persona_name, **plan.counts}
        if plan.held:
            result |= {"heldRemovals": len(plan.held), "removalsToken": removals_token(plan.held)}
        if key:
            result["changesKey"] = key
        if self.enrichment is not None:
            self.enrichment.match(lease, stored, has_time)
            result |= matches(stored)
        self.library.finish(lease, plan, result, keep=self.keep_history, release=release)
        logger.info("imported", job_id=invocation.run.job_id, steam_id=plan.steam_id, counts=dict(plan.counts))
        return result
