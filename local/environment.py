"""Paths, and the environment of every process of the local system.

The user's own `AWS_*` variables and profiles never reach these processes: otherwise one forgotten `AWS_PROFILE` would
send a demo's upload to a real account. Every AWS client gets the emulator's address and test credentials.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VENVS: Final = ROOT / ".venvs"
STATE: Final = ROOT / ".local"

REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"

_LOOPBACK = "127.0.0.1,localhost"
_AWS: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def sealed(environ: Mapping[str, str], endpoint: str | None = None) -> dict[str, str]:
    """The user's environment with every `AWS_*` variable replaced by the emulator's.

    Args:
        environ: Usually `os.environ`. Its proxies, certificates and pip settings are kept, because `sam build` needs
            them.
        endpoint: The emulator's address. The default is a port that nothing listens on, so that calls fail rather than
            reach AWS.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    return kept | credentials(endpoint or "http://127.0.0.1:9") | _no_proxy()


def bare(endpoint: str | None = None) -> dict[str, str]:
    """A minimal environment for the emulator and the workers, without the user's variables."""
    basics = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    aws = credentials(endpoint) if endpoint else {}
    return {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **basics, **aws, **_no_proxy()}


def credentials(endpoint: str) -> dict[str, str]:
    """The `AWS_*` variables that point to the emulator at this address."""
    return {**_AWS, "AWS_ENDPOINT_URL": endpoint}


def shown(path: Path) -> str:
    """A path for display: relative to the project if it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def seal_this_process() -> None:
    """Remove the user's `AWS_*` variables from this process, for its own boto3 clients."""
    environ = sealed(os.environ)
    os.environ.clear()
    os.environ.update(environ)


def _no_proxy() -> dict[str, str]:
    """A company's proxy can't reach this machine's loopback address."""
    return {"NO_PROXY": _LOOPBACK, "no_proxy": _LOOPBACK}
