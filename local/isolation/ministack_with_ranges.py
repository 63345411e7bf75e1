"""MiniStack, with ranges of the version of an object that a request names: S3 gives them, MiniStack gives all of it.

`local.emulator` runs this in place of `-m ministack`.
"""
# ruff: noqa: SLF001 - there is no public way in

from http import HTTPStatus
from typing import Any

from ministack.app import main  # type: ignore[import-not-found]  # is in the emulator's environment alone
from ministack.services import s3  # type: ignore[import-not-found]

_whole = s3._get_object


def _ranged(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> tuple[Any, ...]:
    status, told, body = _whole(bucket, key, headers, query)
    found = s3._parse_range(headers["range"], len(body)) if status == HTTPStatus.OK and "range" in headers else None
    if found is None:
        return status, told, body
    first, last = found
    told = {name: value for name, value in told.items() if not name.lower().startswith("x-amz-checksum-")}
    told |= {"Content-Length": str(last - first + 1), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return HTTPStatus.PARTIAL_CONTENT.value, told, body[first : last + 1]


s3._get_object = _ranged

if __name__ == "__main__":
    main()
