"""What a speech recogniser is, and which one hears a video: `SPEECH_BACKEND`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from analyze_video.transcript import Word

if TYPE_CHECKING:
    from analyze_video.utterances import Utterance


@dataclass(frozen=True)
class Sentence:
    """Some of an utterance's words, in seconds from the beginning of the video."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Heard:
    """What a recogniser has understood of an utterance.

    Attributes:
        language: as in ISO 639; None if it doesn't say.
        probability: of the language, 0 to 1; None if it doesn't say.
        sentences: in order; none if there are no words.
    """

    language: str | None
    probability: float | None
    sentences: tuple[Sentence, ...]


class Recogniser(Protocol):
    """Hears utterances. Several threads may call `hear` at a time, as many as `threads`."""

    @property
    def threads(self) -> int:
        """How many threads may call `hear`."""

    def hear(self, utterance: "Utterance", likely: str | None) -> Heard:
        """Recognise the words of an utterance.

        Args:
            utterance: what is said.
            likely: the language of most of the video so far: the one to assume in case of doubt.

        Raises:
            StageFailed: the recogniser doesn't work, or not any more.
        """
