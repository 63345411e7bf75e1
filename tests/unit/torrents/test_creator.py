"""The function's work on one object, from the message to the torrent, with every failure on the way."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from switchyard.errors import InvalidMessage, ObjectGone
from switchyard.function_jobs import intake
from switchyard.function_jobs.jobs import Unfinished
from switchyard.function_jobs.work import TimeLeft
from switchyard.torrents import creator
from switchyard.torrents.format.layout import Format
from switchyard.torrents.format.metainfo import Sharing
from switchyard.torrents.hashing import Copy, NoChecksum, Stream
from tests.unit.torrents.world import (
    BUCKET,
    DEAD,
    KEY,
    MAX_RECEIVES,
    MIB,
    ONE_PIECE_EACH,
    SEEDING,
    Invocation,
    TorrentWorld,
    content,
    lambda_event,
    torrent_key,
)

SMALL = content(100)
THREE = content(2 * MIB + 1)
"""Three pieces, the last of one byte."""


# ---- the usual way --------------------------------------------------------------------------------------------------


def test_an_upload_gets_a_torrent(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)
    assert torrents.is_torrent_of(SMALL)


def test_the_result_says_what_the_torrent_is(torrents: TorrentWorld) -> None:
    version = torrents.upload(THREE)
    torrents.deliver_all()
    result = torrents.job(version)["result"]
    assert {name: result[name] for name in result.keys() - {"infohash", "magnet"}} == {
        "torrentKey": "torrents/recordings/job-7/my file+ü #1 100%.bin.torrent",
        "size": len(THREE),
        "pieceLength": MIB,
        "pieces": 3,
        "way": "stream",
    }
    assert result["magnet"].startswith(f"magnet:?xt=urn:btih:{result['infohash']}&")


def test_the_torrent_tells_what_it_is_of(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    head = torrents.s3.head_object(Bucket=BUCKET, Key=torrent_key())
    assert head["ContentType"] == "application/x-bittorrent"
    assert head["Metadata"] == {
        "source-version": version,
        "info-hash": torrents.job(version)["result"]["infohash"],
    }


def test_a_hybrid_has_both_hashes(torrents: TorrentWorld) -> None:
    torrents.set(form=Format.HYBRID)
    version = torrents.upload(THREE)
    torrents.deliver_all()
    assert len(torrents.job(version)["result"]["infohashV2"]) == 64
    assert torrents.is_torrent_of(THREE)


def test_a_torrent_is_shared_as_the_settings_say(torrents: TorrentWorld) -> None:
    torrents.set(sharing=Sharing(trackers=(("udp://t.example",),), web_seed_base_urls=("https://cdn.example",)))
    torrents.upload(SMALL)
    torrents.deliver_all()
    found = torrents.torrent()
    assert found is not None
    assert (found[b"announce"], found[b"url-list"]) == (
        b"udp://t.example",
        [b"https://cdn.example/recordings/job-7/my%20file%2B%C3%BC%20%231%20100%25.bin"],
    )


def test_no_log_line_holds_a_tracker(torrents: TorrentWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "switchyard")
    torrents.set(sharing=Sharing(trackers=(("https://t.example/passkey-0123/announce",),)))
    torrents.upload(THREE)
    torrents.deliver_all()
    assert "torrent made" in caplog.messages
    assert not [record for record in caplog.records if "passkey" in str(record.__dict__)]


def test_a_recording_s_torrent_is_its_owner_s(torrents: TorrentWorld) -> None:
    with torrents.about("recordings/user-42/job-7/evening.ts"):
        version = torrents.upload(SMALL)
        torrents.deliver_all()
        assert torrents.job(version)["userId"] == "user-42"


def test_a_job_named_like_a_recording_does_not_own_its_torrent(torrents: TorrentWorld) -> None:
    torrents.aws.dynamodb.put_item(
        TableName=torrents.aws.jobs_table, Item={"jobId": {"S": "job-7"}, "userId": {"S": "user-42"}}
    )
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    assert "userId" not in torrents.job(version)


def test_a_torrent_whose_id_is_taken_is_dead_lettered(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    torrents.aws.dynamodb.put_item(
        TableName=torrents.aws.jobs_table,
        Item={
            "jobId": {"S": torrents.name(version)},
            "kind": {"S": "stream-recording"},
            "status": {"S": "PENDING"},
        },
    )
    torrents.deliver_all()
    assert torrents.job(version)["kind"] == "stream-recording"
    assert torrents.dead_letters == ["JOB_ID_TAKEN"]


def test_a_version_of_the_object_is_what_the_torrent_is_of(torrents: TorrentWorld) -> None:
    torrents.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    torrents.set(sharing=Sharing(web_seed_base_urls=("https://cdn.example",)))
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    found = torrents.torrent()
    assert found is not None
    assert torrents.job(version)["source"]["versionId"] == version
    assert found[b"url-list"][0].decode().endswith(f"?versionId={version}")


def test_a_request_needs_no_version(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL, tell=False)
    torrents.ask()
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)


# ---- the same, or not -----------------------------------------------------------------------------------------------


def test_a_torrent_is_made_once(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    torrents.ask()
    torrents.ask(version=version)
    torrents.deliver_all()
    assert (torrents.job(version)["fence"], torrents.dead_letters) == (1, [])


def test_a_torrent_is_made_again_for_who_asks_so(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    torrents.set(sharing=Sharing(comment="anew"))
    torrents.ask(again=True)
    torrents.deliver_all()
    found = torrents.torrent()
    assert found is not None
    assert (found[b"comment"], torrents.job(version)["fence"]) == (b"anew", 2)


def test_a_new_upload_gets_a_new_torrent(torrents: TorrentWorld) -> None:
    for data in (SMALL, THREE):
        version = torrents.upload(data)
        torrents.deliver_all()
        assert torrents.outcome(version) == ("COMPLETED", None)
        assert torrents.is_torrent_of(data)


def test_bytes_that_were_there_before_get_their_torrent_back(torrents: TorrentWorld) -> None:
    """Without versions, the ETag identifies an object's content: the first and the third upload are one job."""
    for data in (SMALL, THREE, SMALL):
        torrents.upload(data)
        torrents.deliver_all()
        assert torrents.is_torrent_of(data)


def test_an_upload_that_was_replaced_is_void(torrents: TorrentWorld) -> None:
    first, second = torrents.upload(SMALL), torrents.upload(THREE)
    torrents.deliver_all()
    assert (torrents.outcome(first), torrents.outcome(second)) == ((None, None), ("COMPLETED", None))


def test_a_job_whose_object_was_replaced_before_it_began_fails(torrents: TorrentWorld) -> None:
    first = announced(torrents)
    torrents.upload(THREE, tell=False)
    torrents.deliver_all()
    assert torrents.outcome(first) == ("FAILED", "OBJECT_CHANGED")


def test_a_job_whose_object_is_gone_before_it_began_fails(torrents: TorrentWorld) -> None:
    version = announced(torrents)
    torrents.s3.delete_object(Bucket=BUCKET, Key=KEY)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("FAILED", "OBJECT_GONE")


def announced(torrents: TorrentWorld) -> str:
    """Sets up a job that the API recorded and sent, as this function sees it."""
    version = torrents.upload(SMALL, tell=False)
    torrents.ask(version=version)
    torrents.aws.dynamodb.put_item(
        TableName=torrents.aws.jobs_table,
        Item={
            "jobId": {"S": torrents.name(version)},
            "status": {"S": "PENDING"},
            "createdAt": {"S": "2026-11-22T13:00:00.000Z"},
        },
    )
    return version


def test_an_announced_job_is_begun(torrents: TorrentWorld) -> None:
    version = announced(torrents)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)


def test_an_upload_that_is_gone_already_is_no_trouble(torrents: TorrentWorld) -> None:
    torrents.upload(SMALL)
    torrents.s3.delete_object(Bucket=BUCKET, Key=KEY)
    torrents.deliver_all()
    assert torrents.dead_letters == []


def test_a_request_for_what_is_not_there_is_dead_lettered(torrents: TorrentWorld) -> None:
    torrents.ask()
    torrents.deliver_all()
    assert torrents.dead_letters == ["OBJECT_GONE"]


# ---- what gets no torrent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["recordings/a.torrent", "recordings/folder/", "torrents/a", "torrent-scratch/a"])
def test_what_gets_no_torrent_leaves_no_trace(key: str, torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL, key)
    torrents.deliver_all()
    assert (torrents.torrent(key), torrents.job(version, key), torrents.dead_letters) == (None, {}, [])


def test_an_empty_object_is_refused_clearly(torrents: TorrentWorld) -> None:
    version = torrents.upload(b"")
    torrents.deliver_all()
    assert torrents.outcome(version) == ("FAILED", "EMPTY_OBJECT")
    assert "empty" in torrents.job(version)["error"]["message"]


def test_a_key_that_leaves_no_room_for_the_torrent_s_is_refused_clearly(torrents: TorrentWorld) -> None:
    key = "recordings/" + "a" * 1010
    version = torrents.upload(SMALL, key)
    torrents.deliver_all()
    assert torrents.outcome(version, key) == ("FAILED", "KEY_TOO_LONG")


def test_more_segments_than_a_record_holds_are_refused_clearly(
    torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchyard.torrents.format.segments.MAX_SEGMENTS", 2)
    torrents.set(megabytes_per_second=ONE_PIECE_EACH)
    version = torrents.upload(THREE)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("FAILED", "TOO_LARGE")


def test_several_uploads_in_one_message_become_a_message_each(torrents: TorrentWorld) -> None:
    keys = ["recordings/a", "recordings/b"]
    versions = [torrents.upload(SMALL, key) for key in keys]
    records = [json.loads(torrents.messages.popleft().body)["Records"][0] for _ in keys]
    torrents.send(json.dumps({"Records": [*records, {"eventSource": "aws:ses"}]}))
    torrents.deliver_all()
    outcomes = [torrents.outcome(version, key) for version, key in zip(versions, keys, strict=True)]
    assert (outcomes, torrents.dead_letters) == ([("COMPLETED", None)] * 2, ["INVALID_MESSAGE"])


# ---- seeding --------------------------------------------------------------------------------------------------------


def test_where_something_seeds_a_finished_torrent_is_seeded(torrents: TorrentWorld) -> None:
    torrents.seeding_queue = SEEDING
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    (queued,) = torrents.sqs.queues[SEEDING]
    result = torrents.job(version)["result"]
    assert json.loads(queued.body) == {
        "kind": "torrent-seeding",
        "jobId": f"{torrents.name(version)}-seed",
        "version": result["infohash"],
        "torrentKey": torrent_key(),
    }
    assert result["seeding"] == f"{torrents.name(version)}-seed"


# ---- the three ways -------------------------------------------------------------------------------------------------


def test_where_s3_says_no_checksum_the_object_is_read(torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise NoChecksum("as moto does")

    monkeypatch.setattr(Copy, "digests", refuse)
    torrents.set(by_copy=True)
    version = torrents.upload(THREE)
    torrents.deliver_all()
    assert torrents.job(version)["result"]["way"] == "stream"


def test_a_hybrid_is_read_whatever_s3_could_say(torrents: TorrentWorld) -> None:
    torrents.set(by_copy=True, form=Format.HYBRID)
    version = torrents.upload(THREE)
    torrents.deliver_all()
    assert torrents.job(version)["result"]["way"] == "stream"


# ---- segments -------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(torrents: TorrentWorld) -> TorrentWorld:
    """Makes every segment one piece."""
    torrents.set(megabytes_per_second=ONE_PIECE_EACH)
    return torrents


@pytest.mark.parametrize("form", Format)
def test_a_huge_object_is_hashed_in_segments(form: Format, slow: TorrentWorld) -> None:
    slow.set(form=form)
    version = slow.upload(THREE)
    slow.deliver()
    assert (slow.outcome(version), len(slow.messages)) == (("RUNNING", None), 3)
    slow.deliver_all()
    assert slow.outcome(version) == ("COMPLETED", None)
    assert slow.is_torrent_of(THREE)


def test_segments_make_the_torrent_that_would_be_made_at_once(slow: TorrentWorld) -> None:
    slow.upload(THREE)
    slow.deliver_all()
    in_segments = slow.torrent()
    slow.set(megabytes_per_second=75)
    slow.ask(again=True)
    slow.deliver_all()
    assert slow.torrent() == in_segments


def test_progress_is_what_all_segments_have_done(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    seen = []
    while slow.deliver():
        seen.append(slow.job(version).get("progress", {}).get("percent"))
    assert seen == [None, 33, 66, 100]


def test_segments_may_come_in_any_order(slow: TorrentWorld) -> None:
    slow.upload(THREE)
    slow.deliver()
    slow.messages.reverse()
    slow.deliver_all()
    assert slow.is_torrent_of(THREE)


def test_a_segment_that_comes_twice_is_hashed_once(slow: TorrentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    bodies = [queued.body for queued in slow.messages]
    slow.deliver()
    hashed = hashing(monkeypatch)
    slow.send(bodies[0])
    slow.messages.rotate(1)
    slow.deliver()
    assert (hashed, slow.outcome(version)[0]) == ([], "RUNNING")


def test_a_segment_that_comes_after_the_end_changes_nothing(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    body = slow.messages[0].body
    slow.deliver_all()
    before = slow.job(version)
    slow.send(body)
    slow.deliver_all()
    assert slow.job(version) == before


def hashing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Records the extents hashed from now on."""
    hashed = []
    digests = Stream.digests

    def noting(self: Stream, thing: Any, layout: Any, extent: Any, **options: Any) -> bytes:  # noqa: ANN401
        hashed.append((extent.first, extent.count))
        return digests(self, thing, layout, extent, **options)

    monkeypatch.setattr(Stream, "digests", noting)
    return hashed


def in_time_for(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits invocations from now on to this many pieces before their time is up."""
    digests = Stream.digests

    def cut_short(self: Stream, thing: Any, layout: Any, extent: Any, **options: Any) -> bytes:  # noqa: ANN401
        return digests(self, thing, layout, extent, **options)[: pieces * layout.format.digest_size]

    monkeypatch.setattr(Stream, "digests", cut_short)


def test_who_runs_short_of_time_keeps_what_is_done_and_has_the_rest_done(
    torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = torrents.upload(THREE)
    hashed = hashing(monkeypatch)
    in_time_for(1, monkeypatch)
    torrents.deliver_all()
    assert (hashed, torrents.outcome(version)) == ([(0, 3), (1, 2), (2, 1)], ("COMPLETED", None))
    assert torrents.is_torrent_of(THREE)


def test_who_has_no_time_for_a_single_piece_comes_back_and_is_given_up(torrents: TorrentWorld) -> None:
    version = torrents.upload(THREE)
    for _ in range(MAX_RECEIVES):
        torrents.deliver(Invocation(milliseconds=9000))
    assert torrents.outcome(version) == ("FAILED", "GIVEN_UP")
    assert "TOO_SLOW" in torrents.job(version)["error"]["message"]
    assert torrents.dead_letters == ["TOO_SLOW"]


def test_chunks_that_were_deleted_are_hashed_again(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    for _ in range(3):
        slow.deliver()
    scratch = slow.s3.list_objects_v2(Bucket=BUCKET, Prefix="torrent-scratch/")["Contents"]
    slow.s3.delete_object(Bucket=BUCKET, Key=scratch[0]["Key"])
    slow.s3.put_object(Bucket=BUCKET, Key=scratch[1]["Key"], Body=b"cut off")
    slow.deliver_all()
    assert slow.outcome(version) == ("COMPLETED", None)
    assert slow.is_torrent_of(THREE)


def test_other_settings_midway_spoil_no_torrent(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    slow.deliver()
    slow.set(form=Format.HYBRID)
    slow.time.advance(timedelta(minutes=2))
    slow.ask()
    slow.deliver_all()
    assert slow.outcome(version) == ("COMPLETED", None)
    assert slow.is_torrent_of(THREE)


def test_a_batch_that_sqs_takes_in_part_is_sent_again(slow: TorrentWorld) -> None:
    slow.sqs.refusals = 1
    version = slow.upload(THREE)
    slow.deliver_all()
    assert slow.outcome(version) == ("COMPLETED", None)
    assert slow.is_torrent_of(THREE)


# ---- replaced, cancelled midway -------------------------------------------------------------------------------------


def test_an_object_that_is_replaced_midway_ends_its_job(slow: TorrentWorld) -> None:
    first = slow.upload(THREE)
    slow.deliver()
    slow.deliver()
    second = slow.upload(content(2 * MIB + 1, seed=1))
    slow.deliver_all()
    assert (slow.outcome(first), slow.outcome(second)) == (("FAILED", "OBJECT_CHANGED"), ("COMPLETED", None))


def test_a_version_that_is_superseded_midway_ends_its_job_when_it_would_be_published(slow: TorrentWorld) -> None:
    slow.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = slow.upload(THREE)
    slow.deliver()
    newer = content(2 * MIB + 1, seed=1)
    second = slow.upload(newer)
    slow.deliver_all()
    assert (slow.outcome(first), slow.outcome(second)) == (("FAILED", "OBJECT_CHANGED"), ("COMPLETED", None))
    assert slow.is_torrent_of(newer)


def test_an_object_that_is_deleted_midway_ends_its_job(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    slow.s3.delete_object(Bucket=BUCKET, Key=KEY)
    slow.deliver_all()
    assert slow.outcome(version) == ("FAILED", "OBJECT_GONE")


def test_the_same_bytes_uploaded_midway_are_taken_over(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    slow.deliver()
    assert slow.upload(THREE) == version
    slow.deliver_all()
    assert slow.outcome(version) == ("COMPLETED", None)
    assert slow.is_torrent_of(THREE)


def test_a_cancel_midway_ends_the_job_and_all_its_segments(slow: TorrentWorld) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    slow.deliver()
    slow.cancel(slow.name(version))
    slow.deliver_all()
    assert (slow.outcome(version), slow.torrent(), slow.dead_letters) == (("CANCELLED", None), None, [])


def test_a_cancel_is_noticed_while_pieces_are_hashed(torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creator, "_BEAT_SECONDS", 0.0)
    version = torrents.upload(THREE)
    digests = Stream.digests

    def cancelling(self: Stream, *arguments: Any, **options: Any) -> bytes:  # noqa: ANN401
        torrents.cancel(torrents.name(version))
        digests(self, *arguments, **options)
        raise AssertionError("it went on")

    monkeypatch.setattr(Stream, "digests", cancelling)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("CANCELLED", None)


def test_a_beat_says_how_far_it_is(torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creator, "_BEAT_SECONDS", 0.0)
    version, seen = torrents.upload(THREE), []
    digests = Stream.digests

    def looking(self: Stream, *arguments: Any, progress: Any, **options: Any) -> bytes:  # noqa: ANN401
        def noting(done: int) -> None:
            progress(done)
            seen.append(int(torrents.job(version)["progress"]["percent"]))

        return digests(self, *arguments, progress=noting, **options)

    monkeypatch.setattr(Stream, "digests", looking)
    torrents.deliver_all()
    assert seen == [49, 99, 99]


# ---- what may pass --------------------------------------------------------------------------------------------------

THROTTLED = ClientError(
    {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}},  # type: ignore[typeddict-item]
    "GetObject",
)


@pytest.mark.parametrize("error", [THROTTLED, ReadTimeoutError(endpoint_url="s3")], ids=["throttled", "timed out"])
@pytest.mark.parametrize("call", ["get_object_attributes", "get_object", "head_object", "put_object"])
def test_what_may_pass_brings_the_message_back(
    call: str, error: Exception, torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = torrents.upload(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(torrents.s3, call, failing(error))
        torrents.deliver()
    assert (len(torrents.messages), torrents.torrent()) == (1, None)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)


@pytest.mark.parametrize("call", ["get_object_attributes", "get_object", "head_object", "put_object"])
def test_what_does_not_pass_is_dead_lettered_and_can_be_sent_again(
    call: str, torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = torrents.upload(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(torrents.s3, call, failing(THROTTLED))
        torrents.deliver_all()
    assert torrents.dead_letters == ["AWS_UNAVAILABLE"]
    assert torrents.outcome(version) in {("FAILED", "GIVEN_UP"), (None, None)}
    torrents.redrive()
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)


def failing(error: Exception) -> Any:  # noqa: ANN401 - it stands for any call
    def fail(**_: object) -> None:
        raise error

    return fail


def test_a_segment_that_is_given_up_and_sent_again_ends_the_job_well(
    slow: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = slow.upload(THREE)
    slow.deliver()
    with monkeypatch.context() as patch:
        patch.setattr(slow.s3, "get_object", failing(THROTTLED))
        while len(slow.messages) == 3:
            slow.deliver()
            slow.messages.rotate(1)
    assert slow.outcome(version) == ("FAILED", "GIVEN_UP")
    slow.redrive()
    slow.deliver_all()
    assert (slow.outcome(version), slow.job(version)["fence"]) == (("COMPLETED", None), 1)
    assert slow.is_torrent_of(THREE)


def test_a_message_is_soon_back_if_its_invocation_is_killed(torrents: TorrentWorld) -> None:
    torrents.upload(SMALL)
    torrents.deliver()
    assert torrents.sqs.visibilities == [60]


def test_a_message_stays_hidden_for_as_long_as_it_is_worked_on(
    torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    monkeypatch.setattr(intake, "_RENEWED", 0.01)
    monkeypatch.setattr(creator.Creator, "handle", lambda *_: renewed.wait(60))

    def hide(**_: object) -> None:
        torrents.sqs.visibilities.append(60)
        if len(torrents.sqs.visibilities) == 3:
            renewed.set()

    monkeypatch.setattr(torrents.sqs, "change_message_visibility", hide)
    torrents.upload(SMALL)
    torrents.deliver()
    assert renewed.is_set()


def test_that_a_message_could_not_be_hidden_is_no_harm(torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torrents.sqs, "change_message_visibility", failing(THROTTLED))
    version = torrents.upload(SMALL)
    torrents.deliver_all()
    assert torrents.outcome(version) == ("COMPLETED", None)


class NotesThreads:
    """A client that records which threads of a pool call it."""

    def __init__(self, client: object, names: set[str]) -> None:
        self._client, self._names = client, names

    def __getattr__(self, name: str) -> object:
        thread = threading.current_thread().name
        if thread.startswith("ThreadPoolExecutor"):
            self._names.add(thread.rpartition("_")[0])
        return getattr(self._client, name)


def test_the_queue_keeps_its_pool_from_one_invocation_to_the_next(torrents: TorrentWorld) -> None:
    pools: set[str] = set()
    function = torrents.intake(lambda client: NotesThreads(client, pools))
    for _ in range(3):
        torrents.send('{"Event": "s3:TestEvent"}')
        torrents.send('{"Event": "s3:TestEvent"}')
        records = [record for queued in torrents.messages for record in lambda_event(queued)["Records"]]
        torrents.messages.clear()
        answer = function.consume({"Records": records}, TimeLeft(Invocation().remaining))
        assert answer == {"batchItemFailures": []}
    assert len(pools) == 1


# ---- directly -------------------------------------------------------------------------------------------------------


def test_who_invokes_gets_the_torrent(torrents: TorrentWorld) -> None:
    version = torrents.upload(SMALL)
    event = json.loads(torrents.messages.popleft().body)
    result = torrents.invoke(event)
    made = torrents.job(version)["result"]
    assert result == {
        "jobId": torrents.name(version),
        "status": "COMPLETED",
        "infohash": made["infohash"],
        "magnet": made["magnet"],
        "torrentKey": torrent_key(),
    }
    assert torrents.invoke(event) == result


def test_who_invokes_with_several_uploads_gets_several_torrents(torrents: TorrentWorld) -> None:
    keys = ["recordings/a", "recordings/b", "recordings/c.torrent"]
    for key in keys:
        torrents.upload(SMALL, key)
    records = [json.loads(queued.body)["Records"][0] for queued in torrents.messages]
    answers = torrents.invoke({"Records": records})["torrents"]
    assert [answer.get("status", answer.get("ignored")) for answer in answers] == [
        "COMPLETED",
        "COMPLETED",
        "a torrent itself",
    ]


def test_who_invokes_for_a_huge_object_is_told_that_it_is_under_way(slow: TorrentWorld) -> None:
    slow.upload(THREE, tell=False)
    assert slow.invoke({"bucket": BUCKET, "key": KEY})["status"] == "RUNNING"
    slow.deliver_all()
    assert slow.is_torrent_of(THREE)


def test_who_invokes_for_what_gets_no_torrent_is_told_why(torrents: TorrentWorld) -> None:
    assert torrents.invoke({"bucket": BUCKET, "key": "a.torrent"}) == {"ignored": "a torrent itself"}


def test_who_invokes_for_what_was_replaced_is_told_so(torrents: TorrentWorld) -> None:
    torrents.upload(SMALL, tell=False)
    answer = torrents.invoke({"bucket": BUCKET, "key": KEY, "version": "older"})
    assert answer == {"ignored": "not the current version of the object"}


def test_who_invokes_for_what_can_not_be_shared_is_told_why(torrents: TorrentWorld) -> None:
    torrents.upload(b"", tell=False)
    answer = torrents.invoke({"bucket": BUCKET, "key": KEY})
    assert (answer["status"], answer["error"]["code"]) == ("FAILED", "EMPTY_OBJECT")


@pytest.mark.parametrize(("event", "error"), [({}, InvalidMessage), ({"bucket": BUCKET, "key": KEY}, ObjectGone)])
def test_what_can_not_be_done_is_raised_for_lambda_to_tell(
    event: object, error: type[Exception], torrents: TorrentWorld
) -> None:
    with pytest.raises(error):
        torrents.invoke(event)
    assert not torrents.sqs.queues[DEAD]


def test_lambda_s_retry_of_an_invocation_does_what_the_first_did_not(
    torrents: TorrentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    torrents.upload(SMALL, tell=False)
    with monkeypatch.context() as patch:
        patch.setattr(torrents.s3, "put_object", failing(THROTTLED))
        with pytest.raises(Unfinished):
            torrents.invoke({"bucket": BUCKET, "key": KEY})
    assert torrents.invoke({"bucket": BUCKET, "key": KEY})["status"] == "COMPLETED"
