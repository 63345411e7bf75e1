"""The stand-in for S3 Vectors: what moto has, held against moto; all of it held against botocore's model."""

import signal
from collections.abc import Callable, Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.model import OperationModel, StructureShape
from botocore.validate import ParamValidator
from moto import mock_aws

from tests.cases import cases
from tests.contract.standin import StandIn, refused

BUCKET, INDEX = "films", "minilm-l6-v2-384"
NAMES: Any = {"vectorBucketName": BUCKET, "indexName": INDEX}
ARN = f"arn:aws:s3vectors:us-east-1:000000000000:bucket/{BUCKET}/index/{INDEX}"
MAKES_INDEX: Any = NAMES | {"dataType": "float32", "dimension": 3, "distanceMetric": "cosine"}
TEXTS: Any = {
    "nonFilterableMetadataKeys": ["text"],
    "textSearchConfigurations": [{"metadataKey": "text", "language": "en"}],
}


type Client = Any
"""A client of S3 Vectors; its stubs are not installed."""


def client_of(standin: StandIn) -> Client:
    """A client whose answers are held against botocore's model: no member too many, none of another type."""
    client: Any = boto3.client(
        "s3vectors",
        endpoint_url=standin.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )

    def held(model: OperationModel, parsed: dict[str, Any], **_: object) -> None:
        answer = {name: value for name, value in parsed.items() if name not in ("ResponseMetadata", "Error")}
        if "Error" not in parsed:
            shape = cast("StructureShape", model.output_shape)
            assert not ParamValidator().validate(answer, shape).has_errors()
        else:
            assert parsed["Error"]["Code"] in {shape.name for shape in model.error_shapes}

    client.meta.events.register("after-call.s3vectors", held)
    return client


@pytest.fixture
def vectors(own: StandIn) -> Client:
    return client_of(own)


@pytest.fixture(params=["stand-in", "moto"])
def either(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "stand-in":
        yield client_of(request.getfixturevalue("own"))
        return
    with mock_aws():
        yield boto3.client("s3vectors", region_name="us-east-1")


@pytest.fixture
def index(vectors: Client) -> Client:
    vectors.create_vector_bucket(vectorBucketName=BUCKET)
    vectors.create_index(**MAKES_INDEX, metadataConfiguration=TEXTS)
    return vectors


def vector(key: str, *numbers: float, **metadata: object) -> dict[str, Any]:
    return {"key": key, "data": {"float32": list(numbers)}} | ({"metadata": metadata} if metadata else {})


def put(client: Client, *made: dict[str, Any]) -> None:
    client.put_vectors(**NAMES, vectors=list(made))


def found(client: Client, **query: object) -> list[str]:
    return [each["key"] for each in client.query_vectors(**NAMES, **{"topK": 10, **query})["vectors"]]


def test_buckets_indexes_and_vectors_as_in_moto(either: Client) -> None:
    either.create_vector_bucket(vectorBucketName=BUCKET)
    assert refused(lambda: either.create_vector_bucket(vectorBucketName=BUCKET)) == (
        "ConflictException",
        "A vector bucket with the specified name already exists",
    )
    assert [each["vectorBucketName"] for each in either.list_vector_buckets()["vectorBuckets"]] == [BUCKET]
    either.create_index(**MAKES_INDEX)
    shown = either.get_index(**NAMES)["index"]
    assert (shown["dimension"], shown["distanceMetric"], shown["dataType"]) == (3, "cosine", "float32")
    assert [each["indexName"] for each in either.list_indexes(vectorBucketName=BUCKET)["indexes"]] == [INDEX]
    put(either, vector("a", 1, 0, 0, n=1), vector("b", 0, 1, 0))
    got = either.get_vectors(**NAMES, keys=["a", "missing"], returnData=True, returnMetadata=True)["vectors"]
    assert got == [{"key": "a", "data": {"float32": [1, 0, 0]}, "metadata": {"n": 1}}]
    assert {each["key"] for each in either.list_vectors(**NAMES)["vectors"]} == {"a", "b"}
    either.delete_vectors(**NAMES, keys=["a", "missing"])
    assert [each["key"] for each in either.list_vectors(**NAMES)["vectors"]] == ["b"]
    assert refused(lambda: put(either, vector("c", 1, 2))) == (
        "ValidationException",
        "Invalid record for key 'c': vector must have length 3, but has length 2",
    )
    missing = refused(lambda: either.get_vector_bucket(vectorBucketName="other"))
    assert missing == ("NotFoundException", "The specified vector bucket could not be found")
    missing = refused(lambda: either.get_index(vectorBucketName=BUCKET, indexName="other"))
    assert missing == ("NotFoundException", "The specified index could not be found")
    full = refused(lambda: either.delete_vector_bucket(vectorBucketName=BUCKET))
    assert full == ("ConflictException", "The specified vector bucket is not empty")
    either.delete_index(**NAMES)
    either.delete_vector_bucket(vectorBucketName=BUCKET)
    assert either.list_vector_buckets()["vectorBuckets"] == []


def test_a_query_ranks_by_distance(index: Client) -> None:
    put(index, vector("near", 1, 0.1, 0, n=1), vector("far", 0, 0, 5), vector("middle", 1, 1, 0))
    answer = index.query_vectors(
        indexArn=ARN, topK=2, queryVector={"float32": [2, 0, 0]}, returnDistance=True, returnMetadata=True
    )
    assert [each["key"] for each in answer["vectors"]] == ["near", "middle"]
    assert answer["vectors"][1]["distance"] == pytest.approx(1 - 0.5**0.5, abs=1e-6)
    assert [each["metadata"] for each in answer["vectors"]] == [{"n": 1}, {}]
    assert answer["distanceMetric"] == "cosine"


def test_words_and_vectors_are_fused(index: Client) -> None:
    put(index, vector("word", 0, 1, 0, text="The zebra sleeps"), vector("vector", 1, 0, 0, text="Nothing of it"))
    texts = [{"metadataKey": "text", "text": "zebra!"}]
    assert found(index, queryTexts=texts) == ["word"]
    assert set(found(index, queryTexts=texts, queryVector={"float32": [1, 0, 0]})) == {"word", "vector"}
    (only,) = index.query_vectors(**NAMES, topK=1, queryTexts=texts, returnScores=True)["vectors"]
    assert only["scores"]["bm25Scores"][0]["score"] > 0
    both = index.query_vectors(
        **NAMES, topK=5, queryTexts=texts, queryVector={"float32": [1, 0, 0]}, returnScores=True
    )["vectors"]
    assert both[0]["scores"]["fused"] >= both[1]["scores"]["fused"] > 0
    put(index, vector("word", 0, 1, 0, text="Nothing either"))
    assert found(index, queryTexts=texts) == []


def test_text_search_is_added_later(vectors: Client) -> None:
    """CloudFormation makes indexes without it."""
    vectors.create_vector_bucket(vectorBucketName=BUCKET)
    vectors.create_index(**MAKES_INDEX, metadataConfiguration={"nonFilterableMetadataKeys": ["text"]})
    put(vectors, vector("a", 1, 0, 0, text="the zebra"))
    texts = [{"metadataKey": "text", "text": "zebra"}]
    assert refused(lambda: found(vectors, queryTexts=texts))[0] == "ValidationException"
    add: Any = {"textSearchConfigurations": [{"metadataKey": "text"}]}
    vectors.update_metadata_configuration(**NAMES, add=add)
    assert found(vectors, queryTexts=texts) == ["a"]
    shown = vectors.get_index(**NAMES)["index"]["metadataConfiguration"]["textSearchConfigurations"]
    assert shown == [{"metadataKey": "text", "status": "ACTIVE"}]
    assert refused(lambda: vectors.update_metadata_configuration(**NAMES, add=add))[0] == "ConflictException"


LIMITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "too many vectors": (lambda c: put(c, *(vector(str(n), 1, 0, 0) for n in range(501))), "500"),
    "too many results": (lambda c: found(c, topK=101, queryVector={"float32": [1, 0, 0]}), "topK"),
    "too many keys": (lambda c: c.get_vectors(**NAMES, keys=[str(n) for n in range(101)]), "100"),
    "the same key twice": (lambda c: put(c, vector("a", 1, 0, 0), vector("a", 0, 1, 0)), "duplicate"),
    "a zero vector": (lambda c: put(c, vector("a", 0, 0, 0)), "zero"),
    "an endless number": (lambda c: put(c, vector("a", 1e39, 0, 0)), "Infinity"),
    "another dimension": (lambda c: found(c, queryVector={"float32": [1, 0]}), "length 3"),
    "no query": (found, "queryVector"),
    "much to filter by": (lambda c: put(c, vector("a", 1, 0, 0, owner="o" * 2048)), "2048"),
    "much metadata": (lambda c: put(c, vector("a", 1, 0, 0, text="o" * 40_960)), "40960"),
    "metadata in metadata": (lambda c: put(c, vector("a", 1, 0, 0, a={"b": 1})), "metadata"),
    "a hidden key": (lambda c: found(c, queryVector={"float32": [1, 0, 0]}, filter={"text": "a"}), "filter"),
    "an unknown operator": (lambda c: found(c, queryVector={"float32": [1, 0, 0]}, filter={"a": {"$x": 1}}), "$x"),
    "an empty filter": (lambda c: found(c, queryVector={"float32": [1, 0, 0]}, filter={}), "filter"),
    "a long key": (lambda c: put(c, vector("a" * 1025, 1, 0, 0)), "1024"),
    "a long question": (lambda c: found(c, queryTexts=[{"metadataKey": "text", "text": "a" * 1025}]), "1024"),
    "both ways to name": (lambda c: c.get_index(indexArn=ARN, **NAMES), "indexArn"),
    "another mode": (lambda c: c.update_index_mode(**NAMES, indexMode="CLASSIC"), "CLASSIC"),
}


@cases(("call", "words"), LIMITS.values(), ids=LIMITS)
def test_limits(index: Client, call: Callable[[Any], object], words: str) -> None:
    code, message = refused(lambda: call(index))
    assert code == "ValidationException"
    assert words in message


def test_a_refused_put_changes_nothing(index: Client) -> None:
    refused(lambda: put(index, vector("good", 1, 0, 0), vector("bad", 1, 0)))
    assert index.list_vectors(**NAMES)["vectors"] == []


def test_a_list_comes_in_pages(index: Client) -> None:
    put(index, *(vector(f"{number:03}", 1, number, 0, n=number) for number in range(7)))
    pages = index.get_paginator("list_vectors").paginate(**NAMES, maxResults=3)
    assert [[each["key"] for each in page["vectors"]] for page in pages] == [
        ["000", "001", "002"],
        ["003", "004", "005"],
        ["006"],
    ]
    parts = [index.list_vectors(**NAMES, segmentCount=2, segmentIndex=part)["vectors"] for part in (0, 1)]
    assert sorted(each["key"] for part in parts for each in part) == [f"{number:03}" for number in range(7)]
    assert refused(lambda: index.list_vectors(**NAMES, nextToken="bm8="))[0] == "ValidationException"


def test_vectors_survive_a_crash(own: StandIn) -> None:
    client = client_of(own)
    client.create_vector_bucket(vectorBucketName=BUCKET)
    client.create_index(**MAKES_INDEX, metadataConfiguration=TEXTS)
    put(client, vector("kept", 1, 0, 0, text="the zebra", owner="me"), vector("gone", 0, 1, 0))
    client.delete_vectors(**NAMES, keys=["gone"])
    own.end(signal.SIGKILL)
    client = client_of(own.start())
    assert found(client, queryVector={"float32": [1, 0, 0]}, filter={"owner": "me"}) == ["kept"]
    assert found(client, queryTexts=[{"metadataKey": "text", "text": "zebra"}]) == ["kept"]
    assert found(client, queryVector={"float32": [0, 1, 0]}) == ["kept"]


def test_unsigned_requests_are_refused(own: StandIn) -> None:
    assert own.http.post("/PutVectors", json={}, headers={"Authorization": ""}).status_code == 403
