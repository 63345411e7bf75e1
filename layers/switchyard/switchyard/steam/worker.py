"""What import_steam_library does for a message: it begins the import's job, imports the library, and ends the job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from switchyard import observability
from switchyard.function_jobs.jobs import FunctionJob, FunctionRun
from switchyard.function_jobs.table import FunctionJobs
from switchyard.function_jobs.work import Parsed, TimeLeft
from switchyard.messages.envelope import Envelope
from switchyard.observability import Metric
from switchyard.steam import messages
from switchyard.steam.importer import Importer
from switchyard.steam.messages import Wanted


@dataclass(slots=True, eq=False)
class ImportWorker:
    """Imports libraries, each as a job."""

    jobs: FunctionJobs
    importer: Importer
    plural: ClassVar[str] = "imports"

    def read(self, message: Mapping[str, Any], envelope: Envelope, body: str = "", /) -> Parsed[Wanted]:
        """Reads a decoded message."""
        return messages.read(message, envelope, body)

    def handle(self, work: Wanted, envelope: Envelope, time: TimeLeft) -> str:
        """Imports a library, unless another invocation does, or did after the message was sent.

        Raises:
            Failed: the import can't succeed.
            Waiting: the import waits for the end of a pause.
            RetryableError, ClientError, BotoCoreError: a retry may succeed.
        """
        begun = self.jobs.begin(
            work.request(message_id=envelope.message_id, sent_at=envelope.sent_at),
            again=lambda found: messages.is_new_request(found, envelope.sent_at),
            continues=envelope.continues,
        )
        if isinstance(begun, FunctionRun):
            with self.jobs.ending(begun, dead_letter=True):
                self._import(begun, work, time)
        return work.job_id

    def _import(self, run: FunctionRun, work: Wanted, time: TimeLeft) -> None:
        def progress(percent: int, message: str) -> None:
            self.jobs.beat(run, {"percent": percent, "message": message})

        result = self.importer.run(
            run,
            work.user_id,
            work.account,
            confirm_removals=work.confirm_removals,
            seconds_left=lambda: time.seconds,
            progress=progress,
        )
        if self.jobs.complete(run, result):
            observability.count(Metric.IMPORTS)

    def answer(self, job: FunctionJob | None) -> dict[str, Any]:
        """What a direct invocation is told besides the job's id, status and error."""
        return {"result": dict(job.result)} if job and job.result else {}
