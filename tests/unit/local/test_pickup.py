"""`make send` refuses at once what can't become a job, and says why nothing has picked up the upload."""

from pathlib import Path
from typing import Any

import pytest

from local import pickup
from local.sending import SendError, send
from tests.unit.local.stack import FakeStack, client

SUFFIXES = (".mp4", ".MP4", ".mov")


def configuration(queue: str, prefix: str, suffix: str = "") -> dict[str, Any]:
    rules = [{"Name": "Prefix", "Value": prefix}, *([{"Name": "Suffix", "Value": suffix}] if suffix else [])]
    return {"QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{queue}", "Filter": {"Key": {"FilterRules": rules}}}


def stack(*states: str, depths: tuple[int, int, int] = (0, 0, 0), **parameters: str) -> FakeStack:
    """Builds a stack whose bucket announces videos and recordings, with mappings in `states` on the video queue."""
    waiting, in_flight, dead = depths

    held = {"http://sqs/local-VideoQueue": (waiting, in_flight), "http://sqs/local-VideoDeadLetterQueue": (dead, 0)}

    def attributes(*, QueueUrl: str, AttributeNames: list[str]) -> object:  # noqa: N803 - SQS's names
        return {"Attributes": dict(zip(AttributeNames, map(str, held.get(QueueUrl, (0, 0))), strict=True))}

    return FakeStack(
        parameters,
        s3=client(
            get_bucket_notification_configuration=lambda **_: {
                "QueueConfigurations": [
                    *(configuration("local-VideoQueue", "uploads/", suffix) for suffix in SUFFIXES),
                    configuration("local-TorrentQueue", "recordings/"),
                ]
            }
        ),
        lambda_=client(
            list_event_source_mappings=lambda **_: {"EventSourceMappings": [{"State": state} for state in states]}
        ),
        sqs=client(get_queue_attributes=attributes),
        dynamodb=client(),
    )


@pytest.mark.parametrize("name", ["clip.flv", "README", "clip.Mp4", "clip.mp4.part"])
def test_what_s3_does_not_announce_is_refused_with_what_it_does(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.touch()

    with pytest.raises(SendError, match=r"not sent(?s:.*)uploads/ that end in \.mp4 \.MP4 \.mov"):
        send(stack("Enabled"), str(file))  # type: ignore[arg-type]


def test_another_folder_is_refused_too() -> None:
    rules = pickup.video_rules(stack("Enabled"))  # type: ignore[arg-type]

    assert "not sent" in pickup.refusal("recordings/clip.mp4", rules)
    assert not pickup.refusal("uploads/clip.mp4", rules)


def test_a_suffix_that_only_differs_in_case_comes_with_the_key_that_works() -> None:
    rules = pickup.video_rules(stack("Enabled"))  # type: ignore[arg-type]

    assert "--key 'uploads/a b.mp4'" in pickup.refusal("uploads/a b.Mp4", rules)
    assert "--key" not in pickup.refusal("uploads/clip.flv", rules)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (stack("Enabled"), ""),
        (stack("Creating"), ""),
        (stack("Disabled", ProcessingEnabled="false"), "ProcessingEnabled is false"),
        (stack("Disabled"), "the event source mapping of SqsToBatchFunction is disabled"),
        (stack(), "the event source mapping of SqsToBatchFunction is missing"),
    ],
)
def test_a_queue_that_nothing_reads_is_told_with_the_reason(given: FakeStack, why: str) -> None:
    assert pickup.switched_off(given, "video") == why  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (stack("Disabled"), "event source mapping"),
        (stack("Enabled", depths=(1, 0, 2)), "messages in the dead-letter queue: 2"),
        (stack("Enabled", depths=(0, 1, 0)), "SqsToBatchFunction is handling it, or failed"),
        (stack("Enabled", depths=(3, 0, 0)), "messages waiting in VideoQueue: 3"),
    ],
)
def test_why_nothing_was_picked_up_is_told_as_far_as_it_is_known(given: FakeStack, why: str) -> None:
    assert why in pickup.explanation(given, "video")  # type: ignore[arg-type]
