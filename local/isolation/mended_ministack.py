"""MiniStack, with two things put right that torrents need. `local.emulator` runs this in place of `-m ministack`.

- A range of the version of an object that a request names: S3 gives that, MiniStack gives all of the object.
- SQS has no actions of their own for calls with several messages: who may SendMessage may also SendMessageBatch.
"""
# ruff: noqa: SLF001 - there is no public way in

from http import HTTPStatus
from typing import Any

from ministack.app import main  # type: ignore[import-not-found]  # is in the emulator's environment alone
from ministack.core import iam_actions  # type: ignore[import-not-found]
from ministack.services import s3  # type: ignore[import-not-found]

_get_object = s3._get_object
_extract_iam_action = iam_actions.extract_iam_action


def _ranged(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> tuple[Any, ...]:
    status, told, body = _get_object(bucket, key, headers, query)
    found = s3._parse_range(headers["range"], len(body)) if status == HTTPStatus.OK and "range" in headers else None
    if found is None:
        return status, told, body
    first, last = found
    told = {name: value for name, value in told.items() if not name.lower().startswith("x-amz-checksum-")}
    told |= {"Content-Length": str(last - first + 1), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return HTTPStatus.PARTIAL_CONTENT.value, told, body[first : last + 1]


def _as_iam_names_it(*request: Any) -> str | None:  # noqa: ANN401 - the parts of any request
    action: str | None = _extract_iam_action(*request)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


s3._get_object = _ranged
iam_actions.extract_iam_action = _as_iam_names_it

if __name__ == "__main__":
    main()
