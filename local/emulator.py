"""Starts MiniStack, the AWS emulator, and defines the environment of its functions.

MiniStack emulates every service that the template uses except Batch and ECS, which `local.compute` emulates. It runs
functions as processes and enforces their roles' policies (AUTH=true).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from local.environment import REGION, ROOT, VENVS, bare
from local.processes import Process, start

HEALTH: Final = "/_ministack/health"

_PYTHON: Final = VENVS / "emulator" / "bin" / "python"
_RUNTIME: Final = VENVS / "runtime"
_ISOLATION: Final = ROOT / "local" / "isolation"


def start_emulator(
    *, port: int, compute_port: int, state: Path, log: Path, extra: Mapping[str, str] | None = None
) -> Process:
    """Start MiniStack; it answers at `HEALTH` about a second later.

    Args:
        port: Its port on 127.0.0.1.
        compute_port: The port of the stand-in for Batch and ECS; functions inherit its address.
        state: The folder for its files.
        log: The file its output is appended to.
        extra: More environment variables, which functions inherit. With `HTTP_PROXY`, functions call the emulator
            through that proxy, which lets tests inject faults; the stand-in injects its own.
    """
    temporary = state / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    compute = f"http://127.0.0.1:{compute_port}"
    env = bare() | {
        "HOME": str(state),
        "TMPDIR": str(temporary),
        "STATE_DIR": str(state / "state"),
        "S3_DATA_DIR": str(state / "s3"),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",  # its default is every interface
        "AUTH": "true",  # enforces the functions' roles
        "IOT_MTLS_ENABLED": "0",  # would listen on a fixed port
        "AWS_ENDPOINT_URL_BATCH": compute,
        "AWS_ENDPOINT_URL_ECS": compute,
        "AWS_ENDPOINT_URL_S3VECTORS": compute,
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",  # as on Lambda: functions build their wiring at init
        "PYTHONPATH": str(_ISOLATION),
        "SWITCHYARD_RUNTIME": str(_RUNTIME),
        **(extra or {}),
    }
    if "HTTP_PROXY" in env:
        env |= dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1:{compute_port}")
    return start([_PYTHON, "-m", "mended_ministack"], env=env, cwd=state, log=log)


def isolated(module: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment to run a module of `local/isolation` as the emulator runs functions.

    The module sees the Lambda runtime's packages and no others.
    """
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": "import",
        "SWITCHYARD_RUNTIME": str(_RUNTIME),
        "PYTHONPATH": str(_ISOLATION),
    }
    return [str(_PYTHON), "-P", str(_ISOLATION / f"{module}.py")], bare() | {"AWS_DEFAULT_REGION": REGION} | variables
