"""The index: one suite on S3 Vectors and Pinecone (their stand-ins), and on that of a deployment without search."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard.errors import Unavailable
from switchyard.search.chunks import NOT_FILTERABLE, owner_name
from switchyard.search.none import NoIndex
from switchyard.search.pinecone import PineconeIndex
from switchyard.search.ports import MAX_CHUNKS, Entry, Index, Question
from switchyard.search.s3vectors import S3VectorsIndex
from tests.contract.standin import StandIn
from tests.fakes.pinecone import KEY, Fault, Pinecone, serving

type Client = Any
"""A client of S3 Vectors; its stubs are not installed."""

NAME = "minilm-l6-v2-384"
ME, OTHER = owner_name("me"), owner_name("other")
SIZE = 4


def entry(owner: str, job_id: str, number: int = 0, **metadata: object) -> Entry:
    vector = [1.0, number / 100, 0, 0]
    base = {"owner": owner, "job": job_id, "kind": "video-analysis", "date": 1000.0, "start": number, "end": number + 1}
    return Entry(vector, {**base, "text": f"chunk {number} of {job_id}", **metadata})  # type: ignore[dict-item]


def question(**asked: object) -> Question:
    return Question([1.0, 0, 0, 0], **{"limit": 100, **asked})  # type: ignore[arg-type]


def found(index: Index, **asked: object) -> set[tuple[object, object]]:
    return {(each.metadata["job"], each.metadata["start"]) for each in index.find(question(**asked))}


@pytest.fixture
def client(standin: StandIn) -> Client:
    standin.ask("/_compute/faults", "DELETE")
    return boto3.client(
        "s3vectors",
        endpoint_url=standin.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"mode": "standard", "total_max_attempts": 2}, read_timeout=20),
    )


@pytest.fixture
def vectors(client: Client) -> Iterator[S3VectorsIndex]:
    client.create_vector_bucket(vectorBucketName="search")
    arn = client.create_index(
        vectorBucketName="search",
        indexName=NAME,
        dataType="float32",
        dimension=SIZE,
        distanceMetric="cosine",
        metadataConfiguration={"nonFilterableMetadataKeys": list(NOT_FILTERABLE)},
    )["indexArn"]
    yield S3VectorsIndex(client, arn)
    client.delete_index(indexArn=arn)
    client.delete_vector_bucket(vectorBucketName="search")


@pytest.fixture(scope="module")
def running() -> Iterator[Pinecone]:
    with serving() as pinecone:
        yield pinecone


@pytest.fixture
def pinecone(running: Pinecone) -> Pinecone:
    """Returns an empty index of Pinecone without faults."""
    running.spaces.clear()
    running.faults.clear()
    running.asked.clear()
    running.key = KEY
    return running


@pytest.fixture
def pine(pinecone: Pinecone) -> PineconeIndex:
    return PineconeIndex(pinecone.url, "tests", lambda: KEY)


@pytest.fixture(params=["vectors", "pine"])
def searching(request: pytest.FixtureRequest) -> Index:
    """Returns each index that finds something."""
    index: Index = request.getfixturevalue(request.param)
    return index


@pytest.fixture(params=["vectors", "pine", "none"])
def index(request: pytest.FixtureRequest) -> Index:
    if request.param == "none":
        return NoIndex()
    index: Index = request.getfixturevalue(request.param)
    return index


def test_entries_are_found_until_they_are_erased(index: Index) -> None:
    keeps = not isinstance(index, NoIndex)
    index.prepare()
    index.prepare()
    index.put(ME, "talk", [entry(ME, "talk", number) for number in range(3)])
    index.put(ME, "other", [entry(ME, "other")])
    assert found(index) == ({("talk", 0), ("talk", 1), ("talk", 2), ("other", 0)} if keeps else set())
    index.erase(ME, "talk")
    index.erase(ME, "talk")
    assert found(index) == ({("other", 0)} if keeps else set())


def test_another_analysis_replaces_the_first(index: Index) -> None:
    index.put(ME, "talk", [entry(ME, "talk", number) for number in range(5)])
    index.put(ME, "talk", [entry(ME, "talk", number) for number in range(2)])
    expected = set() if isinstance(index, NoIndex) else {("talk", 0), ("talk", 1)}
    assert found(index) == expected
    index.put(ME, "talk", [])
    assert found(index) == set()


def test_too_many_entries_are_refused_before_any_is_put(searching: Index) -> None:
    with pytest.raises(ValueError, match="1000"):
        searching.put(ME, "talk", [entry(ME, "talk")] * (MAX_CHUNKS + 1))
    assert found(searching) == set()


def test_equal_ids_of_two_owners_are_two_jobs(searching: Index) -> None:
    searching.put(ME, "talk", [entry(ME, "talk", 1)])
    searching.put(OTHER, "talk", [entry(OTHER, "talk", 2)])
    searching.erase(OTHER, "talk")
    assert found(searching) == {("talk", 1)}


FILTERS: dict[str, tuple[dict[str, object], set[tuple[object, object]]]] = {
    "all": ({}, {("a", 0), ("b", 1), ("c", 2)}),
    "an owner": ({"owner": ME}, {("a", 0), ("b", 1)}),
    "nobody": ({"owner": owner_name(None)}, set()),
    "jobs": ({"owner": ME, "jobs": ("b", "c")}, {("b", 1)}),
    "another's job": ({"owner": ME, "jobs": ("c",)}, set()),
    "a kind": ({"kind": "recording"}, {("b", 1)}),
    "a time": ({"since": 2000, "until": 2000}, {("b", 1)}),
    "a speaker": ({"speaker": "ANNA"}, {("a", 0), ("c", 2)}),
    "the closest": ({"limit": 1}, {("a", 0)}),
    "words": ({"words": "zebra", "limit": 2}, {("c", 2), ("a", 0)}),
}


def test_filters_narrow_the_search(searching: Index) -> None:
    searching.prepare()
    searching.put(ME, "a", [entry(ME, "a", 0, speakers=["ANNA", "BEN"])])
    searching.put(ME, "b", [entry(ME, "b", 1, kind="recording", date=2000.0)])
    searching.put(OTHER, "c", [entry(OTHER, "c", 2, date=3000.0, speakers=["ANNA"], screen="a zebra")])
    for name, (asked, expected) in FILTERS.items():
        if name != "words" or not isinstance(searching, PineconeIndex):  # which knows no words
            assert found(searching, **asked) == expected, name


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(['{"$ne": ""}', '"}, {"owner": {"$exists": true}}', "$or", "user:other", "owner", "*", OTHER]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=HOSTILE, job=HOSTILE, kind=st.none() | HOSTILE, speaker=st.none() | HOSTILE)
def test_no_question_finds_anothers_chunks(
    searching: Index, words: str, job: str, kind: str | None, speaker: str | None
) -> None:
    searching.prepare()
    searching.put(OTHER, "secret", [entry(OTHER, "secret", text="user:other owner $or", speakers=[OTHER, "*"])])
    jobs = (job, "secret") if job else ()
    asked = question(owner=ME, words=words, jobs=jobs, kind=kind, speaker=speaker)
    assert searching.find(asked) == []


def test_words_decide_between_close_moments_but_not_against_the_meaning(vectors: S3VectorsIndex) -> None:
    vectors.prepare()
    near, far = entry(ME, "near", text="something else"), entry(ME, "far", text="the word zebra zebra zebra")
    close = Entry([1.0, 0.2, 0, 0], {**entry(ME, "close").metadata, "text": "one zebra"})
    vectors.put(ME, "near", [near])
    vectors.put(ME, "close", [close])
    vectors.put(ME, "far", [Entry([0.2, 1.0, 0, 0], far.metadata)])
    ranked = vectors.find(question(words="zebra"))
    assert [each.metadata["job"] for each in ranked] == ["close", "near", "far"]
    assert [each.metadata["job"] for each in vectors.find(question(words="zebra", limit=1))] == ["close"]
    assert sorted((each.score for each in ranked), reverse=True) == [each.score for each in ranked]


def test_before_it_is_prepared_vectors_alone_are_asked(vectors: S3VectorsIndex) -> None:
    vectors.put(ME, "talk", [entry(ME, "talk")])
    assert found(vectors, words="chunk") == {("talk", 0)}


def test_numpy_vectors_are_taken(searching: Index) -> None:
    searching.put(ME, "talk", [Entry(np.array([0, 1, 0, 0], np.float32), entry(ME, "talk").metadata)])  # type: ignore[arg-type]
    assert found(searching) == {("talk", 0)}


CALLS: dict[str, Callable[[Index], object]] = {
    "PutVectors": lambda index: index.put(ME, "talk", [entry(ME, "talk", number) for number in range(150)]),
    "DeleteVectors": lambda index: index.erase(ME, "talk"),
    "QueryVectors": lambda index: index.find(question()),
    "GetIndex": lambda index: index.prepare(),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("mode", ["throttle", "error500", "reset_after_effect"])
def test_one_failed_call_is_repeated(vectors: S3VectorsIndex, standin: StandIn, operation: str, mode: str) -> None:
    vectors.put(ME, "talk", [entry(ME, "talk", number) for number in range(3)])
    standin.ask("/_compute/faults", "POST", [{"operation": operation, "mode": mode, "times": 1}])
    CALLS[operation](vectors)
    assert len(found(vectors)) == {"PutVectors": 100, "DeleteVectors": 0}.get(operation, 3)


@pytest.mark.parametrize("operation", CALLS)
def test_a_call_that_keeps_failing_says_so_and_can_be_repeated(
    vectors: S3VectorsIndex, standin: StandIn, operation: str
) -> None:
    standin.ask("/_compute/faults", "POST", [{"operation": operation, "mode": "throttle", "times": 2}])
    with pytest.raises(Unavailable):
        CALLS[operation](vectors)
    CALLS[operation](vectors)


def test_a_put_that_broke_off_is_completed_by_the_next(vectors: S3VectorsIndex, standin: StandIn) -> None:
    """It dies after new entries are put and before the old ones are removed."""
    vectors.put(ME, "talk", [entry(ME, "talk", number) for number in range(5)])
    standin.ask("/_compute/faults", "POST", [{"operation": "DeleteVectors", "mode": "throttle", "times": 2}])
    again = [entry(ME, "talk", number) for number in range(2)]
    with pytest.raises(Unavailable):
        vectors.put(ME, "talk", again)
    assert len(found(vectors)) == 5
    vectors.put(ME, "talk", again)
    assert len(found(vectors)) == 2


# ---- Pinecone's own failures


LARGE = {"text": "é" * 6000, "screen": "x" * 2000, "times": "1 " * 4000}
PATHS: dict[str, Callable[[Index], object]] = {
    "/vectors/upsert": lambda index: index.put(ME, "talk", [entry(ME, "talk", number) for number in range(50)]),
    "/vectors/delete": lambda index: index.erase(ME, "talk"),
    "/query": lambda index: index.find(question()),
}


def test_the_largest_analysis_stays_within_the_limits(pine: PineconeIndex, pinecone: Pinecone) -> None:
    pine.put(
        "user:a name/that no key can have ✓", "talk", [entry(ME, "talk", number, **LARGE) for number in range(120)]
    )
    assert len(pinecone.spaces["tests"]) == 120
    assert [path for path, _ in pinecone.asked] == ["/vectors/upsert"] * 3 + ["/vectors/delete"]


def test_deployments_that_share_an_index_find_only_their_own(pine: PineconeIndex, pinecone: Pinecone) -> None:
    pine.put(ME, "talk", [entry(ME, "talk")])
    another = PineconeIndex(pinecone.url, "another", lambda: KEY)
    assert found(another) == set()
    another.erase(ME, "talk")
    assert found(pine) == {("talk", 0)}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", ["throttle", "error500", "reset_after_effect", "garbage", "endless"])
def test_one_failed_request_is_repeated(pine: PineconeIndex, pinecone: Pinecone, path: str, fault: Fault) -> None:
    pine.put(ME, "talk", [entry(ME, "talk", number) for number in range(3)])
    pinecone.faults[path] = [fault]
    PATHS[path](pine)
    assert len(found(pine)) == {"/vectors/upsert": 50, "/vectors/delete": 0}.get(path, 3)


@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_keeps_failing_says_so_and_can_be_repeated(
    pine: PineconeIndex, pinecone: Pinecone, path: str
) -> None:
    pinecone.faults[path] = ["throttle", "error500"]
    with pytest.raises(Unavailable):
        PATHS[path](pine)
    PATHS[path](pine)


def test_a_rotated_key_is_read_again(pinecone: Pinecone) -> None:
    keys = ["old", KEY]
    index = PineconeIndex(pinecone.url, "tests", lambda: keys[0], reject=keys.reverse)
    index.put(ME, "talk", [entry(ME, "talk")])
    assert found(index) == {("talk", 0)}


def test_a_wrong_key_is_an_error_that_does_not_hold_it(pinecone: Pinecone) -> None:
    index = PineconeIndex(pinecone.url, "tests", lambda: "pcsk_never_shown")
    with pytest.raises(Unavailable, match="401") as failed:
        index.find(question())
    assert "pcsk" not in str(failed.value)
    assert len(pinecone.asked) == 2


def test_a_request_that_is_wrong_is_sent_once(pine: PineconeIndex, pinecone: Pinecone) -> None:
    with pytest.raises(Unavailable, match="400"):
        pine.find(Question([1.0, 0]))
    assert len(pinecone.asked) == 1


def test_nothing_answers(pinecone: Pinecone) -> None:
    with pytest.raises(Unavailable, match="nothing"):
        PineconeIndex("http://127.0.0.1:9", "tests", lambda: KEY).find(question())


@pytest.mark.parametrize("url", ["http://index.svc.pinecone.io", "ftp://127.0.0.1", "http://127.0.0.1@evil.example"])
def test_the_key_is_sent_over_https_alone(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        PineconeIndex(url, "tests", lambda: KEY)
