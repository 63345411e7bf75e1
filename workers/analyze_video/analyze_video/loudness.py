"""Loudness by EBU R 128, measured with FFmpeg's `ebur128` filter during decoding."""

import logging
import math
from typing import Any

import av
import numpy as np

log = logging.getLogger(__name__)

_RATE = 48000
_RATES = range(4_000, 768_001)
"""Accepted samples a second. Lower rates become gigabytes when resampled to `_RATE`: a few kilobytes can claim 1."""
_PREFIX = "lavfi.r128."
_SILENCE_DBTP = -70.0
_SILENCE = 10 ** (_SILENCE_DBTP / 20)
_GATE_LUFS = -70.0  # R 128's absolute gate: the filter's value if nothing has passed it


class Loudness:
    """Takes decoded audio frames and measures the loudness of the whole."""

    def __init__(self) -> None:
        self._resampler: Any = None
        self._graph: Any = None
        self._newest: dict[str, str] = {}
        self._failed = False

    def add(self, frame: Any) -> None:  # noqa: ANN401 - an av.AudioFrame
        """Measure one frame. Sound that FFmpeg can't measure ends the measurement, not the job."""
        if self._failed:
            return
        try:
            demand_audible(frame.sample_rate)  # for each frame: the rate may change midway
            if self._graph is None:
                self._prepare(frame.layout.name)
            self._push(self._resampler.resample(frame))
        except (av.FFmpegError, ValueError) as error:
            log.warning("can't measure the loudness: %s", error)
            self._failed = True

    def finish(self) -> dict[str, Any]:
        """`loudness` of summary.json, for a file with sound."""
        if not self._newest or self._failed:
            return {"state": "unmeasurable"}
        integrated = float(self._newest[_PREFIX + "I"])
        peak = float(self._newest[_PREFIX + "true_peak"])
        peak_db = 20 * math.log10(peak) if peak > 0 else -math.inf
        if peak_db < _SILENCE_DBTP:
            return {"state": "silent"}
        if integrated <= _GATE_LUFS:  # shorter than the 0.4 s that R 128 needs
            return {"state": "unmeasurable"}
        return {
            "state": "measured",
            "integratedLufs": round(integrated, 1),
            "truePeakDbtp": round(peak_db, 1),
        }

    def _prepare(self, layout: str) -> None:
        # A stream may change its rate or layout midway, a filter graph can't: all is resampled to the first layout.
        self._resampler = av.AudioResampler(format="dbl", layout=layout, rate=_RATE)
        graph = av.filter.Graph()
        source = graph.add_abuffer(sample_rate=_RATE, format="dbl", layout=layout, time_base=av.AVRational(1, _RATE))
        graph.link_nodes(source, graph.add("ebur128", "metadata=1:peak=true"), graph.add("abuffersink")).configure()
        self._graph = graph

    def _push(self, frames: list[Any]) -> None:
        for frame in frames:
            self._graph.push(frame)
            while True:
                try:
                    measured = self._graph.pull()
                except (av.BlockingIOError, av.EOFError):  # it needs more input
                    break
                self._newest = measured.metadata or self._newest


def is_silent(frame: Any) -> bool:  # noqa: ANN401 - an av.AudioFrame
    """Whether no sample of a frame is louder than silence."""
    samples = frame.to_ndarray()
    kind = samples.dtype.kind
    half = 1.0 if kind == "f" else 2.0 ** (8 * samples.dtype.itemsize - 1)
    loudest = np.abs(samples.astype(np.float64) - (half if kind == "u" else 0.0)).max(initial=0.0)
    return bool(loudest < _SILENCE * half)


def demand_audible(rate: int) -> None:
    """Refuse sound at a rate that nobody hears.

    Raises:
        ValueError: `rate`, in samples a second, isn't in `_RATES`.
    """
    if rate not in _RATES:
        raise ValueError(f"it has {rate} samples a second")
