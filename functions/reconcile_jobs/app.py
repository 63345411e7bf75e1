"""On a schedule: finds and repairs what crashes and lost events left behind."""

from functools import cache

from switchyard import cold_start, wiring
from switchyard.messages.kinds import LANES
from switchyard.observability import handler
from switchyard.protocol.reconcile import Reconciler
from switchyard.settings import ReconcileJobsSettings


@cache
def reconciler() -> Reconciler:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = ReconcileJobsSettings.from_env()
    dispatcher = wiring.dispatcher(settings)
    return Reconciler(
        store=dispatcher.store,
        dispatcher=dispatcher,
        tracker=wiring.tracker(settings, dispatcher),
        pending_grace=settings.pending_grace_seconds,
        stuck_after=settings.stuck_runnable_seconds,
        repairs=wiring.repairs(settings),
        kinds={lane: kind.name for lane, kind in LANES.items()},
        beat=wiring.heartbeats(settings),
    )


@handler
def lambda_handler(_event: object, _context: object) -> None:
    """Makes one pass. Failed repairs are raised together after all others were tried."""
    reconciler().run()


cold_start.prepare(reconciler)
