"""Answers `GET /lanes`, `POST /lanes/{lane}/pause` and `POST /lanes/{lane}/resume`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from switchyard import clock
from switchyard.api.http import Problem, Request, Response
from switchyard.errors import Contended
from switchyard.observability import logger
from switchyard.protocol.lanes import Lane, Pause, Slots
from switchyard.protocol.ports import RACES, JobStore, Wakes

_LOOKED_AT = 25
"""How many of the jobs that are next are asked since when they wait: a page of them."""


@dataclass(slots=True, eq=False)
class LaneRoutes:
    """The handlers of the routes about lanes. `lanes` are by name; `wakes` starts waiting jobs after a pause."""

    store: JobStore
    lanes: Mapping[str, Lane]
    wakes: Wakes

    def list(self, _request: Request) -> Response:
        """`GET /lanes`."""
        return Response(200, {"lanes": [self._view(lane, self.store.slots(lane)) for lane in self.lanes.values()]})

    def pause(self, request: Request) -> Response:
        """`POST /lanes/{lane}/pause`: nothing starts in the lane until it is resumed. What runs goes on."""
        lane = self._find(request)
        slots = self._set(lane, Pause.by_operator())
        logger.warning("lane paused", lane=lane.name, by=request.caller)
        return Response(200, self._view(lane, slots))

    def resume(self, request: Request) -> Response:
        """`POST /lanes/{lane}/resume`. A pause for want of room is ended too, so that a job is tried at once."""
        lane = self._find(request)
        slots = self._set(lane, None)
        self.wakes.wake(lane.name, clock.now())
        logger.warning("lane resumed", lane=lane.name, by=request.caller)
        return Response(200, self._view(lane, slots))

    def _find(self, request: Request) -> Lane:
        if request.user_id is not None:
            raise Problem(403, "FORBIDDEN", "Only operators may pause and resume lanes.")
        lane = self.lanes.get(request.path.get("lane", ""))
        if lane is None:
            raise Problem(404, "NOT_FOUND", "There is no such lane.")
        return lane

    def _set(self, lane: Lane, pause: Pause | None) -> Slots:
        """Sets or ends the pause, whatever it is by now. Returns the lane as it is then.

        Raises:
            Contended: others changed it at every attempt.
        """
        for _ in range(RACES):
            slots = self.store.slots(lane)
            if slots.pause == pause:
                return slots
            if self.store.set_pause(lane, slots.pause, pause):
                return self.store.slots(lane)
        raise Contended(f"the pause of lane {lane.name} changed {RACES} times")

    def _view(self, lane: Lane, slots: Slots) -> dict[str, Any]:
        first = islice(self.store.waiting(lane), _LOOKED_AT) if slots.waiting > 0 else ()
        since = min((entry.request.due for entry in first), default=None)
        pause = slots.pause
        until = clock.iso(pause.until) if pause and pause.until else None
        return {
            "name": lane.name,
            "limit": lane.limit,
            "taken": slots.taken,
            "waiting": slots.waiting,
            "oldestWaitingSince": clock.iso(since) if since else None,
            "paused": {"until": until, "reason": pause.reason} if pause else None,
        }
