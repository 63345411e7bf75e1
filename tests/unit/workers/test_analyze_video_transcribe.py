"""The backend `transcribe`, against an endpoint that answers as Amazon Transcribe's documents say, or fails."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from local.demos.media import speech
from local.serving import served
from tests.unit.workers import standin
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.test_analyze_video import Account, Make, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import stages

START, GET, DELETE = "StartTranscriptionJob", "GetTranscriptionJob", "DeleteTranscriptionJob"
type Fault = Callable[[], tuple[int, str] | None]
"""Called instead of an answer: an error's status and code; None to break the connection, after the call took effect."""


def item(start: float, text: str, speaker: str, language: str) -> dict[str, Any]:
    return {
        "type": "pronunciation",
        "start_time": str(start),
        "end_time": str(start + 0.4),
        "alternatives": [{"confidence": "0.98", "content": text}],
        "speaker_label": speaker,
        "language_code": language,
    }


def stop(text: str) -> dict[str, Any]:
    return {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": text}]}


DOCUMENT: Final = {
    "jobName": "x",
    "status": "COMPLETED",
    "results": {
        "transcripts": [{"transcript": "Ever tried? Bonjour Madame."}],
        "items": [
            item(3.0, "Ever", "spk_1", "en-US"),
            item(3.5, "tried", "spk_1", "en-US"),
            stop("?"),
            item(4.5, "Bonjour", "spk_0", "fr-FR"),
            item(5.0, "Madame", "spk_0", "fr-FR"),
            stop("."),
        ],
    },
}


@dataclass
class Service:
    """Transcription jobs by name. Each is done when it is asked for the second time.

    Attributes:
        faults: by operation, what its next calls meet.
        started: requests for new jobs, as they took effect.
        asked: operations, in order.
    """

    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failure: str = ""
    after: Callable[[str], None] = lambda _operation: None
    put: Callable[[str, bytes], None] = lambda _key, _body: None
    document: bytes = json.dumps(DOCUMENT).encode()

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = asked["TranscriptionJobName"]
        if operation == START:
            if name in self.jobs:
                return 400, {"__type": "ConflictException", "Message": "There is already a job with that name."}
            self.started.append(asked)
            self.jobs[name] = {"TranscriptionJobName": name, "TranscriptionJobStatus": "IN_PROGRESS"}
        elif name not in self.jobs:
            return 400, {"__type": "NotFoundException", "Message": "The requested job couldn't be found."}
        elif operation == DELETE:
            del self.jobs[name]
            return 200, {}
        elif self.jobs[name].pop("asked", False):
            self._end(self.jobs[name])
        else:
            return 200, {"TranscriptionJob": {**self.jobs[name]} if self.jobs[name].setdefault("asked", True) else {}}
        return 200, {"TranscriptionJob": {key: value for key, value in self.jobs[name].items() if key != "asked"}}

    def _end(self, job: dict[str, Any]) -> None:
        if self.failure:
            job |= {"TranscriptionJobStatus": "FAILED", "FailureReason": self.failure}
            return
        self.put(self.started[-1]["OutputKey"], self.document)
        codes = [{"LanguageCode": "en-US", "DurationInSeconds": 7.5}, {"LanguageCode": "fr-FR", "DurationInSeconds": 1}]
        job |= {"TranscriptionJobStatus": "COMPLETED", "LanguageCodes": codes}


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.service.asked.append(operation)
        faults = self.service.faults.get(operation, [])
        told = faults.pop(0)() if faults else (200, "")
        status, body = (told[0], {"__type": told[1]}) if told and told[1] else self.service.answer(operation, asked)
        self.service.after(operation)
        if told is None:
            self.close_connection = True
            return
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def transcribing() -> Iterator[Service]:
    service = Service()
    with served(type("Handler", (_Handler,), {"service": service})) as service.url:
        yield service


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        account.variables(SPEECH_BACKEND="transcribe", ANALYSIS_STAGES="scenes,speech,speakers")
        yield account


@pytest.fixture
def service(account: Account) -> Iterator[Service]:
    with transcribing() as service:
        account.variables(AWS_ENDPOINT_URL_TRANSCRIBE=service.url)

        def put(key: str, body: bytes) -> None:
            account.s3.put_object(Bucket="media", Key=key, Body=body)

        service.put = put
        yield service


@pytest.fixture(scope="module")
def talk(made: Make) -> Path:  # noqa: F811 - the fixture above
    return made("talk", ".mp4", str(speech("beckett.wav")))


def done(account: Account, outcome: Outcome) -> dict[str, Any]:
    """The transcript, after a check that all is well and nothing is left behind."""
    assert outcome.exit_code == 0, outcome.log
    assert stages(account)["speech"]["state"] == "done", stages(account)
    assert not [name for name in account.results() if name.startswith("transcribe/")]
    transcript: dict[str, Any] = json.loads(account.result("transcript.json")[1])
    assert [segment["text"] for segment in transcript["segments"]] == ["Ever tried?", "Bonjour Madame."]
    return transcript


def test_transcribe_hears_words_languages_and_speakers(account: Account, talk: Path, service: Service) -> None:
    """Also the voices: no model is loaded."""
    sizes: list[int] = []

    def measure(operation: str) -> None:
        if operation == START:
            key = service.started[0]["Media"]["MediaFileUri"].removeprefix("s3://media/")
            sizes.append(account.s3.head_object(Bucket="media", Key=key)["ContentLength"])

    service.after = measure
    outcome = account.run(talk)
    transcript = done(account, outcome)
    assert transcript["language"] == "en"
    assert [segment["language"] for segment in transcript["segments"]] == ["en", "fr"]
    assert [segment["speaker"] for segment in transcript["segments"]] == ["SPEAKER_01", "SPEAKER_02"]
    assert transcript["segments"][0]["words"][1] == {"start": 3.5, "end": 3.9, "text": "tried?", "probability": 0.98}
    assert [each["name"] for each in account.summary()["speakers"]] == ["SPEAKER_01", "SPEAKER_02"]
    assert outcome.item["result"]["stages"]["speakers"] == "done"
    [asked] = service.started
    assert asked["Media"]["MediaFileUri"].startswith("s3://media/results/job-1/transcribe/")
    assert (asked["MediaFormat"], asked["OutputBucketName"]) == ("ogg", "media")
    assert asked["OutputKey"].startswith("results/job-1/transcribe/")
    assert asked["IdentifyMultipleLanguages"] is True
    assert asked["Settings"] == {"ShowSpeakerLabels": True, "MaxSpeakerLabels": 10}
    assert 20_000 < sizes[0] < 200_000, "thirteen seconds of Opus"
    assert service.jobs == {}


def test_one_language_and_no_speakers_are_asked_for(account: Account, talk: Path, service: Service) -> None:
    done(account, account.run(talk, SPEECH_LANGUAGE="en", ANALYSIS_STAGES="scenes,speech"))
    assert service.started[0]["LanguageCode"] == "en-US"
    assert "Settings" not in service.started[0]


def test_a_language_that_transcribe_lacks_is_named(account: Account, talk: Path, service: Service) -> None:
    outcome = account.run(talk, SPEECH_LANGUAGE="xx")
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_ENVIRONMENT")
    assert service.asked == []


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        (START, lambda: (400, "LimitExceededException")),
        (START, lambda: (500, "InternalFailureException")),
        (GET, lambda: (400, "ThrottlingException")),
        (START, lambda: None),
        (GET, lambda: None),
    ],
    ids=["limit", "internal", "throttled", "start-unanswered", "get-unanswered"],
)
def test_a_call_that_fails_is_repeated_and_paid_once(
    account: Account, talk: Path, service: Service, operation: str, fault: Fault
) -> None:
    """`unanswered` has taken effect: its repetition meets a ConflictException, and the job is taken over."""
    service.faults[operation] = [fault]
    done(account, account.run(talk))
    assert len(service.started) == 1


@pytest.mark.parametrize(
    ("operation", "number", "paid"), [(GET, 1, 1), (START, 1, 1), (GET, 2, 1), (GET, 3, 1), (DELETE, 1, 2)]
)
def test_an_attempt_that_was_killed_is_taken_over(
    account: Account, talk: Path, service: Service, operation: str, number: int, paid: int
) -> None:
    """Killed with an answer on its way. The third of `GET` says that all is done. After `DELETE`, all is lost."""
    account.upload(talk)
    process = account.start()
    left = [number]

    def kill(done: str) -> None:
        left[0] -= done == operation
        if left[0] == 0:
            process.kill()
            time.sleep(0.2)

    service.after = kill
    assert account.finish(process).exit_code != 0
    assert left == [0]
    service.after = lambda _operation: None
    done(account, account.finish(account.start()))
    assert len(service.started) == paid
    assert service.jobs == {}


def test_a_job_that_failed_is_reported_and_deleted(account: Account, talk: Path, service: Service) -> None:
    service.failure = "Invalid sample rate for s3://media/secret"
    outcome = account.run(talk)
    assert outcome.exit_code == 0
    failed = stages(account)["speech"]["error"]
    assert failed["code"] == "SPEECH_REFUSED"
    assert "secret" not in json.dumps(account.summary())
    assert service.failure in json.dumps(outcome.log)
    assert service.jobs == {}
    assert not [name for name in account.results() if name.startswith("transcribe/")]


@pytest.mark.parametrize("document", [b"<html>", b"[" * 100_000, b"{}", b'{"results": {"items": 7}}'])
def test_an_answer_that_is_no_transcript_is_reported(
    account: Account, talk: Path, service: Service, document: bytes
) -> None:
    service.document = document
    assert account.run(talk).exit_code == 0
    assert stages(account)["speech"]["error"]["code"] == "SPEECH_UNINTELLIGIBLE"
    assert service.jobs == {}


def test_silence_is_no_transcript(account: Account, talk: Path, service: Service) -> None:
    service.document = b'{"results": {"transcripts": [{"transcript": ""}], "items": []}}'
    assert account.run(talk).exit_code == 0
    assert stages(account)["speech"]["reason"] == "nobody speaks"
    assert service.jobs == {}


def test_a_refusal_is_reported(account: Account, talk: Path, service: Service) -> None:
    service.faults[START] = [lambda: (400, "AccessDeniedException")]
    assert account.run(talk).exit_code == 0
    assert stages(account)["speech"]["error"]["code"] == "SPEECH_REFUSED"


def test_what_cannot_be_deleted_stays_and_the_transcript_counts(account: Account, talk: Path, service: Service) -> None:
    service.faults[DELETE] = [lambda: (400, "AccessDeniedException")]
    outcome = account.run(talk)
    assert outcome.exit_code == 0
    assert "can't delete the transcription job" in json.dumps(outcome.log)
    assert stages(account)["speech"]["state"] == "done"
    assert len(service.jobs) == 1


def test_waiting_ends_with_the_time_of_the_job(account: Account, talk: Path, service: Service) -> None:
    """The transcription job never ends, and what the other stages found is kept."""
    service.faults[GET] = [lambda: (400, "ThrottlingException")] * 200
    assert account.run(talk, MAX_SECONDS="12").exit_code == 0
    assert stages(account)["speech"]["error"]["code"] == "OUT_OF_TIME"
    assert account.summary()["scenes"]
