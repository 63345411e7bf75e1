"""The errors that decide what happens to a message, as a tree. Whether an error can be retried is its class.

SwitchyardError
├── SettingsError            the function's environment variables are wrong; raised when it builds its parts
├── PermanentError           the sender's fault: the message goes straight to the dead-letter queue, with the reason
│   ├── InvalidMessage
│   ├── SourceNotAllowed
│   ├── UrlRefused
│   ├── KindNotConfigured
│   ├── ObjectGone
│   ├── ObjectChanged
│   ├── JobIdTaken
│   ├── JobExists
│   ├── ForeignRow           the job's row is not ours, so nothing can be done with the job
│   ├── CannotShare          no torrent can be made of the object; this job fails, and no message is dead-lettered
│   ├── InvalidSteamId
│   ├── ProfileNotFound
│   └── GameDetailsPrivate
├── RetryableError           may work later: the message returns to its queue for `retry_after` seconds
│   ├── NoFreeSlot           only with AT_CAPACITY=return
│   ├── ClaimInFlight        another delivery of the message holds a claim within its grace period
│   ├── Contended            lost the race for a conditional write several times in a row
│   ├── OutcomeUnknown       the target may or may not have accepted the job
│   ├── Unavailable          an AWS service failed, was throttled or refused, after the SDK's own retries
│   └── RequestsFailed       some requests of a message failed (defined in `messages.intake`)
└── StartFailed              the target did not accept the job, for certain; the claim can be undone
    ├── StartRefused         the request is wrong
    └── StartThrottled       the target had no room, or could not be reached
"""


class SwitchyardError(Exception):
    """The base class. `code` is stable and safe to show to callers; the text is for logs and dead-letter queues.

    `outage` says that a service has failed, so that retries fail for as long as it does.
    """

    code: str = "INTERNAL"
    outage: bool = False


class SettingsError(SwitchyardError):
    """Environment variables are missing or invalid. `problems` names every one."""

    code = "SETTINGS"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("bad configuration: " + "; ".join(problems))
        self.problems = problems


class PermanentError(SwitchyardError):
    """Retrying can't help."""


class InvalidMessage(PermanentError):
    """The message has an unknown shape, or a field is missing or invalid."""

    code = "INVALID_MESSAGE"


class SourceNotAllowed(PermanentError):
    """The message names a bucket that this deployment does not serve."""

    code = "SOURCE_NOT_ALLOWED"


class UrlRefused(PermanentError):
    """The message names a URL that must not be fetched, or that is not in this system's bucket."""

    code = "URL_NOT_ALLOWED"


class KindNotConfigured(PermanentError):
    """This deployment does not run jobs of that kind."""

    code = "KIND_NOT_CONFIGURED"


class ObjectGone(PermanentError):
    """The object, or the requested version of it, does not exist, or no longer does."""

    code = "OBJECT_GONE"


class ObjectChanged(PermanentError):
    """The object was replaced after work began."""

    code = "OBJECT_CHANGED"


class JobIdTaken(PermanentError):
    """The job id belongs to a job of another kind or owner."""

    code = "JOB_ID_TAKEN"


class JobExists(PermanentError):
    """The job id belongs to a job with another input."""

    code = "JOB_EXISTS"


class ForeignRow(PermanentError):
    """The row of the job was not written by Switchyard, or was changed by another program since."""

    code = "FOREIGN_ROW"


class CannotShare(PermanentError):
    """No torrent can be made of the object; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidSteamId(PermanentError):
    """What should name a Steam account is no id, vanity name or profile URL."""

    code = "INVALID_STEAM_ID"


class ProfileNotFound(PermanentError):
    """Steam knows no such account."""

    code = "PROFILE_NOT_FOUND"


class GameDetailsPrivate(PermanentError):
    """The player's privacy settings hide the games. Only the player can change that."""

    code = "GAME_DETAILS_PRIVATE"


class RetryableError(SwitchyardError):
    """A retry may succeed. `retry_after` is in seconds; None leaves the delay to the caller's backoff."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoFreeSlot(RetryableError):
    """Every slot of the lane is taken, so the message waits in its queue."""

    code = "LANE_FULL"


class ClaimInFlight(RetryableError):
    """An earlier delivery of the same message holds the claim and may still be starting the job."""

    code = "CLAIM_IN_FLIGHT"


class Contended(RetryableError):
    """Every attempt at a conditional write found that somebody else had changed the job."""

    code = "CONTENDED"


class OutcomeUnknown(RetryableError):
    """The start call ended in a timeout, a reset or a 5xx; the job may be running."""

    code = "START_UNKNOWN"


class Unavailable(RetryableError):
    """An AWS service failed, throttled or refused a call after the SDK's own retries. A write may have taken effect."""

    code = "AWS_UNAVAILABLE"
    outage = True


class StartFailed(SwitchyardError):
    """The target did not accept the job."""


class StartRefused(StartFailed):
    """The target rejected the request as wrong (a missing queue, a bad definition)."""

    code = "START_REFUSED"


class StartThrottled(StartFailed):
    """The target throttled the request, had no capacity for it, or could not be reached."""

    code = "START_THROTTLED"


class NoCapacity(StartThrottled):
    """The target has no room for another run: no machine, no spot capacity, or a quota that is used up."""

    code = "NO_CAPACITY"
