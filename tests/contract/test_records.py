"""The API's use of JobsTable, on moto: announcing is atomic, reading is exact, a list takes one Query per page."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import cycle
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard import clock
from switchyard.protocol.jobs import Job, JobError, Source, Status, TargetSpec, WorkRequest
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.items import PlainItem
from switchyard.tables.records import BadToken, Filters, Known, Page, Records, _digest
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.requests import SENT_AT

LANE = Lane("images", 5)


@pytest.fixture
def records(aws: Aws) -> Records:
    return Records(aws.dynamodb, aws.jobs_table)


@pytest.fixture
def store(aws: Aws) -> Store:
    return Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))


def request(job_id: str = "a", **changes: Any) -> WorkRequest:  # noqa: ANN401 - any field
    return replace(
        WorkRequest(
            job_id=job_id,
            kind="image-processing",
            lane=LANE.name,
            target=TargetSpec("ecs", "cluster", "definition"),
            source=Source("media", "", "v1", "m1"),
            sent_at=SENT_AT,
            user_id="ada",
            input={"imageUrls": ["s3://media/a.jpg"]},
            metadata={"score": 0.5, "count": 2, "name": "Żółw"},
            announced=True,
        ),
        **changes,
    )


def put(aws: Aws, **attributes: Any) -> None:  # noqa: ANN401 - any attribute
    """Writes a row as any program might."""
    aws.dynamodb.put_item(TableName=aws.jobs_table, Item=TypeSerializer().serialize(attributes)["M"])


def by(message_id: str) -> WorkRequest:
    """The request as another HTTP request asks for it."""
    return request(source=replace(request().source, message_id=message_id))


def announced(records: Records) -> None:
    assert records.announce(request(), fingerprint="f") is None


def claimed(store: Store, job_id: str = "a") -> Job:
    found = store.get(job_id)
    assert found is not None
    outcome = store.claim(found.request, found, LANE)
    assert isinstance(outcome, Claimed), outcome
    return outcome.job


# ---- announcing ------------------------------------------------------------------------------------------------------


def test_an_announced_job_is_pending(records: Records, store: Store) -> None:
    announced(records)
    found = store.get("a")
    assert found is not None
    assert (found.status, found.fence, found.request) == (Status.PENDING, 0, request())


def test_an_announced_job_can_be_claimed(records: Records, store: Store) -> None:
    announced(records)
    assert claimed(store).fence == 1


def test_a_second_announcement_finds_the_first(records: Records) -> None:
    announced(records)
    again = records.announce(replace(by("m2"), kind="other"), fingerprint="g")
    assert again == Known("f", "PENDING", request().kind, request().user_id)


def test_a_second_announcement_changes_nothing(records: Records, store: Store) -> None:
    announced(records)
    records.announce(replace(by("m2"), kind="other"), fingerprint="g")
    found = store.get("a")
    assert found is not None
    assert found.request == request()


def test_an_announcement_that_the_sdk_repeats_is_one(records: Records) -> None:
    announced(records)
    assert records.announce(request(), fingerprint="f") is None


def test_a_row_of_another_program_is_known_without_a_fingerprint(records: Records, aws: Aws) -> None:
    put(aws, jobId="a", status="PENDING")
    assert records.announce(request(), fingerprint="f") == Known(None, "PENDING")


def test_a_claimed_job_is_known_and_no_longer_pending(records: Records, store: Store) -> None:
    announced(records)
    claimed(store)
    assert records.announce(by("m2"), fingerprint="f") == Known("f", "CLAIMED", request().kind, request().user_id)


def test_a_pending_job_can_be_announced_again(records: Records) -> None:
    announced(records)
    assert records.announce_again(by("m2"))


def test_a_claimed_job_is_not_announced_again(records: Records, store: Store) -> None:
    announced(records)
    claimed(store)
    assert not records.announce_again(by("m2"))


def test_a_job_that_is_gone_is_not_announced_again(records: Records) -> None:
    assert not records.announce_again(by("m2"))
    assert records.read("a") is None


# ---- withdrawing -----------------------------------------------------------------------------------------------------


def test_a_withdrawn_job_is_gone(records: Records) -> None:
    announced(records)
    assert records.withdraw(request())
    assert records.read("a") is None


def test_a_job_is_withdrawn_twice_without_harm(records: Records) -> None:
    announced(records)
    records.withdraw(request())
    assert records.withdraw(request())


def test_a_claimed_job_stays_and_counts_as_sent(records: Records, store: Store) -> None:
    announced(records)
    claimed(store)
    assert not records.withdraw(request())
    assert records.read("a") is not None


def test_a_job_whose_claim_was_undone_stays_and_counts_as_sent(records: Records, store: Store) -> None:
    announced(records)
    store.undo_claim(claimed(store), JobError("START_REFUSED", "no"))
    assert not records.withdraw(request())
    assert records.read("a") is not None


def test_a_job_that_another_request_announced_since_stays(records: Records) -> None:
    announced(records)
    records.announce_again(by("m2"))
    assert records.withdraw(request())
    assert records.read("a") is not None


def test_who_announced_it_last_can_withdraw_it(records: Records) -> None:
    announced(records)
    records.announce_again(by("m2"))
    records.withdraw(by("m2"))
    assert records.read("a") is None


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_process_that_dies_while_it_announces_leaves_a_job_or_none(aws: Aws, *, after_effect: bool) -> None:
    client: Any = Crashing(aws.dynamodb, Countdown(0, after_effect=after_effect))
    with pytest.raises(Killed):
        Records(client, aws.jobs_table).announce(request(), fingerprint="f")
    found = Records(aws.dynamodb, aws.jobs_table).read("a")
    assert (found is not None) == after_effect


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_an_unknown_job_is_none(records: Records) -> None:
    assert records.read("a") is None


def test_an_announced_job_reads_as_it_was_asked_for(records: Records) -> None:
    announced(records)
    found = records.read("a")
    assert found is not None
    assert (found["jobId"], found["kind"], found["status"], found["userId"]) == (
        "a",
        "image-processing",
        "PENDING",
        "ada",
    )
    assert json.loads(found["metadata"]) == request().metadata


@pytest.mark.parametrize(
    "value",
    [0, 7, -3, 10**30, 0.95, -0.5, "", "1", True, False, None, [], {}, [1, [2.5, {"a": None}]], {"é": ["x", False]}],
)
def test_a_result_comes_back_as_json_has_it(records: Records, aws: Aws, value: object) -> None:
    # As DynamoDB's own clients do it, which know no binary fractions.
    put(aws, jobId="a", result={"value": json.loads(json.dumps(value), parse_float=Decimal)})
    found = records.read("a")
    assert found is not None
    back = found["result"]["value"]
    assert (back, type(back)) == (value, type(value))


def test_a_set_comes_back_as_a_list(records: Records, aws: Aws) -> None:
    put(aws, jobId="a", result={"names": {"b", "a"}, "numbers": {3, 1}})
    found = records.read("a")
    assert found is not None
    assert found["result"] == {"names": ["a", "b"], "numbers": [1, 3]}


def test_bytes_come_back_as_null(records: Records, aws: Aws) -> None:
    put(aws, jobId="a", result={"blob": b"\x00"})
    found = records.read("a")
    assert found is not None
    assert found["result"] == {"blob": None}


def test_what_is_nobodys_business_is_not_read(records: Records, aws: Aws) -> None:
    put(aws, jobId="a", fingerprint="f", announcedBy="one", pastVersions=["v0"], runId="r", targetId="t")
    assert records.read("a") == {"jobId": "a"}


# ---- listing ---------------------------------------------------------------------------------------------------------

USERS = ("ada", "bob")
KINDS = ("image-processing", "stream-recording")
STATUSES = ("PENDING", "RUNNING", "COMPLETED")


def listed(records: Records, filters: Filters, limit: int) -> list[Page]:
    """Returns every page of a list."""
    pages = [records.page(filters, limit)]
    while pages[-1].next_token is not None:
        pages.append(records.page(filters, limit, pages[-1].next_token))
    return pages


def jobs(pages: list[Page]) -> list[str]:
    return [job["jobId"] for page in pages for job in page.jobs]


def at(second: int) -> str:
    return clock.iso(SENT_AT + timedelta(seconds=second))


def populate(aws: Aws, count: int) -> list[PlainItem]:
    """Writes jobs of every user, kind and status, several with the same time."""
    rows = [
        {
            "jobId": f"job-{number:03}",
            "userId": USERS[number % 2],
            "kind": KINDS[number // 2 % 2],
            "status": STATUSES[number // 4 % 3],
            "createdAt": at(number // 3),
        }
        for number in range(count)
    ]
    for row in rows:
        put(aws, **row)
    return rows


def matching(rows: list[PlainItem], filters: Filters) -> list[PlainItem]:
    return [
        row
        for row in rows
        if filters.user_id in (None, row["userId"])
        and filters.kind in (None, row["kind"])
        and row["status"] in (filters.statuses or STATUSES)
        and (filters.since or "") <= row["createdAt"] <= (filters.until or "9")
    ]


some_filters = st.builds(
    Filters,
    st.sampled_from([None, *USERS]),
    st.sampled_from([None, *KINDS]),
    st.lists(st.sampled_from(STATUSES), unique=True).map(tuple),
    st.none() | st.integers(-1, 17).map(at),
    st.none() | st.integers(-1, 17).map(at),
)


@pytest.fixture
def populated(aws: Aws) -> list[PlainItem]:
    return populate(aws, 48)


@given(filters=some_filters, limit=st.integers(3, 60))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_hold_every_job_once(records: Records, populated: list[PlainItem], filters: Filters, limit: int) -> None:
    expected = sorted(row["jobId"] for row in matching(populated, filters))
    assert sorted(jobs(listed(records, filters, limit))) == expected


@given(filters=some_filters, limit=st.integers(3, 60))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_hold_the_newest_first(
    records: Records, populated: list[PlainItem], filters: Filters, limit: int
) -> None:
    times = [job["createdAt"] for page in listed(records, filters, limit) for job in page.jobs]
    assert times == sorted(times, reverse=True)


@given(filters=some_filters, limit=st.integers(3, 60))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_page_is_longer_than_asked(
    records: Records, populated: list[PlainItem], filters: Filters, limit: int
) -> None:
    assert all(len(page.jobs) <= limit for page in listed(records, filters, limit))


def test_a_listed_job_says_whose_and_what_it_is(records: Records, populated: list[PlainItem]) -> None:
    (job,) = records.page(Filters(user_id="ada"), 1).jobs
    assert job == {
        "jobId": "job-046",
        "userId": "ada",
        "kind": "stream-recording",
        "status": "COMPLETED",
        "createdAt": at(15),
    }


def test_a_job_that_comes_while_one_pages_moves_nothing(records: Records, aws: Aws, populated: list[PlainItem]) -> None:
    first = records.page(Filters(user_id="ada"), 5)
    put(aws, jobId="newer", userId="ada", kind=KINDS[0], status="PENDING", createdAt=at(1000))
    second = records.page(Filters(user_id="ada"), 5, first.next_token)
    assert jobs([first, second]) == [row["jobId"] for row in reversed(populated) if row["userId"] == "ada"][:10]


class Counting:
    """A client that records its requests."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        real = getattr(self._inner, name)
        if not callable(real):
            return real

        def call(**parameters: object) -> object:
            self.calls.append((name, parameters))
            return real(**parameters)

        return call


@given(filters=some_filters, limit=st.integers(1, 100))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_is_a_query_for_each_list_with_a_bound(
    aws: Aws, populated: list[PlainItem], filters: Filters, limit: int
) -> None:
    client: Any = Counting(aws.dynamodb)
    Records(client, aws.jobs_table).page(filters, limit)
    alone = filters.user_id is not None or (filters.kind is not None and not filters.statuses)
    assert len(client.calls) <= (1 if alone else len(filters.statuses or Status))
    assert {name for name, _ in client.calls} <= {"query"}
    assert sum(parameters["Limit"] for _, parameters in client.calls) <= max(500, limit * len(client.calls))


MOMENTS = ("2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00.001Z", "2026", "2026-11-22T12:00:00.0001Z", "\0", "\ue000")
"""Times of rows. Other programs may write any text."""


@given(
    rows=st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(MOMENTS) | st.text(min_size=1)), max_size=30),
    limit=st.integers(2, 9),
    statuses=st.lists(st.sampled_from(Status), unique=True).map(tuple),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merged_lists_have_every_job_once_in_order(
    aws: Aws, rows: list[tuple[Status, str]], limit: int, statuses: tuple[Status, ...]
) -> None:
    """Many rows of one moment, in several lists; each page starts anew from its token."""
    for item in aws.dynamodb.scan(TableName=aws.jobs_table)["Items"]:
        aws.dynamodb.delete_item(TableName=aws.jobs_table, Key={"jobId": item["jobId"]})
    for number, (status, time) in enumerate(rows):
        put(aws, jobId=f"job-{number:02}", kind=KINDS[0], status=status, createdAt=time)
    pages = listed(Records(aws.dynamodb, aws.jobs_table), Filters(statuses=statuses), limit)
    found = [job for page in pages for job in page.jobs]
    wanted = [number for number, (status, _) in enumerate(rows) if status in (statuses or Status)]
    assert sorted(job["jobId"] for job in found) == [f"job-{number:02}" for number in wanted]
    times = [job["createdAt"] for job in found]
    assert times == sorted(times, reverse=True)


@given(
    moves=st.lists(st.tuples(st.integers(0, 1_000), st.sampled_from(STATUSES)), min_size=1, max_size=20),
    limit=st.integers(4, 20),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_whose_status_changes_while_one_pages_is_listed_once(
    aws: Aws, records: Records, populated: list[PlainItem], moves: list[tuple[int, str]], limit: int
) -> None:
    """Of one moment, such a job may be missed or repeated: the lists are merged in their order."""
    rows = [row | {"createdAt": at(number)} for number, row in enumerate(populated)]
    for row in rows:
        put(aws, **row)
    seen, token, turns = list[str](), None, cycle(moves)
    while token is not None or not seen:
        page = records.page(Filters(), limit, token)
        seen += [job["jobId"] for job in page.jobs]
        token = page.next_token
        number, status = next(turns)
        put(aws, **rows[number % len(rows)] | {"status": status})
    assert seen == [row["jobId"] for row in reversed(rows)]


def test_a_filter_that_matches_little_gives_short_pages_that_go_on(
    records: Records, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchyard.tables.records._LOOKED_AT", 7)
    rows = populate(aws, 48)
    filters = Filters(user_id="ada", kind=KINDS[0], statuses=("COMPLETED",))
    pages = listed(records, filters, 3)
    assert jobs(pages) == [row["jobId"] for row in reversed(matching(rows, filters))]
    assert any(len(page.jobs) < 3 for page in pages[:-1])


def test_a_list_of_nothing_is_empty(records: Records) -> None:
    assert records.page(Filters(user_id="nobody"), 10) == Page([], None)


# ---- tokens ----------------------------------------------------------------------------------------------------------


def token(records: Records, filters: Filters) -> str:
    given_token = records.page(filters, 1).next_token
    assert given_token is not None
    return given_token


@pytest.mark.parametrize(
    "others",
    [Filters(user_id="bob"), Filters(user_id="ada", kind=KINDS[0]), Filters(kind="ada"), Filters(statuses=("ada",))],
)
def test_a_token_is_of_its_list_alone(records: Records, populated: list[PlainItem], others: Filters) -> None:
    foreign = token(records, Filters(user_id="ada"))
    with pytest.raises(BadToken):
        records.page(others, 1, foreign)


@pytest.mark.parametrize(
    "bad",
    ["", "x", "=", "AAAA", "é", "\ud800", "bnVsbA", "W10", "WzEsMiwzXQ", "W" * 5000, "Ww" * 40_000, "{}", "MTIz", "\0"],
)
def test_what_is_no_token_is_refused(records: Records, bad: str) -> None:
    with pytest.raises(BadToken):
        records.page(Filters(user_id="ada"), 1, bad)


def test_a_token_outside_of_its_times_is_refused(records: Records, populated: list[PlainItem]) -> None:
    """DynamoDB refuses to start there, which would be a 503."""
    filters = Filters(since=at(3), until=at(5))
    for time, number in ((at(2), 0), (at(6), 0), (at(4), -1), (at(4), 8), (at(4), True), (at(4), 1.0)):
        position = json.dumps([time, number, "job-012", _digest(filters)]).encode()
        with pytest.raises(BadToken):
            records.page(filters, 1, base64.urlsafe_b64encode(position).rstrip(b"=").decode())


@given(bad=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_a_list(records: Records, bad: str) -> None:
    with pytest.raises(BadToken):
        records.page(Filters(user_id="ada"), 1, bad)


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_token_that_was_tampered_with_is_refused_or_stays_in_its_list(
    records: Records, populated: list[PlainItem], data: st.DataObject
) -> None:
    whole = token(records, Filters(user_id="ada"))
    position = data.draw(st.integers(0, len(whole) - 1))
    tampered = whole[:position] + data.draw(st.sampled_from("Aaz09-_")) + whole[position + 1 :]
    try:
        page = records.page(Filters(user_id="ada"), 100, tampered)
    except BadToken:
        return
    assert {job["userId"] for job in page.jobs} <= {"ada"}


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_throttling_is_not_taken_for_an_answer(aws: Aws) -> None:
    class Throttled:
        exceptions = aws.dynamodb.exceptions

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
            def call(**_: object) -> object:
                raise ClientError({"Error": {"Code": "ThrottlingException"}}, name)

            return call

    client: Any = Throttled()
    records = Records(client, aws.jobs_table)
    for call in (
        lambda: records.announce(request(), fingerprint="f"),
        lambda: records.announce_again(request()),
        lambda: records.withdraw(request()),
        lambda: records.read("a"),
        lambda: records.page(Filters(user_id="ada"), 1),
    ):
        with pytest.raises(ClientError):
            call()
