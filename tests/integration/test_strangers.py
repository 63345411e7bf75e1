"""Messages in the track queue that are not about our runs."""

import json

from local.environment import ROOT
from tests.integration.system import System


def test_word_of_somebody_elses_job_is_ignored(system: System) -> None:
    [record] = json.loads((ROOT / "events" / "track_job" / "not_ours.json").read_text())["Records"]

    system.send(record["body"], "TrackQueue")
    system.drained("TrackQueue")

    assert not system.messages("TrackDeadLetterQueue")


def test_what_is_no_state_change_goes_to_the_trackers_dead_letter_queue_with_the_reason(system: System) -> None:
    system.send("rubbish", "TrackQueue")

    [dead] = system.until(lambda: system.messages("TrackDeadLetterQueue") or None, "a dead letter")
    assert dead["attributes"]["ErrorType"] == "INVALID_MESSAGE"
