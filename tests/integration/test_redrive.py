"""Dead-lettered work is done after the cause is fixed, with the runbook's redrive command."""

from tests.drills import redrive
from tests.integration.system import System


def test_redriven_messages_have_their_jobs_done_under_the_same_ids(system: System) -> None:
    redrive.play(system, print)
