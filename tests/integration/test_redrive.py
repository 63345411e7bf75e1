"""What was given up is done after all, once the cause is mended: by the command that the runbook names."""

from tests.drills import redrive
from tests.integration.system import System


def test_redriven_messages_have_their_jobs_done_under_the_same_ids(system: System) -> None:
    redrive.play(system, print)
