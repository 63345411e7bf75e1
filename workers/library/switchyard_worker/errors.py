"""The exit codes of an attempt, and the errors that lead to them."""

from enum import IntEnum

from botocore.exceptions import BotoCoreError, ClientError

AWS_ERRORS = (BotoCoreError, ClientError)
"""What boto3 raises once its own retries are used up."""

CRASHED = 1
"""The exit code after a bug. For this and any code not in `ExitCode`, the job's retry strategy decides."""


class ExitCode(IntEnum):
    """The exit codes of a worker. On Batch, the job definition's retry strategy acts on them."""

    SUCCESS = 0
    PERMANENT_FAILURE = 65
    TRY_AGAIN = 75
    SUPERSEDED = 77


class WorkerError(Exception):
    """A run ended without success, for a known reason.

    Args:
        code: stable and short, for programs, such as `SOURCE_MISSING`.
        message: a sentence for people. API callers see it, so it holds no secrets and no traceback.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class PermanentFailure(WorkerError):
    """The input is bad. A retry can't help."""


class TryAgain(WorkerError):
    """A temporary problem. Asks for another attempt."""


class Stopped(TryAgain):
    """The run must end (spot reclaim, cancel, an operator). SIGKILL follows after half a minute."""

    def __init__(self) -> None:
        super().__init__("STOPPED", "the worker was asked to stop")


class Superseded(WorkerError):
    """Another run owns the job, or the job has ended. Exit without writing anything."""

    def __init__(self) -> None:
        super().__init__("SUPERSEDED", "the job's record says that this run doesn't own the job")


class BadEnvironment(PermanentFailure):
    """Environment variables are missing or invalid. The message names all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("BAD_ENVIRONMENT", "bad environment: " + "; ".join(problems))
        self.problems = problems
