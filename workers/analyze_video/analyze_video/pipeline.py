"""The list of stages, and how they are run: one after the other, each on its own."""

import ctypes
import gc
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from analyze_video.settings import bad
from analyze_video.stage import Found, Progress, Skipped, StageFailed, Video
from analyze_video.stages import index, preview, scenes, speakers, speech, summary, text
from switchyard_worker import AWS_ERRORS, PermanentFailure, WorkerError

log = logging.getLogger(__name__)

_SHARE_OF_TIME = 0.95  # of the attempt's; the rest is for saving the results


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        name: as in `ANALYSIS_STAGES`.
        run: does its work.
        weight: its usual share of the time, in any unit: how far the progress bar moves.
    """

    name: str
    run: Callable[[Video, Progress], Found]
    weight: float


STAGES = (
    Stage("scenes", scenes.run, 40),
    Stage("speech", speech.run, 30),
    Stage("speakers", speakers.run, 10),
    Stage("text", text.run, 10),
    Stage("summary", summary.run, 3),
    Stage("preview", preview.run, 20),
    Stage("index", index.run, 2),
)
"""In the order in which they run. Names are chosen by `ANALYSIS_STAGES`."""


@dataclass(frozen=True)
class Outcome:
    """How a stage ended. `state` is `done`, `skipped` or `failed`."""

    name: str
    state: str
    seconds: float
    found: Found = field(default_factory=Found)
    reason: str = ""
    code: str = ""

    def described(self) -> dict[str, Any]:
        """The stage in summary.json."""
        facts: dict[str, Any] = {"name": self.name, "state": self.state, "seconds": self.seconds}
        if self.state == "skipped":
            facts["reason"] = self.reason
        if self.state == "failed":
            facts["error"] = {"code": self.code, "message": self.reason}
        return facts


def chosen(names: Iterable[str]) -> tuple[Stage, ...]:
    """The stages with these names, in the order in which they run; all if there are no names.

    Raises:
        PermanentFailure: there is no such stage, or `scenes` is missing: its pass decides whether the file is a video.
    """
    wanted = set(names) or {stage.name for stage in STAGES}
    if unknown := wanted - {stage.name for stage in STAGES}:
        known = ", ".join(stage.name for stage in STAGES)
        raise bad(f"ANALYSIS_STAGES names {', '.join(sorted(unknown))[:80]!r}: the stages are {known}")
    if STAGES[0].name not in wanted:
        raise bad(f"ANALYSIS_STAGES must include {STAGES[0].name}: it checks that the file is a video")
    return tuple(stage for stage in STAGES if stage.name in wanted)


def run(video: Video, stages: Iterable[Stage], report: Callable[[float, str], None]) -> list[Outcome]:
    """Run the stages. The first one's failure is the video's and ends the job; the others fail alone.

    Args:
        video: the video.
        stages: by `chosen`.
        report: called with the share done of all stages (0 to 1) and a line for people; may raise to end the run.

    Raises:
        WorkerError: the run must end, the file is no video or was replaced, its time is up, or S3 failed.
    """
    stages = tuple(stages)
    end = time.monotonic() + _SHARE_OF_TIME * video.settings.max_seconds
    total = sum(stage.weight for stage in stages)
    outcomes: list[Outcome] = []
    done = 0.0
    for stage in stages:

        def progress(share: float, message: str, stage: Stage = stage, done: float = done) -> None:
            report((done + min(max(share, 0.0), 1.0) * stage.weight) / total, f"{stage.name}: {message}")
            if time.monotonic() > end:
                raise StageFailed("OUT_OF_TIME", "the time limit of the job was nearly used up")

        outcome = _run(stage, video, progress, alone=stage is stages[0])
        video.summary |= outcome.found.summary
        outcomes.append(outcome)
        done += stage.weight
        _free()
    return outcomes


def _run(stage: Stage, video: Video, progress: Progress, *, alone: bool) -> Outcome:
    started = time.monotonic()

    def outcome(state: str, reason: str = "", code: str = "", found: Found | None = None) -> Outcome:
        seconds = round(time.monotonic() - started, 1)
        log.info("stage %s", state, extra={"fields": {"stage": stage.name, "seconds": seconds, "reason": reason}})
        return Outcome(stage.name, state, seconds, found or Found(), reason, code)

    try:
        progress(0.0, "starting")
        return outcome("done", found=stage.run(video, progress))
    except Skipped as skipped:
        return outcome("skipped", str(skipped))
    except StageFailed as failed:
        if alone:
            raise PermanentFailure(failed.code, failed.message) from failed
        return outcome("failed", failed.message, failed.code, failed.found)
    except (WorkerError, *AWS_ERRORS):
        raise  # the run must end, the video is bad, or S3 failed
    except Exception as error:
        if alone:
            raise
        log.exception("the stage %s crashed", stage.name)
        return outcome("failed", f"the stage crashed ({type(error).__name__}); the worker's log says where", "CRASHED")


def _free() -> None:
    """Give a stage's memory back before the next stage's model is loaded."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
