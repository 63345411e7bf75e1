"""What is announced of a job, once at least: the stream's records, crashes, failures, repeats, and EventBridge."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from functions.notify import app
from switchyard import observability
from switchyard.errors import ForeignRow
from switchyard.notifications.announcement import TOLD, Announcement, announcement
from switchyard.notifications.bus import Bus
from switchyard.notifications.stream import Notifier, NotReadable
from switchyard.protocol.jobs import TERMINAL, JobError, Status
from tests.cases import cases
from tests.fakes.dead_letters import FakeDeadLetters
from tests.unit.notifications.stream import Image, Receiver, Shard, image, record

ROOT: Final = Path(__file__).parents[3]
EVENT: Final[dict[str, Any]] = json.loads((ROOT / "events" / "notify" / "ended.json").read_text())
AT: Final = datetime(2026, 11, 22, 18, 36, 54, 123000, UTC)
STATUSES: Final = st.sampled_from([*map(str, Status), None, "REMEMBERED"])
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


def notifier(*channels: Receiver, letters: FakeDeadLetters | None = None) -> Notifier:
    return Notifier(channels, letters or FakeDeadLetters())


# ---- what a record announces ----------------------------------------------------------------------------------------


def test_the_sample_event_announces_an_end() -> None:
    assert announcement(EVENT["Records"][0]) == Announcement(
        job_id="6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506",
        kind="video-analysis",
        owner="user-1",
        status=Status.COMPLETED,
        fence=1,
        at=AT,
        result={"key": "results/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506/summary.json", "scenes": 12},
    )


def test_the_page_shows_the_sample_as_it_is_announced() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    found = announcement(EVENT["Records"][0])
    assert found
    (shown,) = [each for each in _examples(page) if each.get("detail-type") == "Job State Change" and "time" in each]
    assert shown["detail"] == found.detail()
    assert shown["source"] == "switchyard"


def _examples(page: str) -> Iterator[dict[str, Any]]:
    for block in page.split("```json\n")[1:]:
        yield json.loads(block.partition("```")[0])


def test_a_failure_is_announced_with_its_reason() -> None:
    row = image("FAILED", error={"M": {"code": {"S": "OUT_OF_MEMORY"}, "message": {"S": "x" * 5000}}})
    found = announcement(record(row, image("RUNNING")))
    assert found
    assert found.error == JobError("OUT_OF_MEMORY", "x" * 5000)
    assert found.detail()["error"] == {"code": "OUT_OF_MEMORY", "message": "x" * 1024}
    assert "owner" not in found.detail()


def test_what_a_worker_wrote_too_much_of_is_left_out() -> None:
    fields = {f"field-{number:02}": {"N": str(number)} for number in range(50)} | {"big": {"S": "x" * 300_000}}
    found = announcement(record(image("COMPLETED", result={"M": fields}), image("RUNNING")))
    assert found
    assert list(found.result) == [f"field-{number:02}" for number in range(20)]
    assert len(json.dumps(found.detail())) < 2048


@cases("row", {"kind": {"N": "1"}, "fence": {"S": "x"}, "jobId": {"N": "1"}, "fence too high": {"N": "9" * 20}})
def test_a_row_of_another_program_announces_nothing_and_stops_nobody(row: str) -> None:
    values = {"kind": {"N": "1"}, "fence": {"S": "x"}, "jobId": {"N": "1"}, "fence too high": {"N": "9" * 20}}
    foreign = record(image("COMPLETED", "foreign") | {row.partition(" ")[0]: values[row]}, image("RUNNING"))
    receiver = Receiver()
    answer = notifier(receiver).consume({"Records": [foreign, record(image("COMPLETED"), image("RUNNING"))]})
    assert [each.job_id for each in receiver.heard if each.job_id != "foreign"] == ["job-1"]
    assert answer == {"batchItemFailures": []}
    if row != "kind":
        with pytest.raises(ForeignRow):
            announcement(foreign)


@given(STATUSES, STATUSES, st.sampled_from(["INSERT", "MODIFY", "REMOVE"]))
def test_the_filter_lets_pass_what_is_announced_and_nothing_else(new: str | None, old: str | None, name: str) -> None:
    """Heartbeats are many, and each that passed would be an invocation."""
    given_record = record(None if name == "REMOVE" else image(new), None if name == "INSERT" else image(old))
    passes = any(_matches(json.loads(each["Pattern"]), given_record) for each in _filters())
    assert passes is (announcement(given_record) is not None)


def _filters() -> list[dict[str, str]]:
    template = (ROOT / "template.yaml").read_text()
    lines = template.partition("              Filters:\n")[2].splitlines()
    taken = [line for line in lines[:3] if "Pattern" in line]
    found: list[dict[str, str]] = yaml.safe_load("\n".join(taken))
    return found


def _matches(pattern: Any, value: Any) -> bool:  # noqa: ANN401 - JSON
    """EventBridge's rules for patterns, as far as we use them: a missing field matches only `exists: false`."""
    if isinstance(pattern, dict):
        fields = value if isinstance(value, dict) else {}
        return all(_matches(inner, fields.get(name)) for name, inner in pattern.items())
    return any(_is(each, value) for each in pattern)


def _is(wanted: Any, value: Any) -> bool:  # noqa: ANN401 - JSON
    match wanted:
        case {"exists": False}:
            return value is None
        case {"anything-but": banned}:
            return value is not None and value not in banned
    return bool(value == wanted)


def test_an_id_is_the_same_for_every_copy_and_no_other() -> None:
    jobs = [("job-1", 1), ("job-1", 2), ("job-11", 1), ("job", 11)]
    ids = [
        found.id
        for job_id, fence in jobs
        for status in TOLD
        if (found := announcement(record(image(status, job_id, fence), image("SUBMITTED", job_id, fence))))
    ]
    assert len(set(ids)) == len(ids) == len(jobs) * len(TOLD)
    copy = announcement(record(image("COMPLETED", updatedAt={"S": "2030-01-01T00:00:00.000Z"}), image("CLAIMED")))
    assert copy
    assert copy.id in ids


# ---- once at least --------------------------------------------------------------------------------------------------


def life(job_id: str, *statuses: str) -> list[tuple[Image, Image | None]]:
    """A job's rows, one for each status and a heartbeat in between."""
    rows: list[Image] = []
    for status in statuses:
        rows += [image(status, job_id), image(status, job_id, heartbeatAt={"S": "2026-11-22T18:36:54.123Z"})]
    return list(zip(rows, [None, *rows[:-1]], strict=True))


MOODS: Final = st.lists(st.sampled_from(["killed before", "killed after", "refuses all", "refuses some", "well"]))
LIVES: Final = st.lists(
    st.sampled_from([("PENDING", "CLAIMED", "RUNNING", "COMPLETED"), ("CLAIMED", "FAILED"), ("PENDING", "CANCELLED")]),
    min_size=1,
    max_size=12,
)


@given(LIVES, MOODS, MOODS, st.integers(1, 20))
def test_nothing_stays_untold_whatever_fails_or_dies(
    lives: Sequence[Sequence[str]], one: list[str], other: list[str], size: int
) -> None:
    pairs = [pair for number, statuses in enumerate(lives) for pair in life(f"job-{number}", *statuses)]
    records = [record(new, old, number) for number, (new, old) in enumerate(pairs)]
    receivers = [Receiver(list(one)), Receiver(list(other))]
    Shard(records, size).drain(notifier(*receivers).consume)
    for receiver in receivers:
        assert {each.job_id for each in receiver.heard if each.status in TERMINAL} == {
            f"job-{number}" for number in range(len(lives))
        }
        assert {each.id for each in receiver.heard} == {
            each.id for each in (announcement(again) for again in records) if each
        }


def test_a_stream_read_again_from_its_beginning_tells_the_same() -> None:
    records = [record(new, old, n) for n, (new, old) in enumerate(life("job-1", "RUNNING", "COMPLETED"))]
    receiver = Receiver()
    for _ in range(2):
        Shard(records).drain(notifier(receiver).consume)
    first, again = receiver.heard[:2], receiver.heard[2:]
    assert first == again


def test_only_what_was_refused_and_what_follows_comes_again() -> None:
    records = [record(image("COMPLETED", f"job-{n}"), image("RUNNING", f"job-{n}"), n) for n in range(4)]

    class RefusesTheThird:
        def tell(self, announcements: Sequence[Announcement]) -> set[str]:
            return {announcements[2].id}

    answer = Notifier((RefusesTheThird(),), FakeDeadLetters()).consume({"Records": records})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}


def test_a_record_that_a_bug_trips_over_is_dead_lettered_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    from switchyard.notifications import stream  # noqa: PLC0415 - to patch it

    real = announcement

    def buggy(given_record: dict[str, Any]) -> Announcement | None:
        if given_record["dynamodb"]["SequenceNumber"] == "1":
            raise ZeroDivisionError
        return real(given_record)

    monkeypatch.setattr(stream, "announcement", buggy)
    receiver, letters = Receiver(), FakeDeadLetters()
    records = [record(image("COMPLETED", f"job-{n}"), image("RUNNING", f"job-{n}"), n) for n in range(3)]
    assert notifier(receiver, letters=letters).consume({"Records": records}) == {"batchItemFailures": []}
    assert [each.job_id for each in receiver.heard] == ["job-0", "job-2"]

    monkeypatch.undo()  # the bug is fixed, and the letter invokes the function
    ((letter, error),) = letters.sent
    assert isinstance(error, NotReadable)
    notifier(receiver).consume(json.loads(letter))
    assert [each.job_id for each in receiver.heard] == ["job-0", "job-2", "job-1"]


# ---- EventBridge ----------------------------------------------------------------------------------------------------


def told(number: int) -> list[Announcement]:
    return [Announcement(f"job-{n}", "video", None, Status.COMPLETED, 1, AT) for n in range(number)]


def test_an_event_has_the_documented_shape() -> None:
    client = boto3.client("events", "us-east-1")
    found = announcement(EVENT["Records"][0])
    assert found
    with Stubber(client) as stub:
        entry = {
            "EventBusName": "media",
            "Source": "switchyard",
            "DetailType": "Job State Change",
            "Time": AT,
            "Detail": json.dumps(found.detail(), separators=(",", ":")),
        }
        stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": [entry]})
        assert Bus(client, "media").tell([found]) == set()


class Events:
    """EventBridge, answering each call in turn; ten entries at most."""

    def __init__(self, *answers: Exception | set[int]) -> None:
        self.answers, self.calls = list(answers), 0

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert 1 <= len(Entries) <= 10
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        entries = [
            {"ErrorCode": "ThrottlingException"} if place in answer else {"EventId": str(place)}
            for place in range(len(Entries))
        ]
        return {"FailedEntryCount": len(answer), "Entries": entries}


def test_entries_that_eventbridge_refuses_are_untold() -> None:
    announcements = told(25)
    untold = Bus(events := Events(set(), {0, 9}, {4}), "default").tell(announcements)
    assert untold == {announcements[place].id for place in (10, 19, 24)}
    assert events.calls == 3


@cases("error", {"throttled": None, "timed out": None})
def test_a_call_that_fails_or_gets_no_answer_leaves_its_ten_untold(error: str) -> None:
    failures: dict[str, Exception] = {
        "throttled": ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "PutEvents"),
        "timed out": ReadTimeoutError(endpoint_url="https://events"),
    }
    announcements = told(20)
    assert Bus(Events(failures[error], set()), "default").tell(announcements) == {
        each.id for each in announcements[:10]
    }


# ---- the function ---------------------------------------------------------------------------------------------------


def test_the_function_puts_an_event_and_counts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from switchyard import clients  # noqa: PLC0415 - to patch it

    counted: list[tuple[str, int]] = []
    monkeypatch.setattr(observability, "count", lambda metric, amount=1: counted.append((metric, amount)))
    monkeypatch.setattr(observability, "configure", lambda _environment: None)  # others have, for the whole process
    monkeypatch.setattr(clients, "events", lambda: Events(set()))
    monkeypatch.setenv("WEBHOOKS_TABLE", "webhooks")
    monkeypatch.setenv("NOTIFY_DEAD_LETTER_QUEUE_URL", "https://sqs/letters")
    app.notifier.cache_clear()
    try:
        assert app.notifier().consume(EVENT) == {"batchItemFailures": []}
    finally:
        app.notifier.cache_clear()
    assert counted == [("Announced", 1)]
