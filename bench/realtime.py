"""Speed and memory of the whole pipeline of `analyze_video`, beside decoding the file and doing nothing with it."""

import os
import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort, Samples, interleaved
from bench.recordings import prompts
from bench.report import at_least, table, verdict
from bench.understanding import analysed, join, stage_names, subject
from local.models import fetch

_LEAST_SPEED, _LEAST_LEAN = 5.0, 9.0  # times realtime, with and without the stages in _RICH
_RICH: Final = frozenset({"text", "preview"})
_MOST_MEMORY: Final = 2.0  # GB


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """The whole pipeline on 720p with speech all the time, beside decoding the file and doing nothing with it."""
    fetch("whisper-base", "voices", "minilm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talk.mp4"
        pairs = zip(prompts("en"), prompts("it"), strict=False)
        sounds = [*chain(*pairs)][: effort.of(16, 1)]
        join(sounds, path, gap=0.5, pictures="bigbuckbunny.mp4")
        stages = [name for name in stage_names() if name != "index"]
        lean = [name for name in stages if name not in _RICH]
        runs: dict[str, list[Mapping[str, Any]]] = {"floor": [], "all": [], "lean": []}

        def taken(name: str, answer: Mapping[str, Any]) -> float:
            runs[name].append(answer)
            return float(answer["seconds"] / answer["wall"])

        found = interleaved(
            {
                "floor": lambda: taken("floor", subject(do="decode", path=str(path))),
                "all": lambda: taken("all", analysed(path, stages)),
                "lean": lambda: taken("lean", analysed(path, lean)),
            },
            effort,
        )
        return [_speed_table(found, runs, stages, lean)]


def _speed_table(
    found: Mapping[str, Samples], runs: Mapping[str, list[Mapping[str, Any]]], stages: list[str], lean: list[str]
) -> Table:
    shown = table(
        f"Speed on {os.cpu_count()} cores: {runs['floor'][0]['seconds'] / 60:.1f} minutes of 720p, all of it speech",
        *("", "x realtime", "CPU s a second", "x if free", "÷ floor, CPU", "peak, GB", "must"),
        caption=f"All: {', '.join(stages)}. Lean: {', '.join(lean)}. Floor: decode pictures and sound. x realtime is "
        "by the clock, where other programs count too; x if free is computed from CPU time.",
    )
    cpu = {
        name: Samples(tuple(each["cpu"] / each["seconds"] for each in answers[-len(found[name].values) :]))
        for name, answers in runs.items()
    }
    for name, least in (("floor", 0.0), ("all", _LEAST_SPEED), ("lean", _LEAST_LEAN)):
        peak = max(each["peak"] for each in runs[name]) / 1e9
        must = f"{at_least(found[name].median, least)}, {verdict(round(peak, 2), _MOST_MEMORY, ' GB')}" if least else ""
        free = (os.cpu_count() or 1) / cpu[name].median
        row = (found[name].show(), cpu[name].show(), f"{free:.1f}", cpu[name].over(cpu["floor"]).show(), f"{peak:.2f}")
        shown.add_row(name, *row, must)
    return shown
