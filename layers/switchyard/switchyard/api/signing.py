"""Presigned URLs of S3 objects, for a third of the CPU time that boto3's client takes.

For every URL, the client validates, serializes and resolves the endpoint before botocore's signer signs. The endpoint
is the same for all objects of a bucket, so it is resolved once here. The same signer then makes the same URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from switchyard import clients

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ANY_KEY = "key"


def presigned_url(
    client: S3Client,
    method: str,
    bucket: str,
    key: str,
    lifetime: timedelta,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    """A URL that lets anybody send this one request, with exactly these `headers`, for `lifetime` (SigV4).

    Endpoint and Region are those of `client`.

    Raises:
        NoCredentialsError: there are no credentials to sign with.
    """
    url = _address(client, bucket) + quote(key, safe="/~")
    request = AWSRequest(method, url, headers=dict(headers or {}), params=dict(query or {}))
    seconds = int(lifetime.total_seconds())
    S3SigV4QueryAuth(clients.credentials(), "s3", client.meta.region_name, expires=seconds).add_auth(request)
    return str(request.url)  # add_auth has added the signature


def origin(client: S3Client, bucket: str) -> str:
    """The origin of the bucket's URLs, such as `https://bucket.s3.eu-central-1.amazonaws.com`."""
    parts = urlsplit(_address(client, bucket))
    return f"{parts.scheme}://{parts.netloc}"


@cache
def _address(client: S3Client, bucket: str) -> str:
    """The bucket's URL, with the slash before a key."""
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _ANY_KEY})
    return url.partition("?")[0].removesuffix(_ANY_KEY)
