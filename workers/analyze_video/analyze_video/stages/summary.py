"""The stage `summary`: chapters, highlights and a summary of what is said. Sets the video's chapters."""

from collections.abc import Sequence
from typing import Any

from analyze_video import captions, report
from analyze_video.minute_taker import MinuteTaker
from analyze_video.minutes import Embed, Minutes, Point, Talk, extracted
from analyze_video.stage import Found, Progress, Skipped, Video
from switchyard.language.models import BedrockModel, Model, OpenAiModel
from switchyard_worker import client

_ATTEMPTS = 4
_IN_HEADLINE = 50  # chapters; the record is small


def run(video: Video, progress: Progress) -> Found:
    """Find chapters, highlights and a summary, and save chapters.vtt.

    Raises:
        Skipped: nothing is said, or the setting is `none`.
    """
    settings = video.settings.summary
    if settings.backend == "none":
        raise Skipped("SUMMARY_BACKEND is none")
    if video.transcript is None or not video.transcript.segments:
        raise Skipped("there is no transcript")
    scenes = video.analysis.scenes if video.analysis else ()
    talk = Talk(video.transcript.segments, video.duration, [each.start for each in scenes[1:]], video.on_screen)
    embed = _embed(video)
    facts: dict[str, Any] = {"backend": settings.backend}
    model = _model(video)
    if model is None:
        minutes = extracted(talk, embed)
    else:
        taker = MinuteTaker(model, embed, lambda share: progress(share, "the model writes"))
        minutes, is_written = taker.take(talk)
        facts = {"backend": settings.backend if is_written else "extractive", "model": settings.model}
        facts |= {"calls": taker.calls, "fallbacks": taker.fallbacks}
    video.chapters = minutes.chapters
    video.job.save("chapters.vtt", captions.vtt([captions.Caption(*chapter) for chapter in minutes.chapters]).encode())
    summary = _summary(talk, minutes) | {"summaryBy": facts}
    return Found(
        summary=summary,
        headline={
            "about": " ".join(point.text for point in minutes.summary),
            "chapters": summary["chapters"][:_IN_HEADLINE],
        },
        section=report.minutes_section(video, summary),
    )


def _embed(video: Video) -> Embed | None:
    """Makes vectors by the model of the stage `index`; None if it isn't installed."""
    folder = video.settings.models / "minilm"
    if not folder.is_dir():
        return None
    # It loads numpy and the tokenizer: only here.
    from switchyard_embedding.embedder import Embedder  # noqa: PLC0415

    return Embedder(folder).embed


def _model(video: Video) -> Model | None:
    settings = video.settings.summary
    if settings.backend == "openai":
        return OpenAiModel(settings.url, settings.model, lambda: settings.key, attempts=_ATTEMPTS)
    if settings.backend == "bedrock":
        return BedrockModel(client("bedrock-runtime", read_timeout=120), settings.model)
    return None


def _summary(talk: Talk, minutes: Minutes) -> dict[str, Any]:
    """The fields of summary.json."""

    def told(points: Sequence[Point]) -> list[dict[str, Any]]:
        found = []
        for point in points:
            said = [talk.segments[number] for number in point.segments]
            speakers = list(dict.fromkeys(each.speaker for each in said if each.speaker))
            facts = {"text": point.text, "start": said[0].start, "end": said[-1].end, "speakers": speakers}
            found.append({**facts, "segments": list(point.segments)})
        return found

    return {
        "chapters": [chapter._asdict() for chapter in minutes.chapters],
        "summary": told(minutes.summary),
        "highlights": told(minutes.highlights),
    }
