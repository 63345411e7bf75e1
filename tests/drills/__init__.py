"""Bad days, rehearsed: each drill brings a trouble about on the local system, and does what the runbook says.

`play(system, say)` of each module says what it does and sees, and ends by comparing the tables with the truth.
`make drill DRILL=…` runs one of them, and without a name all.
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
"""By name, in the order of the runbook's sections."""
