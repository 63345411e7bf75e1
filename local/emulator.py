"""MiniStack, which plays AWS here: how it is started and what its functions may see.

It answers every service the template uses except Batch and ECS, which `local.compute` answers, and it runs
the functions as processes with their roles' policies enforced (AUTH=true).
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
    """Start MiniStack; it answers `HEALTH` a second later.

    Args:
        port: Where it listens, on 127.0.0.1 only.
        compute_port: Where the stand-in for Batch and ECS listens; functions inherit the addresses.
        state: A folder for everything it keeps on disk.
        log: The file its output is appended to.
        extra: More environment variables, which its functions inherit too. With `HTTP_PROXY`, to put faults on the
            wire, calls to the emulator go through that proxy; the stand-in makes faults of its own.
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
        "AUTH": "true",  # a function may do what its role allows, and no more
        "IOT_MTLS_ENABLED": "0",  # would listen on a fixed port
        "AWS_ENDPOINT_URL_BATCH": compute,
        "AWS_ENDPOINT_URL_ECS": compute,
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",  # as Lambda has it: functions make their parts when imported
        "PYTHONPATH": str(_ISOLATION),
        "SWITCHYARD_RUNTIME": str(_RUNTIME),
        **(extra or {}),
    }
    if "HTTP_PROXY" in env:
        env |= dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1:{compute_port}")
    return start([_PYTHON, "-m", "mended_ministack"], env=env, cwd=state, log=log)


def isolated(module: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment that run a module of `local/isolation` as the emulator runs functions.

    The module sees the packages of the Lambda runtime and no others.
    """
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": "import",
        "SWITCHYARD_RUNTIME": str(_RUNTIME),
        "PYTHONPATH": str(_ISOLATION),
    }
    return [str(_PYTHON), "-P", str(_ISOLATION / f"{module}.py")], bare() | {"AWS_DEFAULT_REGION": REGION} | variables
