"""Rehearses incidents: each drill causes one on the local system and follows the runbook.

Each module's `play(system, say)` reports its actions and observations, and finally compares the tables with the truth.
`make drill DRILL=…` runs one drill; without a name it runs all.
"""

from collections.abc import Callable, Mapping
from typing import Final

from tests.drills import limit, lost_events, lost_runs, redrive, restore, stuck
from tests.integration.system import System

type Say = Callable[[str], None]
type Play = Callable[[System, Say], None]

DRILLS: Final[Mapping[str, Play]] = {
    "redrive": redrive.play,
    "lost-events": lost_events.play,
    "lost-runs": lost_runs.play,
    "stuck": stuck.play,
    "restore": restore.play,
    "limit": limit.play,
}
"""The drills by name, in the order of the runbook's sections."""
