"""GET /jobs/{jobId} and GET /jobs: a job's representation, who may see it, and 304."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard import clients
from switchyard.api.http import Api
from switchyard.api.presentation import Presentation, document
from switchyard.api.results import Results
from switchyard.names import legal_name, owned_name
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Lane, Pause
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.requests import SENT_AT, task
from tests.rest import Answer, ask
from tests.strategies import anything
from tests.world import Time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GET, LIST = "GET /jobs/{jobId}", "GET /jobs"
BUCKET = "media"
MOMENT = "2026-11-22T18:36:54.123Z"
LIFETIME = timedelta(minutes=15)
DETECTIONS = [
    {
        "imageUrl": "s3://media/a.jpg",
        "imageIndex": 0,
        "detections": [{"label": "car", "confidence": 0.95, "bbox": [100, 150, 500, 400]}],
        "detectionCount": 1,
    },
    {"imageUrl": "s3://media/b.jpg", "imageIndex": 1, "error": {"code": "NOT_AN_IMAGE", "message": "it is damaged"}},
]


UPLOAD = "2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-a.mp4"


@cache
def s3_client() -> "S3Client":
    return clients.s3()


@dataclass
class Showing:
    """The routes on one moto account."""

    aws: Aws
    s3: Any = None

    def ask(self, route: str, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        records = Records(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table)
        shown = Presentation(records, Results(lambda: self.s3 or s3_client(), BUCKET, "torrents/", LIFETIME))
        return ask(Api({GET: shown.job, LIST: shown.jobs, "GET /openapi.json": document}), route, **more)

    def get(self, job_id: str = "a", **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        return self.ask(GET, path={"jobId": job_id}, **more)

    def pause(self, lane: str = "images", reason: str = "NO_CAPACITY") -> None:
        """Pauses a lane, as a start without room does."""
        store = Store(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=LIFETIME)
        assert store.set_pause(Lane(lane, 1), None, Pause.begin(SENT_AT, reason))

    def put(self, **attributes: Any) -> None:  # noqa: ANN401 - any attribute
        """Writes a job with these attributes and defaults for the rest."""
        row = {
            "jobId": "a",
            "kind": "image-processing",
            "status": "RUNNING",
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        } | attributes
        # As workers write it, whose clients know no binary fractions.
        exact = json.loads(json.dumps(row), parse_float=Decimal)
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=TypeSerializer().serialize(exact)["M"])


@pytest.fixture
def showing(aws: Aws) -> Showing:
    s3_client().create_bucket(Bucket=BUCKET)
    return Showing(aws)


# ---- a job -----------------------------------------------------------------------------------------------------------


def test_a_job_that_has_not_begun_shows_what_there_is(showing: Showing) -> None:
    showing.put(status="PENDING")
    assert showing.get().body == {
        "jobId": "a",
        "kind": "image-processing",
        "status": "PENDING",
        "createdAt": MOMENT,
        "updatedAt": MOMENT,
    }


def test_a_job_whose_lane_is_paused_says_what_blocks_it(showing: Showing) -> None:
    showing.put(status="WAITING", lane="images")
    before = showing.get().headers["ETag"]
    showing.pause()
    answer = showing.get(headers={"If-None-Match": before})
    assert (answer.status, answer.body["blocked"]) == (200, "capacity")
    assert answer.body["blockedReason"].startswith("There is no room")
    assert "lane" not in answer.body


def test_a_throttled_lane_has_another_reason(showing: Showing) -> None:
    showing.put(status="WAITING", lane="images")
    showing.pause(reason="START_THROTTLED")
    assert "takes no more requests" in showing.get().body["blockedReason"]


def test_a_job_that_an_earlier_version_put_into_a_part_of_its_lane_is_in_the_lane(showing: Showing) -> None:
    showing.put(status="WAITING", lane="images/1of2")
    showing.pause()
    assert showing.get().body["blocked"] == "capacity"


def test_a_lane_that_an_operator_paused_says_so(showing: Showing) -> None:
    showing.put(status="WAITING", lane="images")
    store = Store(showing.aws.dynamodb, showing.aws.jobs_table, showing.aws.lanes_table, keep_ended_jobs=LIFETIME)
    store.set_pause(Lane("images", 1), None, Pause.by_operator())
    shown = showing.get().body
    assert (shown["blocked"], shown["blockedReason"].split(".")[0]) == (
        "operator",
        "An operator has paused jobs of this kind",
    )


def test_a_job_that_waits_says_how_many_are_ahead(showing: Showing) -> None:
    store = Store(showing.aws.dynamodb, showing.aws.jobs_table, showing.aws.lanes_table, keep_ended_jobs=LIFETIME)
    for job_id in "abc":
        store.hold(task(job_id), None)
    assert showing.get().body["ahead"] == 2


@pytest.mark.parametrize(("stored", "shown"), [(7, 7), (0, 0), (10, None), ("7", None), (1.5, None)])
def test_a_priority_is_shown_if_it_is_one(showing: Showing, stored: object, shown: int | None) -> None:
    showing.put(status="PENDING", priority=stored)
    assert showing.get().body.get("priority") == shown


@pytest.mark.parametrize("row", [{"status": "RUNNING"}, {"lane": "images/"}, {"lane": "x" * 3000}, {"lane": 1}, {}])
def test_only_waiting_jobs_of_a_paused_lane_are_blocked(showing: Showing, row: dict[str, object]) -> None:
    showing.put(**{"status": "WAITING", "lane": "seeding"} | row)
    showing.pause()
    assert "blocked" not in showing.get().body


def test_a_job_that_is_tried_again_says_how_its_runs_ended_and_until_when_it_waits(showing: Showing) -> None:
    ended = {"code": "HOST_LOST", "message": "it was taken away", "endedAt": MOMENT}
    showing.put(status="WAITING", startAfter=MOMENT, pastAttempts=[ended | {"targetId": "arn:aws:ecs:…"}, 1, {}])
    body = showing.get().body
    assert (body["startAfter"], body["pastAttempts"]) == (MOMENT, [ended])


def test_a_list_says_which_jobs_are_blocked(showing: Showing) -> None:
    showing.put(jobId="a", status="WAITING", lane="images")
    showing.put(jobId="b", status="WAITING", lane="seeding")
    showing.put(jobId="c", status="RUNNING", lane="images")
    showing.pause()
    listed = showing.ask(LIST, query={"kind": "image-processing"}).body["jobs"]
    assert {job["jobId"]: job.get("blocked") for job in listed} == {"a": "capacity", "b": None, "c": None}
    assert all("lane" not in job for job in listed)


def test_a_finished_job_shows_it_all(showing: Showing) -> None:
    showing.put(
        status="COMPLETED",
        userId="ada",
        metadata='{"threshold":0.1,"count":3}',
        progress={"percent": 100, "message": "done"},
        result={
            "prefix": "results/a/",
            "files": [],
            "runId": "run",
            "detections": DETECTIONS,
            "imageCount": 2,
            "detectionCount": 1,
            "failedCount": 1,
        },
        startedAt=MOMENT,
        endedAt=MOMENT,
    )
    assert showing.get().body == {
        "jobId": "a",
        "kind": "image-processing",
        "status": "COMPLETED",
        "imageCount": 2,
        "detections": DETECTIONS,
        "progress": {"percent": 100, "message": "done"},
        "result": {
            "prefix": "results/a/",
            "files": [],
            "imageCount": 2,
            "detectionCount": 1,
            "failedCount": 1,
        },
        "metadata": {"threshold": 0.1, "count": 3},
        "userId": "ada",
        "createdAt": MOMENT,
        "updatedAt": MOMENT,
        "startedAt": MOMENT,
        "endedAt": MOMENT,
    }


def test_whole_numbers_stay_whole(showing: Showing) -> None:
    showing.put(result={"detections": DETECTIONS})
    shown = json.dumps(showing.get().body["detections"])
    assert "[100, 150, 500, 400]" in shown
    assert "0.95" in shown


def test_an_error_is_shown(showing: Showing) -> None:
    showing.put(status="FAILED", error={"code": "NOT_A_VIDEO", "message": "it is damaged"})
    assert showing.get().body["error"] == {"code": "NOT_A_VIDEO", "message": "it is damaged"}


def test_images_are_counted_before_there_is_a_result(showing: Showing) -> None:
    showing.put(request='{"input":{"imageUrls":["s3://media/a.jpg","s3://media/b.jpg"]}}')
    assert showing.get().body["imageCount"] == 2


@pytest.mark.parametrize("status", ["CLAIMED", "SUBMITTED", "RUNNING"])
def test_a_job_that_is_being_cancelled_says_so(showing: Showing, status: str) -> None:
    showing.put(status=status, cancelRequestedAt=MOMENT)
    assert showing.get().body["cancelRequested"] is True


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELLED"])
def test_a_job_that_has_ended_is_not_being_cancelled(showing: Showing, status: str) -> None:
    showing.put(status=status, cancelRequestedAt=MOMENT)
    assert "cancelRequested" not in showing.get().body


def test_nothing_of_the_protocol_is_shown(showing: Showing) -> None:
    showing.put(fence=3, targetId="t", runId="r", fingerprint="f", source={"bucket": "media"}, request="{}", ttl=1)
    assert set(showing.get().body) == {"jobId", "kind", "status", "createdAt", "updatedAt"}


scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(min_size=1, max_size=9), inner, max_size=5),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "result": json_values
            | st.fixed_dictionaries(
                {},
                optional={
                    "prefix": json_values,
                    "files": json_values,
                    "detections": scalars,
                    "imageCount": json_values,
                },
            ),
            "request": json_values | st.sampled_from(['{"input":null}', '{"input":{"imageUrls":7}}', "[]", "{"]),
            "metadata": json_values,
            "progress": scalars,
            "error": json_values,
            "status": st.sampled_from(list(Status)),
        },
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_of_another_program_breaks_the_view(showing: Showing, attributes: dict[str, Any]) -> None:
    showing.put(**attributes)
    assert showing.get().status == 200


# ---- to whom ---------------------------------------------------------------------------------------------------------


def test_a_user_sees_their_own_job(showing: Showing) -> None:
    showing.put(userId="ada")
    assert showing.get(user="ada").status == 200


@pytest.mark.parametrize("owner", [{"userId": "bob"}, {}], ids=["another's", "nobody's"])
def test_a_job_that_is_not_ones_own_looks_like_none(showing: Showing, owner: dict[str, str]) -> None:
    showing.put(**owner)
    hidden, none = showing.get(user="ada"), showing.get("b", user="ada")
    assert (hidden.status, hidden.headers, hidden.body) == (none.status, none.headers, none.body)
    assert (none.status, none.body["error"]) == (404, "NOT_FOUND")


def test_a_job_that_is_not_ones_own_is_none_also_to_whom_has_its_etag(showing: Showing) -> None:
    showing.put(userId="bob")
    assert showing.get(user="ada", headers={"If-None-Match": "*"}).status == 404


def test_a_user_finds_a_job_by_the_name_that_they_gave_it(showing: Showing) -> None:
    own = owned_name("ada", "evening-1")
    showing.put(jobId=own, userId="ada")
    showing.put(jobId=owned_name("bob", "evening-1"), userId="bob")
    assert [showing.get(name, user="ada").body["jobId"] for name in ("evening-1", own)] == [own, own]
    assert showing.get(owned_name("bob", "evening-1"), user="ada").status == 404
    assert showing.get("evening-1").status == 404


def test_a_stranger_s_job_does_not_hide_a_user_s_own(showing: Showing) -> None:
    own = owned_name("ada", "evening-1")
    showing.put(jobId="evening-1", userId="bob")
    showing.put(jobId=own, userId="ada")
    assert showing.get("evening-1", user="ada").body["jobId"] == own


def test_who_sees_all_sees_who_submitted_and_cancelled(showing: Showing) -> None:
    showing.put(userId="ada", submittedBy="user:ada", cancelledBy="key:one")
    seen = showing.get(identity={"apiKeyId": "two"}).body
    assert (seen["submittedBy"], seen["cancelledBy"]) == ("user:ada", "key:one")


def test_a_user_sees_only_what_they_did_themselves(showing: Showing) -> None:
    showing.put(userId="ada", submittedBy="user:ada", cancelledBy="key:one")
    seen = showing.get(user="ada").body
    assert (seen["submittedBy"], "cancelledBy" in seen) == ("user:ada", False)


def test_who_is_no_user_sees_every_job(showing: Showing) -> None:
    showing.put(userId="bob")
    assert showing.get().status == 200


@pytest.mark.parametrize("job_id", ["", " ", "../a", "a/b", "a\n", "é", "x" * 129, "x" * 5000, "-a", "\ud800", "\0"])
def test_what_is_no_job_id_is_not_found(showing: Showing, job_id: str) -> None:
    assert showing.get(job_id).status == 404


GIVEN = ["my video/1", "jörg-1", "x" * 200, "x" * 256, "-a", "..", "100%", "a?b#c", "🎬"]
"""Ids that a sender may give a video. The table has another in their place."""


@pytest.mark.parametrize("given_id", GIVEN)
def test_a_job_is_found_by_the_id_that_its_sender_gave(showing: Showing, given_id: str) -> None:
    """REST APIs pass the path's segment as the caller sent it, percent-encoded."""
    showing.put(jobId=legal_name(given_id))
    for sent in (quote(given_id, safe=""), legal_name(given_id)):
        answer = showing.get(sent)
        assert (answer.status, answer.body["jobId"]) == (200, legal_name(given_id))


def test_an_id_that_is_no_text_is_not_found(showing: Showing) -> None:
    assert {showing.get(sent).status for sent in ("%FF", "%00", "%0A", "%ED%A0%80")} == {404}


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "owner", "is_linked"),
    [
        (f"uploads/{UPLOAD}", None, True),
        (f"uploads/{UPLOAD}", "ada", True),
        (f"uploads/ada/{UPLOAD}", "ada", True),
        (f"uploads/bob/{UPLOAD}", "ada", False),
        (f"uploads/bob/{UPLOAD}", None, True),
        ("uploads/a.mp4", None, True),
        ("uploads/a.mp4", "ada", False),
        ("uploads/../results/b.mp4", None, False),
        ("results/b/summary.md", None, False),
        ("results/b/summary.md", "ada", False),
        (f"uploads/../{UPLOAD}", "ada", False),
    ],
)
def test_sources_are_the_job_s_uploads_and_nobody_else_s(
    showing: Showing,
    key: str,
    owner: str | None,
    is_linked: bool,  # noqa: FBT001 - a case
) -> None:
    owned = {} if owner is None else {"userId": owner}
    images = {"input": {"imageUrls": [f"s3://{BUCKET}/{key}", "s3://elsewhere/a.png", 7]}}
    showing.put(jobId="a", kind="video-analysis", source={"bucket": BUCKET, "key": key}, **owned)
    showing.put(jobId="b", request=json.dumps(images), source={"bucket": BUCKET, "key": ""}, **owned)
    for job_id in ("a", "b"):
        sources = showing.get(job_id).body.get("sources", {})
        assert [*sources] == ([f"s3://{BUCKET}/{key}"] if is_linked else [])
        assert all(urlsplit(link).path.endswith(key) for link in sources.values())


def test_the_source_of_a_job_elsewhere_has_no_link(showing: Showing) -> None:
    showing.put(kind="video-analysis", source={"bucket": "elsewhere", "key": f"uploads/{UPLOAD}"})
    assert "sources" not in showing.get().body


@pytest.mark.parametrize(
    ("prefix", "names"), [("recordings/ada/a/", {"a.ts"}), ("recordings/a/", {"a.ts"}), ("recordings/bob/a/", set())]
)
def test_only_the_owner_s_recording_has_links(showing: Showing, prefix: str, names: set[str]) -> None:
    showing.put(status="COMPLETED", userId="ada", result={"prefix": prefix, "files": ["a.ts"]})
    assert set(showing.get().body.get("links", {})) == names


def with_pieces(showing: Showing, last: object, **told: object) -> list[str]:
    result = {"prefix": "recordings/a/", "files": [], "partial": True, "pieces": "pieces/recordings/a/pieces-1/"} | told
    showing.put(status=result.pop("status", "FAILED"), result=result | {"lastPiece": last})
    return list(showing.get().body.get("links", {}))


def test_a_killed_recording_links_its_pieces_in_order(showing: Showing) -> None:
    assert with_pieces(showing, "00003.ts") == [f"pieces-1/0000{number}.ts" for number in (1, 2, 3)]
    links = showing.get().body["links"]
    assert urlsplit(links["pieces-1/00002.ts"]).path == "/pieces/recordings/a/pieces-1/00002.ts"
    # Files that are complete come first.
    told = {"files": ["x.mkv"], "pieces": "recordings/a/pieces-12/"}  # as before 0.1
    assert with_pieces(showing, "2-00001.mkv", **told) == ["x.mkv", "pieces-12/2-00001.mkv"]
    assert len(with_pieces(showing, "09000.ts")) == 1000


@pytest.mark.parametrize("last", ["../00001.ts", "00001", "1.ts", 7, None, "00000.ts", "00001.ts\n", "x-00001.ts"])
def test_what_is_no_piece_has_no_link(showing: Showing, last: object) -> None:
    assert with_pieces(showing, last) == []


@pytest.mark.parametrize(
    "told",
    [
        {"pieces": "recordings/b/pieces-1/"},
        {"pieces": "recordings/a/secret/pieces-1/"},
        {"pieces": "pieces/pieces/recordings/a/pieces-1/"},
        {"pieces": "recordings/a/"},
        {"pieces": "pieces-1/"},
        {"pieces": 7},
        {"status": "RUNNING"},
    ],
)
def test_pieces_elsewhere_or_still_growing_have_no_links(showing: Showing, told: dict[str, object]) -> None:
    assert with_pieces(showing, "00001.ts", **told) == []


def with_files(showing: Showing, *files: object, prefix: object = "results/a/") -> dict[str, str]:
    showing.put(status="COMPLETED", result={"prefix": prefix, "files": list(files)})
    links: dict[str, str] = showing.get().body.get("links", {})
    return links


def test_a_file_has_a_link_that_reads_it(showing: Showing) -> None:
    url = urlsplit(with_files(showing, "frames/7 é.jpg")["frames/7 é.jpg"])
    assert (url.hostname, unquote(url.path)) == (f"{BUCKET}.s3.us-east-1.amazonaws.com", "/results/a/frames/7 é.jpg")
    asked = parse_qs(url.query)
    assert (asked["X-Amz-Algorithm"], asked["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["900"])


def test_a_hundred_files_have_links(showing: Showing) -> None:
    assert len(with_files(showing, *(f"{number}.jpg" for number in range(150)))) == 100


def test_a_hundred_pictures_leave_the_other_files_their_links(showing: Showing) -> None:
    names = [*(f"scene-{number:05d}.jpg" for number in range(200)), "summary.json", "summary.md", "chapters.vtt"]
    links = with_files(showing, *names)
    assert len(links) == 100
    assert {"summary.json", "summary.md", "chapters.vtt"} <= links.keys()


def test_a_video_shows_its_summary_and_its_chapters(showing: Showing) -> None:
    chapter = {"start": 0, "end": 12.5, "title": "<b>Bread</b>"}
    wrong: list[object] = [
        {**chapter, "start": 20},
        {**chapter, "start": True},
        {**chapter, "end": "12"},
        {**chapter, "title": 7},
        {**chapter, "title": "x" * 201},
        {"start": 0, "end": 1},
        "nonsense",
    ]
    showing.put(result={"about": "They bake bread.", "chapters": [*wrong, {**chapter, "more": 1}]})
    body = showing.get().body
    assert (body["summary"], body["chapters"]) == ("They bake bread.", [chapter])
    assert body.get("result", {}).keys().isdisjoint({"about", "chapters"})


@pytest.mark.parametrize("result", [{"about": 7, "chapters": {}}, {"about": "", "chapters": [None]}])
def test_a_summary_of_another_shape_is_left_out(showing: Showing, result: dict[str, object]) -> None:
    showing.put(result=result)
    assert not {"summary", "chapters"} & showing.get().body.keys()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../b/secret.json", "a/../../b/secret.json", "/secret.json", "a//b", "a/", "./a", 7, None]
)
def test_a_file_outside_of_the_jobs_folder_has_no_link(showing: Showing, name: object) -> None:
    assert with_files(showing, name, "good.json").keys() == {"good.json"}


@pytest.mark.parametrize(
    "prefix",
    [
        "uploads/",
        "uploads/a/",
        "results/b/",
        "results/b/a/",
        "torrents/a/",
        "recordings/b/c/a/",
        "results/",
        "",
        "a",
        "results/a",
        "../a/",
        "/a/",
        "results//a/",
        7,
        None,
    ],
)
def test_a_folder_that_is_not_the_jobs_has_no_links(showing: Showing, prefix: object) -> None:
    assert with_files(showing, "secret.json", prefix=prefix) == {}


def with_torrent(showing: Showing, key: object, kind: str = "torrent") -> dict[str, str]:
    showing.put(status="COMPLETED", kind=kind, result={"torrentKey": key})
    links: dict[str, str] = showing.get().body.get("links", {})
    return links


def test_a_torrents_job_shows_what_it_takes_to_share_the_object(showing: Showing) -> None:
    result = {"infohash": "0" * 40, "magnet": "magnet:?xt=urn:btih:0", "size": 7, "way": "stream"}
    showing.put(status="COMPLETED", kind="torrent", result=result)
    assert showing.get().body["result"] == result


def test_a_torrent_has_a_link_that_reads_it(showing: Showing) -> None:
    links = with_torrent(showing, "torrents/recordings/a/my file+ü #1 100%.bin.torrent")
    path = unquote(urlsplit(links["my file+ü #1 100%.bin.torrent"]).path)
    assert path == "/torrents/recordings/a/my file+ü #1 100%.bin.torrent"


@pytest.mark.parametrize(
    "key",
    [
        "recordings/a/a.mp4.torrent",
        "torrents/recordings/a/a.mp4",
        "torrents/../recordings/a/a.torrent",
        "torrents//a.torrent",
        "torrents-private/a.torrent",
        "/torrents/a.torrent",
        "a.torrent",
        "",
        7,
        None,
    ],
)
def test_what_is_no_torrent_of_ours_has_no_link(showing: Showing, key: object) -> None:
    assert with_torrent(showing, key) == {}


def test_a_torrent_that_another_kind_of_job_names_has_no_link(showing: Showing) -> None:
    assert with_torrent(showing, "torrents/recordings/b/b.mp4.torrent", kind="stream-recording") == {}


# ---- detections in S3 ------------------------------------------------------------------------------------------------


def stored(showing: Showing, content: bytes | None) -> Answer:
    """A finished job whose detections are a file."""
    showing.put(status="COMPLETED", result={"prefix": "results/a/", "files": ["detections.json"], "imageCount": 2})
    if content is not None:
        s3_client().put_object(Bucket=BUCKET, Key="results/a/detections.json", Body=content)
    return showing.get()


def test_detections_that_are_too_much_for_the_record_come_from_s3(showing: Showing) -> None:
    assert stored(showing, json.dumps({"images": DETECTIONS}).encode()).body["detections"] == DETECTIONS


def test_detections_that_are_too_much_for_an_answer_are_a_link(showing: Showing) -> None:
    answer = stored(showing, json.dumps({"images": DETECTIONS}).encode() + b" " * 4 * 2**20)
    assert "detections" not in answer.body
    assert "detections.json" in answer.body["links"]


def test_detections_that_grow_too_much_on_their_way_are_a_link(showing: Showing) -> None:
    """They would exceed the size of Lambda's answer, which API Gateway turns into a 502."""
    found = [DETECTIONS[1] | {"imageUrl": "s3://media/" + "é" * 500}] * 3000
    content = json.dumps({"images": found}, ensure_ascii=False).encode()
    assert len(content) < 4 * 2**20
    answer = stored(showing, content)
    assert "detections" not in answer.body
    assert "detections.json" in answer.body["links"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b'{"images": 7}', b"\xff", b"[" * 100_000])
def test_detections_that_cannot_be_read_leave_the_rest(showing: Showing, content: bytes | None) -> None:
    answer = stored(showing, content)
    assert answer.status == 200
    assert "detections" not in answer.body


def test_detections_of_the_record_need_no_file(showing: Showing) -> None:
    showing.put(result={"prefix": "results/a/", "files": ["detections.json"], "detections": DETECTIONS})
    assert showing.get().body["detections"] == DETECTIONS


@dataclass(eq=False)
class FailingS3:
    """An S3 that signs, and answers reads as the test says."""

    error: Exception | None = None
    body: Any = None
    meta: Any = field(default_factory=lambda: clients.s3().meta)

    def generate_presigned_url(self, *_: object, **__: object) -> str:
        return "https://media.s3.amazonaws.com/signed"

    def get_object(self, **_: object) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"ContentLength": 100, "Body": self.body}


def test_s3_that_refuses_what_is_not_there_leaves_the_rest(showing: Showing) -> None:
    """S3 answers 403 instead of 404 to callers that may not list the bucket."""
    failing = Showing(showing.aws, FailingS3(ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")))
    assert stored(failing, None).status == 200


def test_s3_that_is_throttled_is_a_503(showing: Showing) -> None:
    failing = Showing(showing.aws, FailingS3(ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")))
    assert stored(failing, None).status == 503


def test_s3_that_breaks_off_is_a_503(showing: Showing) -> None:
    class Broken:
        def read(self, *_: object) -> bytes:
            return b""

        def close(self) -> None:
            """Nothing to close."""

    failing = Showing(showing.aws, FailingS3(body=StreamingBody(Broken(), 100)))  # type: ignore[arg-type]
    assert stored(failing, None).status == 503


# ---- nothing new -----------------------------------------------------------------------------------------------------


def tag(showing: Showing) -> str:
    return showing.get().headers["ETag"]


def test_who_has_the_job_as_it_is_gets_no_body(showing: Showing) -> None:
    showing.put()
    answer = showing.get(headers={"If-None-Match": f'"other", {tag(showing)}'})
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, None, tag(showing))


def test_an_etag_is_compared_weakly(showing: Showing) -> None:
    showing.put()
    assert showing.get(headers={"If-None-Match": tag(showing).removeprefix("W/")}).status == 304


@pytest.mark.parametrize(
    "change",
    [
        {"status": "COMPLETED"},
        {"updatedAt": "2026-11-22T18:36:55.000Z"},
        {"progress": {"percent": 2}},
        {"result": {"frames": 7}},
        {"cancelRequestedAt": MOMENT},
        {"metadata": "{}"},
        {"request": '{"input":{"imageUrls":["s3://media/a.jpg"]}}'},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_changes_the_etag(showing: Showing, change: dict[str, Any]) -> None:
    showing.put(progress={"percent": 1})
    before = tag(showing)
    showing.put(**({"progress": {"percent": 1}} | change))
    assert tag(showing) != before


def test_an_etag_of_a_job_without_links_lasts(showing: Showing, time: Time) -> None:
    showing.put()
    before = tag(showing)
    time.advance(timedelta(days=3))
    assert tag(showing) == before


def test_an_etag_never_outlives_half_of_its_links(showing: Showing, time: Time) -> None:
    with_files(showing, "a.json")
    before = tag(showing)
    time.advance(LIFETIME / 2)
    assert tag(showing) != before


def test_an_answer_without_a_body_reads_and_signs_nothing(showing: Showing) -> None:
    stored(showing, b"{}")
    known = {"If-None-Match": tag(showing)}
    untouched = Showing(showing.aws, FailingS3(AssertionError("nobody needs it")))
    assert untouched.get(headers=known).status == 304


# ---- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listing(showing: Showing) -> Showing:
    for number in range(30):
        showing.put(
            jobId=f"job-{number:02}",
            userId=("ada", "bob")[number % 2],
            status=("PENDING", "COMPLETED")[number // 2 % 2],
            createdAt=f"2026-11-22T18:36:{number:02}.000Z",
        )
    return showing


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [job["jobId"] for job in answer.body["jobs"]]


def test_a_list_is_newest_first_and_has_25_jobs_a_page(listing: Showing) -> None:
    answer = listing.ask(LIST, query={"kind": "image-processing"})
    assert ids(answer) == [f"job-{number:02}" for number in range(29, 4, -1)]


def test_a_page_goes_on_where_the_last_one_ended(listing: Showing) -> None:
    first = listing.ask(LIST, query={"userId": "ada", "limit": "10"})
    second = listing.ask(LIST, query={"userId": "ada", "limit": "10", "nextToken": first.body["nextToken"]})
    assert ids(first) + ids(second) == [f"job-{number:02}" for number in range(28, -1, -2)]
    assert "nextToken" not in second.body


def test_filters_add_up(listing: Showing) -> None:
    answer = listing.ask(LIST, query={"userId": "ada", "status": "COMPLETED", "kind": "image-processing"})
    assert ids(answer) == [f"job-{number:02}" for number in range(26, -1, -4)]


def test_a_users_list_is_of_their_own_jobs(listing: Showing) -> None:
    assert ids(listing.ask(LIST, user="ada")) == ids(listing.ask(LIST, query={"userId": "ada"}))


def test_a_user_may_say_who_they_are(listing: Showing) -> None:
    assert ids(listing.ask(LIST, user="ada", query={"userId": "ada", "status": "PENDING"}))


def test_a_user_lists_nobody_elses_jobs(listing: Showing) -> None:
    answer = listing.ask(LIST, user="ada", query={"userId": "bob"})
    assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")


def test_a_token_of_another_users_list_is_worth_nothing(listing: Showing) -> None:
    token = listing.ask(LIST, user="bob", query={"limit": "1"}).body["nextToken"]
    assert listing.ask(LIST, user="ada", query={"limit": "1", "nextToken": token}).status == 400


def test_a_list_without_a_filter_has_everything(listing: Showing) -> None:
    assert ids(listing.ask(LIST, query={"limit": "10"})) == [f"job-{number:02}" for number in range(29, 19, -1)]


@pytest.mark.parametrize("statuses", ["PENDING,COMPLETED", ["PENDING", "COMPLETED"], ["COMPLETED,RUNNING", "PENDING"]])
def test_statuses_are_repeated_or_between_commas(listing: Showing, statuses: str | list[str]) -> None:
    assert len(ids(listing.ask(LIST, query={"status": statuses, "limit": "100"}))) == 30


def test_a_list_is_of_some_time_both_ends_included(listing: Showing) -> None:
    times = {"from": "2026-11-22T18:36:03Z", "to": "2026-11-22T19:36:05.000+01:00"}
    assert ids(listing.ask(LIST, query=times)) == ["job-05", "job-04", "job-03"]
    assert ids(listing.ask(LIST, query=times | {"userId": "bob"})) == ["job-05", "job-03"]


def test_a_list_of_a_time_that_ends_before_it_begins_is_empty(listing: Showing) -> None:
    assert ids(listing.ask(LIST, query={"from": "2026-11-23", "to": "2026-11-22"})) == []


@pytest.mark.parametrize("user_id", ["jörg", "Żółw 🐢", "x" * 256])
def test_any_user_of_a_message_can_be_listed_by(listing: Showing, user_id: str) -> None:
    listing.put(jobId="theirs", userId=user_id)
    assert ids(listing.ask(LIST, query={"userId": user_id})) == ["theirs"]


@pytest.mark.parametrize(
    "query",
    [{"limit": value} for value in ("", "0", "-1", "101", "1.0", "1e1", " 5", "5 ", "٥", "ten", "9" * 5000, "5\n")]
    + [{"status": value} for value in ("", "pending", "DONE", "PENDING ", "PENDING,", "\0")]
    + [{"status": ["PENDING", "DONE"]}]
    + [
        {name: value}
        for name in ("from", "to")
        for value in ("", "yesterday", "1700000000", "9999-12-31T23:59:59-14:00")
    ]
    + [{"userId": value} for value in ("", "a\nb", "x" * 257, "\0")]
    + [{"kind": value} for value in ("", "x" * 129)]
    + [{"nextToken": value} for value in ("", "x", "=", "\0", "W10", "x" * 5000)],
    ids=str,
)
def test_a_bad_parameter_is_refused(listing: Showing, query: dict[str, str | list[str]]) -> None:
    answer = listing.ask(LIST, query={"kind": "image-processing"} | query)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("limit", "must be 1 to 100"),
        ("kind", "must be 1 to 128 characters"),
        ("userId", "must be 1 to 256 printable characters"),
        ("from", "must be a date or a date and time, such as 2026-11-30T12:00:00Z"),
        ("nextToken", "must come from the previous page of a request with the same parameters"),
    ],
)
def test_a_refusal_says_what_is_allowed(listing: Showing, name: str, rule: str) -> None:
    answer = listing.ask(LIST, query={"status": "PENDING", name: ""})
    assert (answer.status, answer.body["details"]) == (400, [f"{name} {rule}"])


@given(
    st.dictionaries(
        st.sampled_from(["status", "userId", "kind", "limit", "nextToken", "from", "to"]),
        st.text(anything, max_size=30) | st.sampled_from(["PENDING", "ada", "5", "2026-11-30"]),
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_parameters_break_a_list(showing: Showing, query: dict[str, str]) -> None:
    assert showing.ask(LIST, query=query).status in (200, 400)


# ---- the document ----------------------------------------------------------------------------------------------------


def test_the_document_is_served(showing: Showing) -> None:
    assert showing.ask("GET /openapi.json").body["openapi"].startswith("3.")


def test_the_document_is_not_sent_twice(showing: Showing) -> None:
    known = {"If-None-Match": showing.ask("GET /openapi.json").headers["ETag"]}
    assert showing.ask("GET /openapi.json", headers=known).status == 304
