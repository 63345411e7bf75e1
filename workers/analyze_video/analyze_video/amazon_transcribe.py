"""The recogniser `transcribe`: Amazon Transcribe hears the whole sound at once, in a transcription job of its own.

The sound goes to S3 as Ogg Opus (16 kHz, mono: 14 MB an hour), under the job's own prefix, and so does the answer; both
are deleted afterwards. The transcription job's name follows from the job and the video. So the attempt after one that
was killed takes over its transcription job, and nobody pays twice.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from analyze_video.settings import bad
from analyze_video.sound import RATE, Block
from analyze_video.stage import Progress, Spoken, StageFailed, Video
from analyze_video.transcript import Segment, Transcript
from analyze_video.transcription_document import DocumentError, code_of, read
from switchyard_worker import AWS_ERRORS, client

log = logging.getLogger(__name__)

_LONGEST_SOUND: Final = 4 * 3600  # seconds
_FOLDER: Final = "transcribe/"  # stacks/compute.yaml grants reading and deleting in it
_MOST_BYTES: Final = 128 * 2**20  # of the document: four hours have some 30 MB
_MOST_SPEAKERS: Final = 10
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 20.0  # seconds between two questions
_MOST_FAILURES: Final = 5  # in a row, each after the client's own attempts; being busy is no failure
_BITS_A_SECOND: Final = 32_000
_BUSY: Final = {"LimitExceededException", "ThrottlingException"}
_USUAL: Final = {"en": "en-US", "es": "es-US", "pt": "pt-BR", "zh": "zh-CN", "ar": "ar-SA"}  # of several countries


class AmazonTranscribe:
    """A video's sound, its transcription job and its files.

    Args:
        video: the video.
        progress: called while waiting.
    """

    def __init__(self, video: Video, progress: Progress) -> None:
        self._video = video
        self._progress = progress
        self._calls = client("transcribe")
        self._failures = 0
        self._bucket = video.job.environment.results_bucket
        self._language = self._locale(video.settings.speech.language)
        self._name = f"switchyard-{self._digest()}"
        self._sound = video.job.key(f"{_FOLDER}{self._name}.ogg")
        self._answer = video.job.key(f"{_FOLDER}{self._name}.json")

    def transcript(self, sound: Iterable[Block]) -> Transcript:
        """What is said, and by whom if the stage `speakers` is chosen.

        Args:
            sound: of the video; it isn't read if an earlier attempt has brought it to Transcribe already.

        Raises:
            StageFailed: Transcribe refused or failed, or the sound is too long for it.
        """
        job = self._finished(sound)
        if job["TranscriptionJobStatus"] == "FAILED":
            log.warning("the transcription job failed: %s", job.get("FailureReason"))
            self.forget()
            raise StageFailed("SPEECH_REFUSED", "Amazon Transcribe could not transcribe the sound; the log says why")
        segments = self._segments()
        usual, probability = _language(job, segments)
        known = [
            Segment(each.start, each.end, each.text, each.words, each.language or usual, each.speaker)
            for each in segments
        ]
        self._video.spoken += [Spoken(each.start, each.end) for each in known]
        return Transcript(usual, probability, self._video.duration, known)

    def forget(self) -> None:
        """Delete the transcription job and its files. What can't be deleted goes with the job's data."""
        try:
            with suppress(self._calls.exceptions.NotFoundException):
                self._calls.delete_transcription_job(TranscriptionJobName=self._name)
            for key in (self._sound, self._answer):
                self._video.job.s3.delete_object(Bucket=self._bucket, Key=key)
        except AWS_ERRORS as error:
            log.warning("can't delete the transcription job or its files: %s", error)

    def _finished(self, sound: Iterable[Block]) -> Any:  # noqa: ANN401 - boto3's
        """The transcription job when it has ended: an earlier attempt's, or a new one."""
        for wait in _waits():
            try:
                job = self._calls.get_transcription_job(TranscriptionJobName=self._name)["TranscriptionJob"]
                self._failures = 0
                if job["TranscriptionJobStatus"] in {"COMPLETED", "FAILED"}:
                    return job
            except self._calls.exceptions.NotFoundException:
                self._start(sound)
            except (ClientError, BotoCoreError) as error:
                self._judge(error)
            self._wait(wait)
        raise AssertionError  # the waits never end

    def _start(self, sound: Iterable[Block]) -> None:
        self._bring(sound)
        # Several languages, told in each part of the sound, unless one is named.
        language = {"LanguageCode": self._language} if self._language else {"IdentifyMultipleLanguages": True}
        settings = {"ShowSpeakerLabels": True, "MaxSpeakerLabels": _MOST_SPEAKERS} if self._tells_speakers else None
        try:
            self._calls.start_transcription_job(
                TranscriptionJobName=self._name,
                MediaFormat="ogg",
                Media={"MediaFileUri": f"s3://{self._bucket}/{self._sound}"},
                OutputBucketName=self._bucket,
                OutputKey=self._answer,
                **language,
                **({"Settings": settings} if settings else {}),
            )
        except self._calls.exceptions.ConflictException:
            log.info("the transcription job runs already")  # a repeated call, whose first answer was lost
        except (ClientError, BotoCoreError) as error:
            self._judge(error)

    def _judge(self, error: Exception) -> None:
        """Pass over what may be better later.

        Raises:
            StageFailed: it won't be.
        """
        answer = error.response if isinstance(error, ClientError) else {}
        code = answer.get("Error", {}).get("Code", "")
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        log.warning("Amazon Transcribe: %s", code or type(error).__name__)
        self._failures += code not in _BUSY
        if code not in _BUSY and status < 500:
            raise StageFailed("SPEECH_REFUSED", "Amazon Transcribe refused the request") from error
        if self._failures > _MOST_FAILURES:
            raise StageFailed("SPEECH_UNAVAILABLE", "Amazon Transcribe doesn't answer") from error

    def _bring(self, sound: Iterable[Block]) -> None:
        """Bring the sound to S3. A second time, it is there already."""
        path = self._video.folder / "sound.ogg"
        if path.exists():
            return
        partial = path.with_suffix(".part")
        _write(partial, sound)
        self._video.job.confirm()  # this run still owns the prefix
        extra = {"ContentType": "audio/ogg", "Metadata": self._video.job.metadata}
        with partial.open("rb") as stream:
            self._video.job.s3.upload_fileobj(stream, self._bucket, self._sound, extra)
        partial.rename(path)

    def _segments(self) -> list[Segment]:
        s3 = self._video.job.s3
        try:
            found = s3.get_object(Bucket=self._bucket, Key=self._answer)
            return read(found["Body"].read(_MOST_BYTES))  # of a larger one, the end is missing
        except (DocumentError, s3.exceptions.NoSuchKey) as error:
            self.forget()  # another attempt begins anew
            raise StageFailed("SPEECH_UNINTELLIGIBLE", "the answer of Amazon Transcribe can't be read") from error

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._progress(0.5, "Amazon Transcribe is listening")
            time.sleep(min(left, 1.0))

    @property
    def _tells_speakers(self) -> bool:
        stages = self._video.settings.stages
        return not stages or "speakers" in stages

    def _locale(self, language: str) -> str:
        """Transcribe's name of a language; empty for none.

        Raises:
            PermanentFailure: it doesn't know it.
        """
        if not language:
            return ""
        known = self._calls.meta.service_model.shape_for("LanguageCode").enum
        usual = _USUAL.get(language, f"{language}-{language.upper()}")
        found = [code for code in (usual, *sorted(known)) if code in known and code.partition("-")[0] == language]
        if not found:
            raise bad(f"SPEECH_LANGUAGE is {language!r}, which Amazon Transcribe doesn't know")
        return str(found[0])

    def _digest(self) -> str:
        """Names what is transcribed and for whom: another video, job or setting has another name."""
        job, source = self._video.job, self._video.source
        told = [self._bucket, job.key(""), job.created_at, source.etag, self._language, self._tells_speakers]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:40]


def _waits() -> Iterator[float]:
    wait = _FIRST_WAIT
    while True:
        yield wait
        wait = min(wait * 1.5, _LONGEST_WAIT)


def _write(path: Path, sound: Iterable[Block]) -> None:
    """Write sound as Ogg Opus, with silence in its gaps, so that times in it are those of the video.

    Raises:
        StageFailed: it is too long.
    """
    with av.open(str(path), "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = _BITS_A_SECOND
        at = 0
        for block in sound:
            if block.end > _LONGEST_SOUND:
                raise StageFailed("SOUND_TOO_LONG", "Amazon Transcribe takes four hours of sound at most")
            for samples in _pieces(round(block.start * RATE) - at, block.samples):
                frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
                frame.sample_rate, frame.pts = RATE, at
                out.mux(stream.encode(frame))
                at += len(samples)
        out.mux(stream.encode())


def _pieces(gap: int, samples: Any) -> Iterator[Any]:  # noqa: ANN401 - numpy's
    """A gap and samples, a second at a time."""
    for first in range(0, gap, RATE):
        yield np.zeros(min(RATE, gap - first), np.float32)
    for first in range(0, len(samples), RATE):
        yield samples[first : first + RATE]


def _language(job: Any, segments: list[Segment]) -> tuple[str | None, float | None]:  # noqa: ANN401
    """The language of most of the speech, and how sure Transcribe is; None for what it doesn't say."""
    score = job.get("IdentifiedLanguageScore")
    told = [(each.get("DurationInSeconds") or 0.0, each.get("LanguageCode")) for each in job.get("LanguageCodes") or []]
    usual = job.get("LanguageCode") or max(told, default=(0.0, None))[1]
    first = next((each.language for each in segments if each.language), None)
    code = code_of(usual) if isinstance(usual, str) else first
    return code, round(float(score), 3) if score is not None else None
