"""The index: one suite on S3 Vectors (its stand-in), and on the index of a deployment without search."""

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
from switchyard.search.ports import MAX_CHUNKS, Entry, Index, Question
from switchyard.search.s3vectors import S3VectorsIndex
from tests.contract.standin import StandIn

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


@pytest.fixture(params=["s3vectors", "none"])
def index(request: pytest.FixtureRequest) -> Index:
    if request.param == "none":
        return NoIndex()
    index: Index = request.getfixturevalue("vectors")
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


def test_too_many_entries_are_refused_before_any_is_put(vectors: S3VectorsIndex) -> None:
    with pytest.raises(ValueError, match="1000"):
        vectors.put(ME, "talk", [entry(ME, "talk")] * (MAX_CHUNKS + 1))
    assert found(vectors) == set()


def test_equal_ids_of_two_owners_are_two_jobs(vectors: S3VectorsIndex) -> None:
    vectors.put(ME, "talk", [entry(ME, "talk", 1)])
    vectors.put(OTHER, "talk", [entry(OTHER, "talk", 2)])
    vectors.erase(OTHER, "talk")
    assert found(vectors) == {("talk", 1)}


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


def test_filters_narrow_the_search(vectors: S3VectorsIndex) -> None:
    vectors.prepare()
    vectors.put(ME, "a", [entry(ME, "a", 0, speakers=["ANNA", "BEN"])])
    vectors.put(ME, "b", [entry(ME, "b", 1, kind="recording", date=2000.0)])
    vectors.put(OTHER, "c", [entry(OTHER, "c", 2, date=3000.0, speakers=["ANNA"], screen="a zebra")])
    for name, (asked, expected) in FILTERS.items():
        assert found(vectors, **asked) == expected, name


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(['{"$ne": ""}', '"}, {"owner": {"$exists": true}}', "$or", "user:other", "owner", "*", OTHER]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=HOSTILE, job=HOSTILE, kind=st.none() | HOSTILE, speaker=st.none() | HOSTILE)
def test_no_question_finds_anothers_chunks(
    vectors: S3VectorsIndex, words: str, job: str, kind: str | None, speaker: str | None
) -> None:
    vectors.prepare()
    vectors.put(OTHER, "secret", [entry(OTHER, "secret", text="user:other owner $or", speakers=[OTHER, "*"])])
    jobs = (job, "secret") if job else ()
    asked = question(owner=ME, words=words, jobs=jobs, kind=kind, speaker=speaker)
    assert vectors.find(asked) == []


def test_before_it_is_prepared_vectors_alone_are_asked(vectors: S3VectorsIndex) -> None:
    vectors.put(ME, "talk", [entry(ME, "talk")])
    assert found(vectors, words="chunk") == {("talk", 0)}


def test_numpy_vectors_are_taken(vectors: S3VectorsIndex) -> None:
    vectors.put(ME, "talk", [Entry(np.array([0, 1, 0, 0], np.float32), entry(ME, "talk").metadata)])  # type: ignore[arg-type]
    assert found(vectors) == {("talk", 0)}


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
