"""Language models: any service with OpenAI's `POST /chat/completions`, and Amazon Bedrock's Converse."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.errors import SwitchyardError
from switchyard.outside.sites import Answer, NoAnswer, Patience, Site, is_passing

BACKENDS: Final = ("openai", "bedrock")
"""The values of `SummaryBackend` with a model behind them."""
MOST_BYTES: Final = 1 << 20
"""Of an answer."""
_THROTTLES = frozenset({"ThrottlingException", "ServiceQuotaExceededException", "TooManyRequestsException"})
_PASSING = frozenset({"ModelTimeoutException", "ModelErrorException", "ModelNotReadyException"})


class ModelFailed(SwitchyardError):
    """The model gave no answer. `code` says why: `THROTTLED`, `UNAVAILABLE`, `REFUSED` or `UNUSABLE`.

    The text holds nothing that the service said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_lasting(self) -> bool:
        """Whether the next question would fail as well: a wrong key, or a service that is down."""
        return self.code != "UNUSABLE"


class Model(Protocol):
    """Writes a text. Answers may differ from call to call."""

    def ask(self, prompt: Prompt, data: str, *, seconds: float) -> str:
        """The model's answer.

        Args:
            prompt: what to do, and the shape of the answer.
            data: what to do it with. It goes into another message than the prompt.
            seconds: how long one attempt may take.

        Raises:
            ModelFailed: there is no answer.
        """


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to do, from a file, and the JSON schema of the answer. `tokens` is the longest answer."""

    text: str
    schema: Mapping[str, Any]
    tokens: int


def prompt(name: str, tokens: int) -> Prompt:
    """The prompt in the files `prompts/<name>.txt` and `.json`."""
    folder = files(__package__) / "prompts"
    schema = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return Prompt((folder / f"{name}.txt").read_text("utf-8"), schema, tokens)


class OpenAiModel:
    """A model of a service with OpenAI's API.

    Args:
        url: the service's base URL, without `/chat/completions`.
        name: the model's.
        key: reads the API key; empty if it needs none.
        reject: called when the service rejects the key.
        attempts: how often to ask before giving up. Waits between attempts double, or are as long as the service asks.

    Raises:
        ValueError: the URL is neither https nor on this machine.
    """

    def __init__(
        self,
        url: str,
        name: str,
        key: Callable[[], str],
        *,
        reject: Callable[[], None] = lambda: None,
        attempts: int = 1,
    ) -> None:
        self._site = Site(url, most_bytes=MOST_BYTES)
        self._name = name
        self._key = key
        self._reject = reject
        self._patience = Patience(attempts)
        self._dialect = 0

    def ask(self, prompt: Prompt, data: str, *, seconds: float) -> str:
        """See `Model`."""
        answer = self._patience.send(lambda: self._answer(prompt, data, time.monotonic() + seconds))
        if answer is None:
            raise ModelFailed("UNAVAILABLE", "the model's service gave no complete answer in time")
        match answer.status:
            case HTTPStatus.OK:
                return _content(answer.body)
            case HTTPStatus.TOO_MANY_REQUESTS:
                raise ModelFailed("THROTTLED", "the model's service throttled the request")
            case status if is_passing(answer):
                raise ModelFailed("UNAVAILABLE", f"the model's service failed (HTTP {status})")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                self._reject()
        raise ModelFailed("REFUSED", f"the model's service refused the request (HTTP {answer.status})")

    def _answer(self, prompt: Prompt, data: str, deadline: float) -> Answer:
        """The response in the dialect that the service understands.

        Raises:
            NoAnswer: there is none in time.
        """
        answer = self._post(prompt, data, deadline)
        for _ in _DIALECTS[1:]:
            if answer.status != HTTPStatus.BAD_REQUEST:
                break
            self._dialect = (self._dialect + 1) % len(_DIALECTS)
            answer = self._post(prompt, data, deadline)
        return answer

    def _post(self, prompt: Prompt, data: str, deadline: float) -> Answer:
        if (seconds := deadline - time.monotonic()) <= 0:
            raise NoAnswer("the response took too long")
        body = {
            "model": self._name,
            "messages": [{"role": "system", "content": prompt.text}, {"role": "user", "content": data}],
            **_DIALECTS[self._dialect](prompt),
        }
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        return self._site.post("/chat/completions", json.dumps(body), headers, seconds=seconds)


_DIALECTS: Final[tuple[Callable[[Prompt], dict[str, Any]], ...]] = (
    lambda prompt: {"temperature": 0, "max_completion_tokens": prompt.tokens, "response_format": _format(prompt)},
    # Models that reason take no temperature.
    lambda prompt: {"max_completion_tokens": prompt.tokens, "response_format": _format(prompt)},
    # Older servers.
    lambda prompt: {"temperature": 0, "max_tokens": prompt.tokens},
)
"""What a request has besides model and messages. A service that answers 400 to one is asked in the next."""


def _format(prompt: Prompt) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": prompt.schema}}


class BedrockModel:
    """A model on Amazon Bedrock.

    Args:
        client: boto3's `bedrock-runtime`. Its own configuration says how long a call may take and how often it is made.
        name: the id of a model or of an inference profile.
    """

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - its stubs are not installed
        self._client = client
        self._name = name

    def ask(self, prompt: Prompt, data: str, *, seconds: float) -> str:  # noqa: ARG002 - the client's to say
        """See `Model`."""
        with _translated():
            answer = self._client.converse(
                modelId=self._name,
                system=[{"text": prompt.text}],
                messages=[{"role": "user", "content": [{"text": data}]}],
                inferenceConfig={"maxTokens": prompt.tokens, "temperature": 0},
            )
        match answer:
            case {"output": {"message": {"content": [*parts]}}}:
                text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
                if 0 < len(text) <= MOST_BYTES:
                    return text
        raise ModelFailed("UNUSABLE", "the model's answer has no text")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _THROTTLES:
            raise ModelFailed("THROTTLED", "Bedrock throttled the request") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ModelFailed("UNAVAILABLE", f"Bedrock failed ({code})") from error
        raise ModelFailed("REFUSED", f"Bedrock refused the request ({code})") from error
    except BotoCoreError as error:
        raise ModelFailed("UNAVAILABLE", f"Bedrock gave no answer ({type(error).__name__})") from error


def _content(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    match answer:
        case {"choices": [{"message": {"content": str(text)}}, *_]} if text.strip():
            return text
    raise ModelFailed("UNUSABLE", "the service's answer isn't the documented JSON")
