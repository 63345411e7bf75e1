"""The models of workers/analyze_video/models.toml, for benches and tests. `make models` fetches those of a worker."""

import subprocess
from typing import Final

from local.environment import ROOT, VENVS

MODELS: Final = VENVS / "models"


class ModelError(Exception):
    """A model can't be fetched; the message says why."""


def fetch(*names: str) -> None:
    """Fetch the models that aren't there yet into `MODELS`.

    Raises:
        ModelError: one can't be fetched.
    """
    script = ROOT / "workers" / "analyze_video" / "fetch_models.py"
    python = VENVS / "uv" / "bin" / "python"  # the only environment with pip
    done = subprocess.run([python, script, "--into", MODELS, *names], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ModelError((done.stderr.strip() or f"{script.name} failed").splitlines()[-1])
