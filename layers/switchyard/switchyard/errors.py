"""Every error Switchyard raises, as a tree: what can be retried and what can't is a class, not a string.

SwitchyardError
├── SettingsError            a function is configured wrongly; raised once, at start
├── PermanentError           the sender's fault: the message goes to the dead-letter queue with the reason, at once
│   ├── InvalidMessage
│   ├── SourceNotAllowed
│   ├── UrlRefused
│   ├── KindNotConfigured
│   ├── ObjectGone
│   ├── ObjectChanged
│   └── CannotShare          ... but there: of this object there can be no torrent
├── RetryableError           not now: the message goes back to its queue for `retry_after` seconds
│   ├── LaneIsFull           only with AT_CAPACITY=return
│   ├── ClaimInFlight        another delivery of the same message holds a claim that is still young
│   ├── Contended            lost the optimistic race several times in a row
│   ├── OutcomeUnknown       the target may or may not have accepted the job
│   ├── Unavailable          an AWS service failed, was throttled or refused, after the SDK's own retries
│   └── RequestsFailed       some requests of one message failed, each in its own way (`intake`)
└── StartFailed              the target definitely did not accept the job; the claim can be undone
    ├── StartRefused         ... and says the request is wrong
    └── StartThrottled       ... and says to come back later
"""


class SwitchyardError(Exception):
    """The root. `code` is stable and safe to show to callers; the text is for logs and dead-letter queues."""

    code: str = "INTERNAL"


class SettingsError(SwitchyardError):
    """One or more environment variables are missing or bad; names all of them at once."""

    code = "SETTINGS"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("bad configuration: " + "; ".join(problems))
        self.problems = problems


class PermanentError(SwitchyardError):
    """Retrying can't help."""


class InvalidMessage(PermanentError):
    """The message has no shape we know, or lacks what its shape needs."""

    code = "INVALID_MESSAGE"


class SourceNotAllowed(PermanentError):
    """The message points at a bucket this deployment does not serve."""

    code = "SOURCE_NOT_ALLOWED"


class UrlRefused(PermanentError):
    """The message names a URL that must not be fetched, or that is not of this system's bucket."""

    code = "URL_NOT_ALLOWED"


class KindNotConfigured(PermanentError):
    """This deployment has nothing that runs jobs of that kind."""

    code = "KIND_NOT_CONFIGURED"


class ObjectGone(PermanentError):
    """There is no such object, or no such version of it (any more)."""

    code = "OBJECT_GONE"


class ObjectChanged(PermanentError):
    """The object is not the one any more that the work began with: it was uploaded anew."""

    code = "OBJECT_CHANGED"


class CannotShare(PermanentError):
    """Of this object there can be no torrent; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RetryableError(SwitchyardError):
    """Later may work. `retry_after` is in seconds; None leaves it to the caller's backoff."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LaneIsFull(RetryableError):
    """Every slot of the lane is taken and the message is to wait in its queue."""

    code = "LANE_FULL"


class ClaimInFlight(RetryableError):
    """An earlier delivery of this very message holds the claim and may still be at work."""

    code = "CLAIM_IN_FLIGHT"


class Contended(RetryableError):
    """Others changed the same job under us on every try."""

    code = "CONTENDED"


class OutcomeUnknown(RetryableError):
    """The start call ended in a timeout, a reset or a 5xx: the job may be running."""

    code = "START_UNKNOWN"


class Unavailable(RetryableError):
    """An AWS service failed, was throttled or refused, after the SDK's own retries; nothing is decided."""

    code = "AWS_UNAVAILABLE"


class StartFailed(SwitchyardError):
    """The target answered that it did not accept the job."""


class StartRefused(StartFailed):
    """The target says the request is wrong (a missing queue, a bad definition)."""

    code = "START_REFUSED"


class StartThrottled(StartFailed):
    """The target, or the way to it, had no room for the request; it was never accepted."""

    code = "START_THROTTLED"
