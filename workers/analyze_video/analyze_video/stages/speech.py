"""The stage `speech`: what is said, word by word, in transcript.json, .md, .vtt and .srt."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from analyze_video import captions
from analyze_video.model_files import speech_model
from analyze_video.sound import Block, blocks
from analyze_video.stage import Found, Progress, Skipped, Video
from analyze_video.transcript import Segment, Transcript

if TYPE_CHECKING:
    from analyze_video.recognition import Heard, Recogniser

_BLOCK_SECONDS = 240.0  # how much sound is searched at a time: some 15 MB
_SURE = 0.6  # mean probability from which the language is told without doubt


def run(video: Video, progress: Progress) -> Found:
    """Find speech in the sound, recognise its words, and save the transcript.

    Raises:
        Skipped: there is no sound, nobody speaks, or there is no model.
        StageFailed: the sound is broken, or the recogniser doesn't work.
    """
    if video.settings.speech.backend == "none":
        raise Skipped("SPEECH_BACKEND is none")
    sound = blocks(video, _BLOCK_SECONDS, progress)
    first = next(sound, None)  # before a model is loaded: a video without sound needs none
    if first is None:
        raise Skipped("the video has no sound")
    if video.settings.speech.backend == "transcribe":
        return _by_transcribe(video, _from(first, sound), progress)
    recogniser = _recogniser(video)
    from analyze_video.utterances import utterances  # noqa: PLC0415 - its libraries take a second and 100 MB

    languages = _Languages()
    segments: list[Segment] = []
    with ThreadPoolExecutor(recogniser.threads) as threads:
        for found in utterances(_from(first, sound)):
            likely = languages.usual  # the same for all of a block, so that the result doesn't depend on threads
            answers = threads.map(lambda each, likely=likely: recogniser.hear(each, likely), found)
            for utterance, heard in zip(found, answers, strict=True):
                progress(min(1.0, utterance.end / (video.duration or 1)), f"{len(segments)} sentences so far")
                languages.add(heard, utterance.end - utterance.start)
                video.spoken += utterance.spoken
                segments += [
                    Segment(each.start, each.end, each.text, each.words, heard.language) for each in heard.sentences
                ]
    if not segments:
        raise Skipped("nobody speaks")
    video.transcript = Transcript(
        languages.usual, languages.probability, video.duration, sorted(segments, key=lambda each: each.start)
    )
    return saved(video, video.transcript)


def _by_transcribe(video: Video, sound: Iterator[Block], progress: Progress) -> Found:
    from analyze_video.amazon_transcribe import AmazonTranscribe  # noqa: PLC0415 - as in run

    heard = AmazonTranscribe(video, progress)
    transcript = heard.transcript(sound)
    if not transcript.segments:
        heard.forget()
        raise Skipped("nobody speaks")
    video.transcript = transcript
    found = saved(video, transcript)
    heard.forget()  # only now: an attempt that is killed before finds the answer again
    return found


def saved(video: Video, transcript: Transcript) -> Found:
    """Save the transcript's files; the same names, whether speakers are known or not."""
    for name, body in captions.files(transcript).items():
        video.job.save(name, body)
    doubtful = transcript.language_probability is not None and transcript.language_probability < _SURE
    facts = {
        "language": transcript.language,
        "languageProbability": transcript.language_probability,
        "languageDoubtful": doubtful,
        "segments": len(transcript.segments),
        "words": transcript.words,
        "files": sorted(captions.files(transcript)),
    }
    return Found(
        summary={"speech": facts},
        headline={"transcript": video.job.key("transcript.json"), "language": transcript.language},
        section=captions.section(transcript, doubtful=doubtful),
    )


def _recogniser(video: Video) -> "Recogniser":
    settings = video.settings.speech
    if settings.backend == "openai":
        from analyze_video.transcription_service import TranscriptionService  # noqa: PLC0415 - as in run

        return TranscriptionService(settings)
    folder = speech_model(video)
    from analyze_video.whisper import Whisper  # noqa: PLC0415 - as in run

    return Whisper(folder, settings.language, settings.prompt)


def _from(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


class _Languages:
    """Counts how long each language is spoken, and how sure the recogniser was of it."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._sure: defaultdict[str, float] = defaultdict(float)

    def add(self, heard: "Heard", seconds: float) -> None:
        """Count an utterance, if it has words: of noise, the language means nothing."""
        if heard.language and heard.sentences:
            self._seconds[heard.language] += seconds
            if heard.probability is not None:
                self._sure[heard.language] += heard.probability * seconds

    @property
    def usual(self) -> str | None:
        """The language spoken longest. None before the first words."""
        return max(self._seconds, key=lambda each: self._seconds[each], default=None)

    @property
    def probability(self) -> float | None:
        """How sure the recogniser was of the usual language, on average."""
        usual = self.usual
        return round(self._sure[usual] / self._seconds[usual], 3) if usual and usual in self._sure else None
