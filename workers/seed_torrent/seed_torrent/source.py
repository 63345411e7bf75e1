"""The torrent in S3, and the object it was made of."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import libtorrent
from botocore.exceptions import ClientError

from switchyard_worker import PermanentFailure

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_TORRENT_BYTES = 64 * 2**20
"""A hybrid torrent of a 50 TB object in pieces of 64 MiB has 39 MB."""
URL_SECONDS = 3600
"""How long a presigned URL is valid, unless its credentials expire earlier."""
CREATOR = "Switchyard"


@dataclass(frozen=True, slots=True)
class Torrent:
    """A torrent made by Switchyard. `version` is the version of its object."""

    parameters: libtorrent.add_torrent_params
    info: libtorrent.torrent_info
    version: str

    @property
    def infohash(self) -> str:
        """The torrent's v1 infohash, in hex."""
        return str(self.parameters.info_hashes.v1)

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self.info.total_size()


def keys(given: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """The keys of the torrent in the job's input, and of its object.

    Raises:
        PermanentFailure: the input names no torrent.
    """
    torrent_key = given.get("torrentKey")
    if isinstance(torrent_key, str) and torrent_key.startswith(prefix) and torrent_key.endswith(".torrent"):
        key = torrent_key.removeprefix(prefix).removesuffix(".torrent")
        if key:
            return torrent_key, key
    raise PermanentFailure("BAD_INPUT", f"the job's input needs `torrentKey`: {prefix}<key of an object>.torrent")


def torrent(s3: "S3Client", bucket: str, key: str) -> Torrent:
    """Load the torrent with this key.

    Raises:
        PermanentFailure: there is none, or it wasn't made by Switchyard.
    """
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _is_missing(error):
            raise PermanentFailure("TORRENT_NOT_FOUND", f"the bucket has no {key}") from error
        raise
    with closing(answer["Body"]) as body:
        if answer["ContentLength"] > MAX_TORRENT_BYTES:
            raise PermanentFailure("NOT_A_TORRENT", f"{key} has more than {MAX_TORRENT_BYTES:,} bytes")
        data = body.read()
    try:
        parameters = libtorrent.load_torrent_buffer(data)
    except RuntimeError as error:
        raise PermanentFailure("NOT_A_TORRENT", f"{key} is not a torrent: {error}") from error
    info, version = parameters.ti, answer["Metadata"].get("source-version")
    ours = parameters.created_by == CREATOR and parameters.info_hashes.has_v1()
    if not (ours and version and info and info.num_files() == 1):
        raise PermanentFailure("NOT_OUR_TORRENT", f"{key} was not made by Switchyard, or not of a single object")
    return Torrent(parameters, info, version)


class Source:
    """The object that a torrent was made of.

    Args:
        s3: a client that signs with Signature Version 4.
        bucket: the object's bucket.
        key: the object's key.
        torrent: its torrent. `version` is a version id or, without versioning, an ETag.
    """

    def __init__(self, s3: "S3Client", bucket: str, key: str, torrent: Torrent) -> None:
        self._s3 = s3
        self._object: dict[str, Any] = {"Bucket": bucket, "Key": key}
        self._torrent = torrent

    @property
    def is_local(self) -> bool:
        """Whether S3 runs on this machine, which it never does on AWS."""
        host = urlsplit(self._s3.meta.endpoint_url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def url(self) -> str:
        """A presigned URL of the object in the torrent's version, valid for `URL_SECONDS`.

        Raises:
            PermanentFailure: the object was deleted or replaced.
            BotoCoreError, ClientError: S3 failed.
        """
        try:
            head = self._s3.head_object(**self._object)
        except ClientError as error:
            if _is_missing(error):
                raise PermanentFailure("OBJECT_GONE", "the torrent's object was deleted") from error
            raise
        version = self._torrent.version
        by_id = head.get("VersionId") == version
        if head["ContentLength"] != self._torrent.size or not (by_id or head["ETag"].strip('"') == version):
            raise PermanentFailure("OBJECT_CHANGED", "the object was replaced after the torrent was made")
        wanted = self._object | ({"VersionId": version} if by_id else {})
        return self._s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=URL_SECONDS)


def _is_missing(error: ClientError) -> bool:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
