"""POST /process and POST /jobs: writes a job down and queues it."""

from functools import cache
from typing import Any

from switchyard import clients, observability, wiring
from switchyard.http import Api
from switchyard.observability import handler
from switchyard.records import Records
from switchyard.settings import SubmitJobSettings
from switchyard.submission import Submission


@cache
def api() -> Api:
    """Made once an execution environment, by its first event: bad settings then fail with a clear error."""
    settings = SubmitJobSettings.from_env()
    observability.configure(settings.environment)
    submission = Submission(
        records=Records(clients.dynamodb(), settings.jobs_table),
        work=wiring.task_work(settings),
        sqs=clients.sqs(),
        queue_url=settings.queue_url,
    )
    return Api({"POST /process": submission.process, "POST /jobs": submission.record}, settings.cors_origins)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)
