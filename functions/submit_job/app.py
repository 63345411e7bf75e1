"""POST /process, POST /jobs, POST /torrents and POST /imports/steam: records jobs and sends their messages."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api.http import Api
from switchyard.api.submission import Submission
from switchyard.observability import handler
from switchyard.settings import SubmitJobSettings
from switchyard.steam.submission import ImportSubmission
from switchyard.tables.records import Records
from switchyard.torrents.submission import TorrentSubmission


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = SubmitJobSettings.from_env()
    records = Records(clients.dynamodb(), settings.jobs_table)
    submission = Submission(
        records=records,
        work=wiring.task_work(settings),
        sqs=clients.sqs(),
        queue_url=settings.queue_url,
    )
    torrents = TorrentSubmission(
        records=records,
        work=wiring.torrent_work(settings),
        s3=clients.s3,
        sqs=clients.sqs(),
        queue_url=settings.torrent_queue_url,
    )
    routes = {
        "POST /process": submission.process,
        "POST /jobs": submission.record,
        "POST /torrents": torrents.ask,
        "POST /imports/steam": ImportSubmission(records, clients.sqs(), settings.steam_queue_url).ask,
    }
    return wiring.api(settings, routes)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
