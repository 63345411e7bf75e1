"""What a stage of the analysis gets and gives back.

A stage is a module of `analyze_video.stages` with a function

    def run(video: Video, progress: Progress) -> Found

listed in `pipeline.STAGES`. It reads what earlier stages have set on the video, sets its own attributes, saves its own
files (`video.job.save`), and returns what belongs into the summaries. It imports heavy libraries and loads models
inside `run`, so that they cost nothing where the stage isn't chosen, and are freed before the next stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from analyze_video.settings import Settings
from analyze_video.source import S3File
from analyze_video.transcript import Transcript
from switchyard_worker import WorkerJob

if TYPE_CHECKING:  # it loads FFmpeg
    from analyze_video.analysis import Analysis
    from analyze_video.container import Headers


class Skipped(Exception):
    """A stage has nothing to do. The message says why in a few words: no sound, no model, or a setting."""


class StageFailed(Exception):
    """A stage can't do its work. It is reported, and the other stages go on.

    Args:
        code: stable and short, for programs.
        message: a sentence for people. API callers see it, so it holds no secrets and no traceback.
        found: what the stage has found nevertheless.
    """

    def __init__(self, code: str, message: str, found: "Found | None" = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.found = found


class Progress(Protocol):
    """Reports a stage's progress. A stage calls it every second or two, wherever it is safe to stop."""

    def __call__(self, share: float, message: str) -> None:
        """Report the share of the stage that is done (0 to 1), and a line for people.

        Raises:
            Superseded, Stopped: the run must end. Stages let them pass.
            StageFailed: the attempt's time is nearly used up. Stages let it pass.
        """


class Spoken(NamedTuple):
    """A stretch of sound in which somebody speaks. Seconds from the beginning of the video."""

    start: float
    end: float


class OnScreen(NamedTuple):
    """Text that is shown at `time` seconds."""

    time: float
    text: str


class Chapter(NamedTuple):
    """A part of the video about one topic. Seconds from the beginning of the video."""

    start: float
    end: float
    title: str


@dataclass
class Video:
    """The job's video, and what the stages have found out about it so far.

    Attributes:
        job: the job, to save files. Its `progress` is not for stages: they have their own.
        settings: the worker's settings.
        source: the file in S3. `containers.opened(source)` opens it again, `sound.blocks` decodes its sound.
        folder: for scratch files. On Batch it is memory, so it holds no copy of the video. Key frames lie here under
            the names in `analysis.scenes`.
        headers: by `scenes`: what the container says.
        analysis: by `scenes`: duration, scenes and key frames.
        spoken: by `speech`: where somebody speaks.
        transcript: by `speech`, if somebody speaks; `speakers` adds who.
        on_screen: by `text`, ordered by time.
        chapters: by `summary`, in order.
        summary: the fields of summary.json that earlier stages have returned.
    """

    job: WorkerJob
    settings: Settings
    source: S3File
    folder: Path
    headers: "Headers | None" = None
    analysis: "Analysis | None" = None
    spoken: list[Spoken] = field(default_factory=list)
    transcript: Transcript | None = None
    on_screen: list[OnScreen] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Seconds, to the end of the last picture. 0 before `scenes`."""
        return self.analysis.duration if self.analysis else 0.0

    def model(self, name: str) -> Path:
        """The folder of a model in models.toml.

        Raises:
            Skipped: it isn't there.
        """
        folder = self.settings.models / name
        if not folder.is_dir():
            raise Skipped(f"the model {name} isn't installed (make models)")
        return folder


@dataclass(frozen=True)
class Found:
    """What a stage returns for the summaries.

    Attributes:
        summary: top-level fields of summary.json, JSON-shaped.
        headline: fields of `result` in the job's record: small, for a quick look.
        section: the stage's section of summary.md, from `## …` on; empty for none. `markup.plain` escapes untrusted
            text.
    """

    summary: Mapping[str, Any] = field(default_factory=dict)
    headline: Mapping[str, Any] = field(default_factory=dict)
    section: str = ""
