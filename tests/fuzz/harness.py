"""Runs one parser on bytes from any source, and reports a finding if it breaks its promises.

A check passes the bytes to one parser. It returns if the parser's result is valid, or if the parser refused the bytes
in the way that the check's docstring names. Everything else is a finding: a failed assertion, any other exception, or
too much work.

Work is counted in operations of the project's own code (calls and loop iterations), never in seconds. The interpreter's
own code (`json`, `re`, expat) isn't counted.
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
"""The corpus: a folder per harness, a file per input."""
LONGEST: Final = 4096
"""The longest input in bytes."""

_OURS: Final = tuple(f"{ROOT / name}/" for name in ("layers", "functions", "tools", "workers"))
_TOOL: Final = 4
"""One of sys.monitoring's six tool ids; debuggers, coverage and profilers have their own."""


class TooMuchWork(BaseException):
    """An input took too many operations. Not an Exception, because the code under test might catch that."""


@dataclass(frozen=True, slots=True)
class Harness:
    """One parser.

    Attributes:
        name: the harness's name, also of its folder in the corpus.
        place: the module of this package whose function with the harness's name is the check.
        words: parts of typical inputs, for mutation.
        work: the operations an input may take.
        venv: the environment with the parser's imports: `dev`, or a worker's.
    """

    name: str
    place: str
    words: tuple[str, ...] = ()
    work: int = 100_000
    venv: str = "dev"

    @property
    def seeds(self) -> list[Path]:
        """Returns the corpus's inputs, in order of their names."""
        return sorted(path for path in (CORPUS / self.name).iterdir() if path.is_file())

    def run(self, data: bytes) -> None:
        """Passes the bytes to the check. Within `counting`, too much work is also a finding."""
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
    """Makes the layer and the workers importable from the source tree, as pytest's settings do."""
    workers = sorted(path for path in (ROOT / "workers").iterdir() if path.is_dir())
    sys.path[:0] = [str(path) for path in (ROOT / "client", ROOT / "layers" / "switchyard", *workers)]


def text(data: bytes) -> str:
    """Decodes bytes as UTF-8 with lone surrogates, which JSON's escapes can produce."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# ---- work ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Work:
    """The operations left for the current input; None between inputs."""

    left: int | None = None

    def count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise TooMuchWork


_work = _Work()


@contextmanager
def counting() -> Iterator[None]:
    """Counts operations while the block runs."""
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
    if to > at or not code.co_filename.startswith(_OURS):  # a forward jump is no loop
        return sys.monitoring.DISABLE
    _work.count()
    return None
