"""How an attempt can end: its exit code, and the errors that lead to each."""

from enum import IntEnum

from botocore.exceptions import BotoCoreError, ClientError

AWS_ERRORS = (BotoCoreError, ClientError)
"""What boto3 raises once its own retries are used up."""

CRASHED = 1
"""The exit code of a bug. As for any code not in `ExitCode`, the job's retry strategy decides what follows."""


class ExitCode(IntEnum):
    """The exit codes of a worker. On Batch, the job definition's retry strategy acts on them."""

    SUCCESS = 0
    PERMANENT_FAILURE = 65
    TRY_AGAIN = 75
    SUPERSEDED = 77


class WorkerError(Exception):
    """A known way for a run to end without success.

    Args:
        code: stable and short, for programs: `SOURCE_MISSING`.
        message: a sentence for people. Callers of the API see it: no secrets, no traceback.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class PermanentFailure(WorkerError):
    """The input is bad: no retry can help."""


class TryAgain(WorkerError):
    """A problem that may be gone in a minute: asks for another attempt."""


class Stopped(TryAgain):
    """The run has to end (spot reclaim, cancel, an operator). SIGKILL follows after half a minute."""

    def __init__(self) -> None:
        super().__init__("STOPPED", "the worker was asked to stop")


class Superseded(WorkerError):
    """Another run owns the job, or no run does any more: leave without touching anything."""

    def __init__(self) -> None:
        super().__init__("SUPERSEDED", "the job's record says that this run isn't the one")


class BadEnvironment(PermanentFailure):
    """Environment variables are missing or bad; the message names all of them at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("BAD_ENVIRONMENT", "bad environment: " + "; ".join(problems))
        self.problems = problems
