"""What can go wrong, as classes. Every message says what happened and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

_ADVICE: Final[Mapping[str, str]] = {
    "ALREADY_ENDED": "the job has ended; `switchyard show` shows how",
    "FORBIDDEN": "it belongs to another user",
    "IDEMPOTENCY_KEY_REUSED": "send a new idempotency key for a new request",
    "INTERNAL": "an error in Switchyard: report it with the request's id",
    "JOB_EXISTS": "choose another job id, or none",
    "NOT_CONFIGURED": "this deployment doesn't run such jobs: see its parameters in docs/configuration.md",
    "TOO_LARGE": "send less in one request",
    "TOO_MANY_WEBHOOKS": "delete a webhook first",
    "UPLOAD_NOT_FOUND": "the upload was completed, aborted, or removed after seven days: upload the file again",
    "UPLOAD_TOO_LARGE": "the deployment's parameter MaxUploadGiB limits the size",
}


class SwitchyardError(Exception):
    """Everything that this package raises on purpose."""


class SetupError(SwitchyardError):
    """There is no deployment to talk to, or no credentials for it."""


class ConnectionLostError(SwitchyardError):
    """The API or S3 gave no answer, also after retries. The request may have taken effect."""


class JobTimeoutError(SwitchyardError):
    """A job didn't end in time. It goes on."""


class UploadError(SwitchyardError):
    """A file could not be uploaded. What was sent is kept: upload the same file again to go on."""


class ApiError(SwitchyardError):
    """The API answered with an error.

    Attributes:
        status: The HTTP status.
        code: The API's code, such as NOT_FOUND; empty if API Gateway answered itself.
        details: What is wrong with the request, a line each.
        request_id: For a search in the logs; may be empty.
    """

    advice: ClassVar[str] = ""

    def __init__(self, status: int, body: Mapping[str, Any], request_id: str = "") -> None:
        self.status = status
        self.code = str(body.get("error", ""))
        self.details: Sequence[str] = [str(each) for each in body.get("details") or ()]
        self.request_id = str(body.get("requestId") or request_id)
        self.reason = str(body.get("message") or f"HTTP {status}")
        super().__init__(self.reason)

    def __str__(self) -> str:
        said = "; ".join([self.reason.rstrip("."), *self.details])
        named = ", ".join(filter(None, [self.code, self.request_id and f"request {self.request_id}"]))
        advice = _ADVICE.get(self.code, self.advice)
        return said + (f" ({named})" if named else "") + (f": {advice}" if advice else "")


class InvalidRequestError(ApiError):
    """400, 413, 415: the request is wrong. Repeating it doesn't help."""


class AccessError(ApiError):
    """401, 403: no valid credentials, or not allowed."""

    advice = "check the API key, the token or the role, and the address (it ends in /v1)"


class NotFoundError(ApiError):
    """404: there is no such thing, or it belongs to another user."""

    advice = "check the id; ended jobs are forgotten after the deployment's TtlDays"


class ConflictError(ApiError):
    """409: the request doesn't fit the present state."""


class ThrottledError(ApiError):
    """429: too many requests, also after retries."""

    advice = "send fewer requests at once, or raise ApiRateLimit, ApiBurstLimit or ApiDailyQuota"


class NotConfiguredError(ApiError):
    """501: the deployment lacks the part that does this."""


class UnavailableError(ApiError):
    """5xx, also after retries. The request may have taken effect."""

    advice = "send the same request again later"


def of_status(status: int, body: Mapping[str, Any], request_id: str = "") -> ApiError:
    """The error for a response's status and body."""
    return _CLASSES.get(status, UnavailableError if status >= 500 else InvalidRequestError)(status, body, request_id)


_CLASSES: Final[Mapping[int, type[ApiError]]] = {
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    409: ConflictError,
    429: ThrottledError,
    501: NotConfiguredError,
}
