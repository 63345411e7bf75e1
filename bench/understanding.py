"""Runs the stages of `analyze_video` on real recordings, for the benches `speech`, `speakers` and `realtime`."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.environment import ROOT
from bench.recordings import Recording
from local.demos.media import clip
from local.models import MODELS

_PYTHON: Final = ROOT / ".venvs" / "analyze_video" / "bin" / "python"
_PATH: Final = ("workers/analyze_video", "workers/library", "layers/switchyard", "layers/embedding", ".")


@dataclass(frozen=True)
class Joined:
    """Recordings joined to a video, and when each is spoken."""

    path: Path
    recordings: Sequence[Recording]
    spans: Sequence[tuple[float, float]]


def join(recordings: Sequence[Recording], path: Path, *, gap: float, pictures: str = "carphone_pristine.mp4") -> Joined:
    """Join recordings, with silence of `gap` seconds before each, under a clip's pictures."""
    sounds = [str(each.path) for each in recordings]
    spans = subject(do="join", path=str(path), sounds=sounds, gap=gap, pictures=str(clip(pictures)))
    return Joined(path, recordings, [(start, end) for start, end in spans])


def analysed(path: Path, stages: Sequence[str], **settings: str) -> Any:  # noqa: ANN401 - JSON
    """Run stages of the worker on a file. See `understanding_subject.analyse`.

    Raises:
        RuntimeError: a stage failed, or its model isn't installed.
    """
    answer = subject(do="analyse", path=str(path), stages=stages, models=str(MODELS), settings=settings)
    for stage in answer["outcomes"]:
        if stage["state"] == "failed" or stage.get("reason", "").startswith("the model"):
            raise RuntimeError(f"the stage {stage['name']}: {stage.get('error') or stage.get('reason')}")
    return answer


def stage_names() -> list[str]:
    """The names in `pipeline.STAGES`."""
    found = re.findall(
        r'^    Stage\("(\w+)"', (ROOT / _PATH[0] / "analyze_video" / "pipeline.py").read_text(), re.MULTILINE
    )
    return [str(name) for name in found]


def subject(**asked: object) -> Any:  # noqa: ANN401 - JSON
    """What a function of `bench.understanding_subject` returns, from a process of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in _PATH),
        "AWS_EC2_METADATA_DISABLED": "true",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),  # as in analyze_video/__main__.py
    }
    command = [str(_PYTHON), "-m", "bench.understanding_subject", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
