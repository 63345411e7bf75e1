"""The embedding model for tests, made once as the layer's build makes it."""

import fcntl
import importlib.util
import sys
from functools import cache
from pathlib import Path

from local.environment import ROOT
from local.models import MODELS, fetch
from switchyard_embedding.embedder import Embedder

__all__ = ["Embedder", "embedder_of_tests", "shrink"]


def _script(path: Path) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return vars(module)


def shrink(source: Path, target: Path) -> None:
    """Run layers/embedding/shrink.py."""
    main = _script(ROOT / "layers" / "embedding" / "shrink.py")["main"]
    assert callable(main)
    main(source, target)


def folder() -> Path:
    """The folder of the model. The first use fetches and shrinks it."""
    made = MODELS / "minilm-16"
    MODELS.mkdir(parents=True, exist_ok=True)
    with (MODELS / ".minilm-16.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / ".ready").exists():
            fetch("minilm")
            shrink(MODELS / "minilm", made)
            (made / ".ready").touch()
    return made


@cache
def embedder_of_tests() -> Embedder:
    """The loaded model."""
    return Embedder(folder())
