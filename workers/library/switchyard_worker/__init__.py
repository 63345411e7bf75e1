"""The worker's side of the contract between Switchyard and a job (workers/CONTRACT.md), as a library.

    from switchyard_worker import PermanentFailure, WorkerJob, run

    def main(job: WorkerJob) -> dict[str, object]:
        ...

    sys.exit(run(main))

Needs boto3 and the standard library, nothing else: images hold neither the layer nor Powertools.
"""

from switchyard_worker.attempt import client, run
from switchyard_worker.environment import WorkerEnvironment
from switchyard_worker.errors import (
    AWS_ERRORS,
    CRASHED,
    BadEnvironment,
    ExitCode,
    PermanentFailure,
    Stopped,
    Superseded,
    TryAgain,
    WorkerError,
)
from switchyard_worker.job import Main, ObjectName, WorkerJob, content_type
from switchyard_worker.programs import refuse_programs
from switchyard_worker.record import Record

__all__ = [
    "AWS_ERRORS",
    "CRASHED",
    "BadEnvironment",
    "ExitCode",
    "Main",
    "ObjectName",
    "PermanentFailure",
    "Record",
    "Stopped",
    "Superseded",
    "TryAgain",
    "WorkerEnvironment",
    "WorkerError",
    "WorkerJob",
    "client",
    "content_type",
    "refuse_programs",
    "run",
]
