"""What the benches of understanding measure, in the worker's environment: `python -m bench.understanding_subject JSON`.

The JSON names one of the functions below in `do`, and its arguments. The answer is a line of JSON on stdout.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import av
import av.logging
import numpy as np

from bench.measure import resident

_RATE = 16_000
_FRAME = _RATE // 50
_QUIET = 10 ** (-40 / 20)  # of the loudest frame: what is less is no speech


def join(path: str, sounds: list[str], gap: float, pictures: str) -> list[list[float]]:
    """Make a video of recordings one after the other, under the pictures of a clip that repeats.

    Args:
        path: of the video, MP4.
        sounds: recordings.
        gap: silence before each, seconds.
        pictures: the clip; its pictures are copied, not encoded again.

    Returns:
        For each recording, when its speech begins and ends, in seconds.
    """
    samples, spans, at = [], [], 0.0
    for sound in sounds:
        heard = _decoded(sound)
        loud = np.sqrt((heard[: len(heard) // _FRAME * _FRAME].reshape(-1, _FRAME) ** 2).mean(axis=1))
        (speech,) = np.nonzero(loud > _QUIET * loud.max())
        at += gap
        spans.append([at + speech[0] * _FRAME / _RATE, at + (speech[-1] + 1) * _FRAME / _RATE])
        samples += [np.zeros(round(gap * _RATE), np.float32), heard]
        at += len(heard) / _RATE
    _written(path, np.concatenate(samples), pictures)
    return spans


def _decoded(path: str) -> Any:  # noqa: ANN401 - numpy's
    resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE)
    with av.open(path) as given:
        frames = [each for frame in (*given.decode(audio=0), None) for each in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def _written(path: str, samples: Any, pictures: str) -> None:  # noqa: ANN401
    with av.open(path, "w") as out, av.open(pictures) as given:
        shown = out.add_stream_from_template(given.streams.video[0])
        sound = out.add_stream("aac", rate=_RATE, layout="mono")
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="flt", layout="mono")
            frame.sample_rate, frame.pts = _RATE, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
        source = given.streams.video[0]
        packets = [packet for packet in given.demux(source) if packet.dts is not None]
        each = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        length = max(pts + duration for _, pts, _, duration, _ in each) - min(pts for _, pts, *_ in each)
        for turn in range(int(len(samples) / _RATE / float(length * source.time_base)) + 1):
            for data, pts, dts, duration, is_key in each:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + turn * length, dts + turn * length, duration
                packet.time_base, packet.stream, packet.is_keyframe = source.time_base, shown, is_key
                out.mux(packet)


def decode(path: str) -> dict[str, float]:
    """The floor: decode all pictures and all sound, and do nothing with them."""
    begun = time.monotonic(), time.process_time()
    with av.open(path) as given:
        seconds = max(frame.time or 0.0 for frame in given.decode(given.streams.video[0], given.streams.audio[0]))
    return _cost(begun) | {"seconds": seconds}


def analyse(path: str, stages: list[str], models: str, settings: dict[str, str]) -> dict[str, Any]:
    """Run stages of `analyze_video` on a file, as a job does; only S3 is missing.

    Returns:
        The cost, `outcomes` (each stage's state and seconds), `speakers` and the transcript's `segments`.
    """
    from analyze_video import pipeline  # noqa: PLC0415 - the import is a part of the job
    from analyze_video.settings import Settings  # noqa: PLC0415
    from analyze_video.stage import Video  # noqa: PLC0415

    begun = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, _File(path) as source:
        known = Settings.from_env({"MODELS": models, **settings})
        job, file = cast("Any", _Job()), cast("Any", source)
        video = Video(job, known, file, Path(folder))
        wanted = set(stages) & {stage.name for stage in pipeline.STAGES}
        outcomes = pipeline.run(video, pipeline.chosen(wanted), lambda _share, _message: None)
    return _cost(begun) | {
        "seconds": video.duration,
        "outcomes": [outcome.described() for outcome in outcomes],
        "speakers": video.transcript.speakers if video.transcript else [],
        "segments": video.transcript.content()["segments"] if video.transcript else [],
    }


def whole(path: str, model: str) -> dict[str, Any]:
    """The usual way: faster-whisper on the whole file, as its README has it. Its own decoder doesn't know this PyAV."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - as above

    begun = time.monotonic(), time.process_time()
    whisper = WhisperModel(model, device="cpu", compute_type="int8", local_files_only=True)
    segments, info = whisper.transcribe(_decoded(path), beam_size=5, word_timestamps=True)
    found = [
        {"words": [{"start": word.start, "end": word.end, "text": word.word.strip()} for word in segment.words]}
        for segment in segments
    ]
    return _cost(begun) | {"seconds": info.duration, "segments": found}


def _cost(begun: tuple[float, float]) -> dict[str, Any]:
    return {
        "wall": time.monotonic() - begun[0],
        "cpu": time.process_time() - begun[1],
        "peak": resident("VmHWM"),
    }


class _File:
    """A local file in place of an `S3File`."""

    name = "the video"

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - closed by __exit__
        self.size = os.path.getsize(path)  # noqa: PTH202

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def raise_failure(self) -> None:
        """Nothing failed."""


class _Job:
    """A job whose results are thrown away."""

    environment = SimpleNamespace(
        bucket="media", key="talk.mp4", results_bucket="media", results_prefix="results/job-1/", job_id="job-1"
    )

    def save(self, name: str, _body: object) -> str:
        return name

    def key(self, name: str) -> str:
        return name

    def checkpoint(self) -> None:
        """Nobody stops it."""

    confirm = checkpoint


def main() -> None:
    """Does what the first argument says."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    av.logging.set_level(av.logging.PANIC)
    asked = json.loads(sys.argv[1])
    known: dict[str, Callable[..., Any]] = {"join": join, "decode": decode, "analyse": analyse, "whole": whole}
    answer = known[asked.pop("do")](**asked)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
