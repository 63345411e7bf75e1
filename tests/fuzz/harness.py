"""What a parser is held to, whoever makes the inputs up: bytes in, and it keeps its promises or there is a finding.

A check gives the bytes to one parser. It returns where the parser has read them and what it made of them is as it
should be, or where it has refused them in the one way that its docstring names. Whatever else comes out of it is a
finding: a failed assertion, any other exception, or more work than is due.

Work is counted in operations of the project's own code (calls, and turns of loops), never in seconds. What the
interpreter's own code does with the bytes (`json`, `re`, expat) isn't counted.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Final, cast

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(__file__).with_name("corpus")
"""A folder a harness, a file an input."""
LONGEST: Final = 4096
"""Bytes of an input."""

_OURS: Final = tuple(f"{ROOT / name}/" for name in ("layers", "functions", "tools", "workers"))
_TOOL: Final = 4
"""Of sys.monitoring's six; debuggers, coverage and profilers have others by name."""


class TooMuchWork(BaseException):
    """The bound is passed. Not an Exception, which the code under test may well catch."""


@dataclass(frozen=True, slots=True)
class Harness:
    """One parser.

    Attributes:
        name: also the folder's in the corpus.
        place: the module, beside this one, whose function of the harness's name is the check.
        words: what inputs of this kind are made of, for whoever makes them up.
        work: operations that an input may take.
        venv: the environment that has what the parser imports: `dev`, or a worker's.
    """

    name: str
    place: str
    words: tuple[str, ...] = ()
    work: int = 100_000
    venv: str = "dev"

    @property
    def seeds(self) -> list[Path]:
        """The inputs of the corpus, in the order of their names."""
        return sorted(path for path in (CORPUS / self.name).iterdir() if path.is_file())

    def run(self, data: bytes) -> None:
        """Give the bytes to the parser. Within `counting`, too much work is a finding as well."""
        _work.left = self.work
        try:
            _check(self.place, self.name)(data)
        except TooMuchWork:
            raise AssertionError(f"more than {self.work:,} operations for {len(data):,} bytes") from None
        finally:
            _work.left = None


@cache
def _check(place: str, name: str) -> Callable[[bytes], None]:
    return cast("Callable[[bytes], None]", getattr(import_module(f"tests.fuzz.{place}"), name))


def reach_workers() -> None:
    """Have the layer and the workers imported from where they are, as pytest's settings do."""
    workers = sorted(path for path in (ROOT / "workers").iterdir() if path.is_dir())
    sys.path[:0] = [str(path) for path in (ROOT / "layers" / "switchyard", *workers)]


def text(data: bytes) -> str:
    """Bytes as text: UTF-8, in which half of a surrogate pair may stand by itself, as JSON's escapes make it."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# ---- work ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Work:
    """The operations that are left to the input under way; None between inputs."""

    left: int | None = None

    def count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise TooMuchWork


_work = _Work()


@contextmanager
def counting() -> Iterator[None]:
    """Count the operations of whatever runs meanwhile."""
    monitoring = sys.monitoring
    events = monitoring.events.PY_START | monitoring.events.JUMP
    monitoring.use_tool_id(_TOOL, "fuzz")
    monitoring.register_callback(_TOOL, monitoring.events.PY_START, _on_start)
    monitoring.register_callback(_TOOL, monitoring.events.JUMP, _on_jump)
    monitoring.restart_events()
    monitoring.set_events(_TOOL, events)
    try:
        yield
    finally:
        monitoring.set_events(_TOOL, 0)
        monitoring.free_tool_id(_TOOL)


def _on_start(code: CodeType, _at: int) -> object:
    if not code.co_filename.startswith(_OURS):
        return sys.monitoring.DISABLE
    _work.count()
    return None


def _on_jump(code: CodeType, at: int, to: int) -> object:
    if to > at or not code.co_filename.startswith(_OURS):  # forward, it is no loop
        return sys.monitoring.DISABLE
    _work.count()
    return None
