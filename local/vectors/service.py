"""The operations of Amazon S3 Vectors."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, cast

import numpy as np
from botocore.model import ListShape, StringShape, StructureShape
from botocore.model import Shape as ModelShape
from numpy.typing import NDArray
from starlette.requests import Request

from local.compute.config import Config, Shape
from local.compute.errors import ApiError, ClientError, ThrottledError
from local.compute.service import Grant, Service
from local.vectors.filters import FilterError
from local.vectors.store import Bucket, Index, Store, Vector
from local.vectors.table import Found

MAX_TOP_K: Final = 100
MAX_METADATA: Final = 40 * 1024
MAX_FILTERABLE: Final = 2 * 1024
MAX_REQUEST: Final = 20 * 1024 * 1024
PAGE: Final = 500
PAGE_BYTES: Final = 1_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ARN = re.compile(
    r"arn:aws[-a-z0-9]*:s3vectors:[a-z0-9-]+:[0-9]{12}:bucket/(?P<bucket>[^/]+)(?:/index/(?P<index>[^/]+))?"
)


class ValidationError(ClientError):
    """The request isn't valid."""

    code = "ValidationException"


class MissingError(ClientError):
    """There is no such bucket or index."""

    code = "NotFoundException"
    status = 404


class TakenError(ClientError):
    """The name is taken, or the bucket has indexes."""

    code = "ConflictException"
    status = 409


class BusyError(ThrottledError):
    """Too many requests."""


class Vectors(Service):
    """S3 Vectors over one store."""

    name = "s3vectors"
    title = "S3 Vectors"
    invalid = ValidationError
    throttled = BusyError

    def __init__(self, config: Config, store: Store) -> None:
        super().__init__()
        self._config = config
        self._store = store

    @cached_property
    def operations(self) -> Mapping[str, Callable[[Shape], Shape]]:
        """The supported operations, by name."""
        supported = (
            *(self.create_vector_bucket, self.get_vector_bucket, self.list_vector_buckets, self.delete_vector_bucket),
            *(self.create_index, self.get_index, self.list_indexes, self.delete_index),
            *(self.update_index_mode, self.update_metadata_configuration),
            *(self.put_vectors, self.get_vectors, self.list_vectors, self.delete_vectors, self.query_vectors),
        )
        return {"".join(word.title() for word in each.__name__.split("_")): each for each in supported}

    def named(self, request: Request) -> tuple[str, Shape]:
        """The operation is the path; the members are in the body."""
        return request.url.path.strip("/"), {}

    def grants(self, operation: str, request: Shape) -> list[Grant]:  # noqa: ARG002 - the base's signature
        """None: the emulator, which decides on permissions, doesn't know this service."""
        return []

    def aliases(self, request: Shape) -> tuple[str, ...]:
        """The index that a fault can select."""
        return tuple(str(request[member]) for member in ("indexArn", "indexName") if member in request)

    def call(self, operation: str, request: Shape) -> Shape:
        """Answer an operation. Also holds the request to the limits in botocore's model, which clients don't check."""
        if len(json.dumps(request)) > MAX_REQUEST:
            raise ValidationError("The request is larger than 20 MiB")
        shape = cast("ModelShape", self._model.operation_model(operation).input_shape)
        _check(shape, request, "")
        return super().call(operation, request)

    # ---- buckets -----------------------------------------------------------------------------------------------

    def create_vector_bucket(self, request: Shape) -> Shape:
        """CreateVectorBucket."""
        name = str(request["vectorBucketName"])
        if not _NAME.fullmatch(name):
            raise ValidationError("Invalid vector bucket name")
        if self._store.bucket(name):
            raise TakenError("A vector bucket with the specified name already exists")
        self._store.add_bucket(name, {"encryptionConfiguration": request.get("encryptionConfiguration", _ENCRYPTION)})
        return {"vectorBucketArn": self._arn(name)}

    def get_vector_bucket(self, request: Shape) -> Shape:
        """GetVectorBucket."""
        bucket = self._bucket(request)
        return {"vectorBucket": self._shown_bucket(bucket) | dict(bucket.about)}

    def list_vector_buckets(self, request: Shape) -> Shape:
        """ListVectorBuckets."""
        buckets = [self._shown_bucket(each) for each in self._store.buckets()]
        return self._named_page(request, "vectorBuckets", "vectorBucketName", buckets)

    def delete_vector_bucket(self, request: Shape) -> Shape:
        """DeleteVectorBucket. One that isn't there is no error."""
        name = self._bucket_name(request)
        if self._store.indexes(name):
            raise TakenError("The specified vector bucket is not empty")
        self._store.remove_bucket(name)
        return {}

    # ---- indexes -----------------------------------------------------------------------------------------------

    def create_index(self, request: Shape) -> Shape:
        """CreateIndex. Its mode is ENHANCED, as in every bucket made since 30 September 2026."""
        bucket, name = self._bucket(request).name, str(request["indexName"])
        if not _NAME.fullmatch(name):
            raise ValidationError("Invalid index name")
        if self._store.index(bucket, name):
            raise TakenError("An index with the specified name already exists")
        about = {member: request[member] for member in ("dataType", "dimension", "distanceMetric")}
        configuration = dict(request.get("metadataConfiguration", {}))
        if texts := configuration.get("textSearchConfigurations"):
            configuration["textSearchConfigurations"] = _active(texts)
        if configuration:
            about["metadataConfiguration"] = configuration
        about["encryptionConfiguration"] = request.get("encryptionConfiguration", _ENCRYPTION)
        self._store.add_index(bucket, name, about | {"indexMode": "ENHANCED"})
        return {"indexArn": self._arn(bucket, name)}

    def get_index(self, request: Shape) -> Shape:
        """GetIndex."""
        index = self._index(request)
        return {"index": self._shown_index(index) | dict(index.about)}

    def list_indexes(self, request: Shape) -> Shape:
        """ListIndexes."""
        indexes = [self._shown_index(each) for each in self._store.indexes(self._bucket(request).name)]
        return self._named_page(request, "indexes", "indexName", indexes)

    def delete_index(self, request: Shape) -> Shape:
        """DeleteIndex, with its vectors. One that isn't there is no error."""
        if index := self._store.index(*self._index_names(request)):
            self._store.remove_index(index)
        return {}

    def update_index_mode(self, request: Shape) -> Shape:
        """UpdateIndexMode: only to ENHANCED, which every index has."""
        self._index(request)
        if request["indexMode"] != "ENHANCED":
            raise ValidationError("The index mode can't be set to CLASSIC")
        return {}

    def update_metadata_configuration(self, request: Shape) -> Shape:
        """UpdateMetadataConfiguration: either `add` or `delete`."""
        index = self._index(request)
        if ("add" in request) == ("delete" in request):
            raise ValidationError("Specify either add or delete, but not both")
        configuration = dict(index.about.get("metadataConfiguration", {}))
        present = {each["metadataKey"]: each for each in configuration.get("textSearchConfigurations", [])}
        change = cast("Any", request.get("add") or request.get("delete"))
        given = [each["metadataKey"] for each in change.get("textSearchConfigurations", [])]
        if len(set(given)) < len(given):
            raise ValidationError("Each metadata key can have only one text search configuration")
        if "add" in request:
            if taken := present.keys() & given:
                raise TakenError(f"Text search is already configured for {', '.join(sorted(taken))}")
            present |= {each["metadataKey"]: each for each in _active(change["textSearchConfigurations"])}
        else:
            present = {key: each for key, each in present.items() if key not in given}
        if len(present) > 10:
            raise ValidationError("At most 10 metadata keys can be searched as text")
        configuration["textSearchConfigurations"] = list(present.values())
        self._store.change_index(index, dict(index.about) | {"metadataConfiguration": configuration})
        return {"indexArn": self._arn(index.bucket, index.name)}

    # ---- vectors -----------------------------------------------------------------------------------------------

    def put_vectors(self, request: Shape) -> Shape:
        """PutVectors: all or none."""
        index = self._index(request)
        vectors = [
            Vector(each["key"], _data(index, each["data"], each["key"]), _metadata(index, each))
            for each in cast("list[Any]", request["vectors"])
        ]
        if len({each.key for each in vectors}) < len(vectors):
            raise ValidationError("The request has duplicate vector keys")
        self._store.put(index, vectors)
        return {}

    def get_vectors(self, request: Shape) -> Shape:
        """GetVectors. Keys without a vector are left out."""
        found = self._store.get(self._index(request), cast("list[str]", request["keys"]))
        return {"vectors": [_shown(each, request) for each in found]}

    def list_vectors(self, request: Shape) -> Shape:
        """ListVectors: pages of up to `maxResults` vectors or 1 MB."""
        index = self._index(request)
        segments, segment = cast("Any", request.get("segmentCount", 1)), cast("Any", request.get("segmentIndex", 0))
        if ("segmentCount" in request) != ("segmentIndex" in request) or segment >= segments:
            raise ValidationError("segmentIndex must be less than segmentCount, and neither goes without the other")
        scope = [index.id, segments, segment]
        count = cast("int", request.get("maxResults", PAGE))
        found = self._store.page(index, self.position(request, scope) or 0, count + 1, segments, segment)
        vectors: list[Shape] = []
        size = 0
        for _, each in found[:count]:
            vectors.append(_shown(each, request))
            size += len(each.key) + each.data.nbytes + len(json.dumps(each.metadata))
            if size > PAGE_BYTES:
                break
        answer: Shape = {"vectors": vectors}
        if len(vectors) < len(found):
            answer["nextToken"] = _token(found[len(vectors) - 1][0], scope)
        return answer

    def delete_vectors(self, request: Shape) -> Shape:
        """DeleteVectors. Keys without a vector are no error."""
        self._store.remove(self._index(request), cast("list[str]", request["keys"]))
        return {}

    def query_vectors(self, request: Shape) -> Shape:
        """QueryVectors: by vector, by text, or by both."""
        index = self._index(request)
        self.check_unsupported(request, ("nextToken",))
        if request.get("queryMode", "ENHANCED") != "ENHANCED":
            raise ValidationError("You can't specify CLASSIC for an ENHANCED index")
        if cast("int", request["topK"]) > MAX_TOP_K:
            raise ValidationError(f"topK must be between 1 and {MAX_TOP_K}")
        texts = cast("list[dict[str, str]]", request.get("queryTexts", []))
        by_key = {each["metadataKey"]: each["text"] for each in texts}
        if len(by_key) < len(texts):
            raise ValidationError("Each query text must target a distinct metadata key")
        if unsearchable := sorted(by_key.keys() - set(index.texts)):
            raise ValidationError(f"No text search is configured for {', '.join(unsearchable)}")
        vector = _data(index, request["queryVector"], None) if "queryVector" in request else None
        if vector is None and not texts:
            raise ValidationError("A request must include queryVector, queryTexts, or both")
        try:
            found = self._store.table(index).query(cast("int", request["topK"]), vector, by_key, request.get("filter"))
        except FilterError as error:
            raise ValidationError(f"Invalid filter: {error}") from error
        metadata: dict[str, object] = {}
        if request.get("returnMetadata"):
            kept = self._store.get(index, [each.key for each in found])
            metadata = {each.key: each.metadata or {} for each in kept}
        results = [_result(each, request, metadata) for each in found]
        return {"vectors": results, "distanceMetric": index.about["distanceMetric"]}

    # ---- names -------------------------------------------------------------------------------------------------

    def _arn(self, bucket: str, index: str = "") -> str:
        arn = f"arn:aws:s3vectors:{self._config.region}:{self._config.account}:bucket/{bucket}"
        return f"{arn}/index/{index}" if index else arn

    def _bucket_name(self, request: Shape) -> str:
        name, arn = request.get("vectorBucketName"), request.get("vectorBucketArn")
        if (name is None) == (arn is None):
            raise ValidationError("Must specify either vectorBucketName or vectorBucketArn but not both")
        return str(name) if name is not None else _ARN.fullmatch(str(arn))["bucket"]  # type: ignore[index]  # checked

    def _bucket(self, request: Shape) -> Bucket:
        bucket = self._store.bucket(self._bucket_name(request))
        if bucket is None:
            raise MissingError("The specified vector bucket could not be found")
        return bucket

    def _index_names(self, request: Shape) -> tuple[str, str]:
        arn, names = request.get("indexArn"), (request.get("vectorBucketName"), request.get("indexName"))
        if arn is not None and names == (None, None):
            found = _ARN.fullmatch(str(arn))
            return (found["bucket"], found["index"]) if found else ("", "")
        if arn is not None or None in names:
            raise ValidationError("Must specify either indexArn or both vectorBucketName and indexName")
        return str(names[0]), str(names[1])

    def _index(self, request: Shape) -> Index:
        index = self._store.index(*self._index_names(request))
        if index is None:
            raise MissingError("The specified index could not be found")
        return index

    def _shown_bucket(self, bucket: Bucket) -> Shape:
        return {
            "vectorBucketName": bucket.name,
            "vectorBucketArn": self._arn(bucket.name),
            "creationTime": bucket.made,
        }

    def _shown_index(self, index: Index) -> Shape:
        return {
            "vectorBucketName": index.bucket,
            "indexName": index.name,
            "indexArn": self._arn(index.bucket, index.name),
            "creationTime": index.made,
        }

    def _named_page(self, request: Shape, member: str, name: str, items: list[Shape]) -> Shape:
        prefix = str(request.get("prefix", ""))
        begin = self.position(request, [member, prefix]) or 0
        count = cast("int", request.get("maxResults", PAGE))
        matching = [each for each in items if str(each[name]).startswith(prefix)]
        answer: Shape = {member: matching[begin : begin + count]}
        if begin + count < len(matching):
            answer["nextToken"] = _token(begin + count, [member, prefix])
        return answer


_ENCRYPTION: Final = {"sseType": "AES256"}


def _active(configurations: list[Shape]) -> list[Shape]:
    return [dict(each) | {"status": "ACTIVE"} for each in configurations]


def _token(position: int, scope: object) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, scope]).encode()).decode()


def _shown(vector: Vector, request: Shape) -> Shape:
    shown: Shape = {"key": vector.key}
    if request.get("returnData"):
        shown["data"] = {"float32": vector.data.tolist()}
    if request.get("returnMetadata") and vector.metadata is not None:
        shown["metadata"] = vector.metadata
    return shown


def _result(found: Found, request: Shape, metadata: Mapping[str, object]) -> Shape:
    result: Shape = {"key": found.key}
    if request.get("returnDistance") and found.distance is not None:
        result["distance"] = found.distance
    if found.key in metadata:
        result["metadata"] = metadata[found.key]
    if request.get("returnScores") and request.get("queryTexts"):
        bm25 = [{"metadataKey": key, "score": score} for key, score in found.scores.items()]
        result["scores"] = {"bm25Scores": bm25}
        if found.fused is not None:
            result["scores"] |= {"fused": found.fused, "vectorDistance": found.distance}
    return result


def _data(index: Index, given: object, key: str | None) -> NDArray[np.float32]:
    numbers = cast("dict[str, list[float]]", given).get("float32")
    record = f"Invalid record for key '{key}'" if key is not None else "Query vector"
    if numbers is None:
        raise ValidationError(f"{record}: no vector data")
    if len(numbers) != index.dimension:
        raise ValidationError(f"{record}: vector must have length {index.dimension}, but has length {len(numbers)}")
    with np.errstate(over="ignore"):
        vector = np.asarray(numbers, np.float64).astype("<f4")
    if not np.isfinite(vector).all():
        raise ValidationError(f"{record}: vector contains NaN or Infinity values")
    if index.about["distanceMetric"] == "cosine" and not vector.any():
        raise ValidationError(f"{record}: zero vectors are not allowed for the cosine distance metric")
    return vector


def _metadata(index: Index, given: Mapping[str, Any]) -> dict[str, Any] | None:
    if "metadata" not in given:
        return None
    record, metadata = f"Invalid record for key '{given['key']}'", given["metadata"]
    if not isinstance(metadata, dict):
        raise ValidationError(f"{record}: metadata must be an object")
    for name, value in metadata.items():
        if not 1 <= len(name) <= 63 or name.startswith("$"):
            raise ValidationError(f"{record}: invalid metadata key {name!r}")
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(each, str | bool | int | float) for each in items):
            raise ValidationError(f"{record}: metadata {name!r} must be a string, number, boolean or a list of them")
    filterable = {name: value for name, value in metadata.items() if name not in index.hidden}
    for kept, limit, kind in (
        (filterable, MAX_FILTERABLE, "Filterable metadata"),
        (metadata, MAX_METADATA, "Metadata"),
    ):
        size = len(json.dumps(kept, ensure_ascii=False).encode())
        if size > limit:
            raise ValidationError(f"{record}: {kind} must have at most {limit} bytes, but has {size}")
    return metadata


def _check(shape: ModelShape, value: object, path: str) -> None:
    """Hold a request to the model's lengths, ranges, enumerations and patterns. Wrong types are found elsewhere."""
    limits = shape.metadata
    match shape, value:
        case StructureShape(), dict():
            for name, member in shape.members.items():
                if name in value:
                    _check(member, value[name], f"{path}/{name}")
            return
        case ListShape(), list():
            _within(limits, len(value), path, "length")
            for position, each in enumerate(value):
                # Every item of a long list of numbers has the same shape without limits.
                if shape.member.type_name == "float":
                    break
                _check(shape.member, each, f"{path}/{position}")
        case StringShape(), str():
            _check_text(shape, value, path)
        case _, int():
            _within(limits, value, path, "value")


def _check_text(shape: StringShape, value: str, path: str) -> None:
    _within(shape.metadata, len(value), path, "length")
    if shape.enum and value not in shape.enum:
        raise _broken(path, f"Member must satisfy enum value set: {shape.enum}")
    pattern = shape.metadata.get("pattern")
    if pattern and r"\p" not in pattern and not re.fullmatch(pattern, value):  # re has no \p
        raise _broken(path, f"Member must satisfy regular expression pattern: {pattern}")


def _within(limits: Mapping[str, Any], number: float, path: str, what: str) -> None:
    if number < limits.get("min", number) or number > limits.get("max", number):
        low, high = limits.get("min", ""), limits.get("max", "")
        raise _broken(path, f"Member must have {what} between {low} and {high}, inclusive")


def _broken(path: str, rule: str) -> ApiError:
    return ValidationError(f"1 validation error detected. Value at '{path}' failed to satisfy constraint: {rule}")
