"""MiniStack, with three things put right. `local.emulator` runs this in place of `-m ministack`.

- A range of the version of an object that a request names: S3 gives that, MiniStack gives all of the object.
- SQS has no actions of their own for calls with several messages: who may SendMessage may also SendMessageBatch.
- A message that was delivered again while a function still had it: whichever delivery is done first, MiniStack deletes
  the message, so that its queue looks empty while the other is being handled. Here only the last delivery deletes it.
"""
# ruff: noqa: SLF001 - there is no public way in

from http import HTTPStatus
from typing import Any

from ministack.app import main  # type: ignore[import-not-found]  # is in the emulator's environment alone
from ministack.core import iam_actions  # type: ignore[import-not-found]
from ministack.services import lambda_svc, s3  # type: ignore[import-not-found]

_get_object = s3._get_object
_run_sqs_batch = lambda_svc._run_sqs_batch
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


def _with_own_receipts(
    esm: dict[str, Any], function: dict[str, Any], event: dict[str, Any], batch: list[dict[str, Any]], *queue: str
) -> None:
    _run_sqs_batch(esm, function, event, [dict(message) for message in batch], *queue)


s3._get_object = _ranged
iam_actions.extract_iam_action = _as_iam_names_it
lambda_svc._run_sqs_batch = _with_own_receipts

if __name__ == "__main__":
    main()
