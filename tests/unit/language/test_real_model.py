"""A real service with OpenAI's API: llama.cpp with a model of 270 million parameters, which nobody here wrote.

The model is too small to answer well. What holds is that the service understands what it is asked, in the first
dialect, and that whatever it writes is either usable or replaced.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from analyze_video import minute_taker
from analyze_video.minute_taker import MinuteTaker
from local.environment import VENVS
from switchyard.language.citing import cited, parsed, passages
from switchyard.language.models import OpenAiModel, prompt
from tests.unit.workers.talks import KITCHEN
from tests.unit.workers.test_minutes import covers, talk

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
ENVIRONMENT: Final = VENVS / "language_model"
PATIENCE: Final = 300.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not (ENVIRONMENT / ".ready").exists():
        pytest.skip("the model's environment isn't set up (make .venvs/language_model/.ready, 350 MB)")
    address = tmp_path_factory.mktemp("llama") / "address"
    command: list[str | Path] = [ENVIRONMENT / "bin" / "python", Path(__file__).with_name("llama.py"), address]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        until = time.monotonic() + 120
        while not (address.exists() and address.read_text()):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server doesn't listen"
            time.sleep(0.2)
        yield address.read_text()
        server.communicate()


def test_it_understands_a_question_and_keeps_to_the_shape_of_an_answer(url: str) -> None:
    model = OpenAiModel(url, "gemma", str)
    asked, found = passages({0: {"text": "How long?"}}), passages({1: {"text": "Ten minutes."}})
    data = f"<question>\n{asked}\n</question>\n<passages>\n{found}\n</passages>"
    answer = parsed(model.ask(prompt("answer", 80), data, seconds=PATIENCE))
    assert answer is None or isinstance(answer["sentences"], list), "a JSON schema isn't kept to"
    sentences = cited((answer or {}).get("sentences"), {1: "Ten minutes."}, 5)
    assert all(each.cites == (1,) for each in sentences)
    assert model._dialect == 0


def test_minutes_hold_whatever_it_writes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minute_taker, "_TOKENS", 150)
    monkeypatch.setattr(minute_taker, "_SECONDS", PATIENCE)
    of = talk(KITCHEN[:1])
    taker = MinuteTaker(OpenAiModel(url, "gemma", str), None, lambda _share: None)
    minutes, is_written = taker.take(of)
    covers(minutes, of)
    assert minutes.summary
    assert is_written or taker.fallbacks == [{"part": 1, "code": "UNUSABLE"}]


def test_it_hears_nothing(url: str) -> None:
    """So the backend `openai` of speech can't be tried on it."""
    answer = httpx.post(
        f"{url}/audio/transcriptions", files={"file": b"RIFF"}, data={"model": "gemma"}, timeout=PATIENCE
    )
    assert answer.status_code >= 400
