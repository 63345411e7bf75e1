"""The worker's own settings, from the job definition's environment. README.md lists them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from switchyard_worker import PermanentFailure

BACKENDS = ("whisper", "transcribe", "openai", "none")
WRITERS = ("extractive", "openai", "bedrock", "none")
INDEXES = ("s3vectors", "pinecone", "none")
_SERVICE = re.compile(r"https://[^\s@?#]+|http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?(?:/[^\s@?#]*)?")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,9}")


@dataclass(frozen=True)
class SpeechSettings:
    """How the stage `speech` recognises words.

    Attributes:
        backend: one of `BACKENDS`.
        model: for `whisper` a directory, an S3 URI or a name under the models' folder; for `openai` the model's name.
        language: the only language spoken, as in ISO 639; empty to detect it.
        prompt: words that the recogniser should know how to spell, such as names.
        url: the base URL of the OpenAI-compatible service, without `/audio/transcriptions`.
        key: the service's API key; empty if it needs none.
    """

    backend: str
    model: str
    language: str
    prompt: str
    url: str
    key: str


@dataclass(frozen=True)
class SummarySettings:
    """What the stage `summary` writes by.

    Attributes:
        backend: one of `WRITERS`.
        url: for `openai` the base URL of the service, without `/chat/completions`.
        model: the name or id of the model; empty for `extractive`.
        key: the service's API key; empty if it needs none.
    """

    backend: str
    url: str
    model: str
    key: str


@dataclass(frozen=True)
class IndexSettings:
    """Where the stage `index` writes, and for whom.

    Attributes:
        kind_of_index: one of `INDEXES`.
        arn: with `s3vectors`, the ARN of the index.
        host: with `pinecone`, the index's host.
        namespace: with `pinecone`, the namespace in it.
        key: with `pinecone`, the API key.
        owner: the user whose job it is, as the job's request names them; None for nobody. `WorkerEnvironment.owner`
            lacks those that no key can name, but the platform erases their chunks by this name.
        kind: the job's kind.
    """

    kind_of_index: str
    arn: str
    host: str
    namespace: str
    key: str
    owner: str | None
    kind: str


@dataclass(frozen=True)
class Settings:
    """The worker's settings.

    Attributes:
        key_frames: maximum number of key frames.
        free_gigapixels: what any file may unpack to.
        max_seconds: the attempt's time limit in the job definition.
        stages: names of the stages to run; empty for all.
        models: the folder of the models (models.toml).
        known_voices: whether speakers whose voices are known get their names.
    """

    key_frames: int
    free_gigapixels: int
    max_seconds: int
    stages: tuple[str, ...]
    models: Path
    known_voices: bool
    speech: SpeechSettings
    summary: SummarySettings
    index: IndexSettings

    @classmethod
    def from_env(cls, variables: Mapping[str, str] | None = None) -> Self:
        """Read the variables. An empty variable counts as missing.

        Args:
            variables: used instead of `os.environ`.

        Raises:
            PermanentFailure: a variable is invalid.
        """
        given = os.environ if variables is None else variables
        return cls(
            key_frames=_number(given, "MAX_KEY_FRAMES", 200, 10_000),
            free_gigapixels=_number(given, "FREE_GIGAPIXELS", 400, 1_000_000),
            max_seconds=_number(given, "MAX_SECONDS", 14_400, 2_592_000),
            stages=_stages(given),
            models=Path(given.get("MODELS") or "/opt/models"),
            known_voices=_switch(given, "KNOWN_VOICES"),
            speech=_speech(given),
            summary=_summary(given),
            index=_index(given),
        )


def bad(message: str) -> PermanentFailure:
    """The error for an invalid setting."""
    return PermanentFailure("BAD_ENVIRONMENT", message)


def _stages(given: Mapping[str, str]) -> tuple[str, ...]:
    """The deployment's stages, or those of them that the job's request chose, and `scenes`, which every video needs."""
    allowed, asked = (
        tuple(name.strip() for name in given.get(variable, "").split(",") if name.strip())
        for variable in ("ANALYSIS_STAGES", "STAGES")
    )
    if not asked:
        return allowed
    return tuple(name for name in dict.fromkeys(("scenes", *asked)) if not allowed or name in allowed)


def _number(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise bad(f"{name} is {text[:40]!r}: it must be 1 to {most}")
    return int(text)


def _switch(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name) or "false"
    if text not in {"true", "false"}:
        raise bad(f"{name} is {text[:40]!r}: it must be true or false")
    return text == "true"


def _speech(given: Mapping[str, str]) -> SpeechSettings:
    backend = given.get("SPEECH_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise bad(f"SPEECH_BACKEND is {backend[:40]!r}: it must be one of {', '.join(BACKENDS)}")
    language = given.get("SPEECH_LANGUAGE", "")
    if language and not _LANGUAGE.fullmatch(language):
        raise bad(f"SPEECH_LANGUAGE is {language[:40]!r}: it must be a code of two or three letters, such as en")
    url = given.get("SPEECH_URL", "").rstrip("/")
    if backend == "openai" and not _SERVICE.fullmatch(url):
        raise bad("SPEECH_URL must be the service's base URL, such as https://host/v1, if SPEECH_BACKEND is openai")
    return SpeechSettings(
        backend=backend,
        model=given.get("SPEECH_MODEL") or {"whisper": "whisper-base", "openai": "whisper-1"}.get(backend, ""),
        language=language,
        prompt=given.get("SPEECH_PROMPT", ""),
        url=url,
        key=given.get("SPEECH_KEY", ""),
    )


def _summary(given: Mapping[str, str]) -> SummarySettings:
    backend, model = given.get("SUMMARY_BACKEND") or WRITERS[0], given.get("SUMMARY_MODEL", "")
    if backend not in WRITERS:
        raise bad(f"SUMMARY_BACKEND is {backend[:40]!r}: it must be one of {', '.join(WRITERS)}")
    if backend in {"openai", "bedrock"} and not model:
        raise bad(f"SUMMARY_MODEL is missing, which SUMMARY_BACKEND={backend} needs")
    url = given.get("SUMMARY_URL", "").rstrip("/")
    if backend == "openai" and not _SERVICE.fullmatch(url):
        raise bad("SUMMARY_URL must be the service's base URL, such as https://host/v1, if SUMMARY_BACKEND is openai")
    return SummarySettings(backend, url, model, given.get("SUMMARY_KEY", ""))


def _index(given: Mapping[str, str]) -> IndexSettings:
    index, arn = given.get("SEARCH_INDEX") or "none", given.get("SEARCH_INDEX_ARN", "")
    if index not in INDEXES:
        raise bad(f"SEARCH_INDEX is {index[:40]!r}: it must be one of {', '.join(INDEXES)}")
    if index == "s3vectors" and not arn:
        raise bad("SEARCH_INDEX_ARN is missing, which SEARCH_INDEX=s3vectors needs")
    host, key = given.get("SEARCH_INDEX_HOST", ""), given.get("SEARCH_INDEX_KEY", "")
    if index == "pinecone" and not (_HOST.fullmatch(host) and key):
        raise bad("SEARCH_INDEX=pinecone needs SEARCH_INDEX_HOST, a host name, and the secret SEARCH_INDEX_KEY")
    return IndexSettings(
        kind_of_index=index,
        arn=arn,
        host=host,
        namespace=given.get("SEARCH_INDEX_NAMESPACE") or "switchyard",
        key=key,
        owner=given.get("OWNER") or None,
        kind=given.get("KIND") or "video-analysis",
    )
