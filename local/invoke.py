"""Runs functions in Docker by `sam local invoke` and `sam local start-api`, connected to the running local system.

SAM's containers use the Lambda base image, so this shows what the emulator can't: that layer and handlers work there.
The emulator listens on 127.0.0.1 only; containers reach it through a relay on Docker's network.
"""

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from local.environment import ROOT, VENVS, sealed
from local.processes import Process
from local.stack import LocalStack
from tools.functions import Trigger, invoked_by

_BUILD: Final = ROOT / ".aws-sam" / "build"
_REMOVAL_SECONDS: Final = 15
IMAGE: Final = "public.ecr.aws/lambda/python:3.13-x86_64"


class InvokeError(Exception):
    """The function can't run in Docker here; the message says what to do."""


def invoke(stack: LocalStack, function: str, event: Path) -> int:
    """Invoke a function of the template. Its output and response go to our own output.

    Args:
        stack: The running system, whose tables and queues the function uses.
        function: The logical id.
        event: The file with the event.

    Returns:
        SAM's exit code.

    Raises:
        InvokeError: If Docker is missing, or there is no such function.
    """
    with _local(stack, [function]) as sam:
        return subprocess.run(
            [*sam.command("invoke"), function, "--event", str(event)], cwd=ROOT, env=sam.environment, check=False
        ).returncode


@contextlib.contextmanager
def api(stack: LocalStack, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the HTTP API in Docker for a `with` block. It requires no key.

    Args:
        stack: As for `invoke`.
        port: Its port on 127.0.0.1. It answers once it has loaded the template.

    Raises:
        InvokeError: If Docker is missing.
    """
    with _local(stack, [function.logical_id for function in invoked_by(Trigger.API)]) as sam:
        command = [*sam.command("start-api"), "--host", "127.0.0.1", "--port", str(port)]
        # A session of its own, so that its children can be ended with it.
        server = subprocess.Popen(command, cwd=ROOT, env=sam.environment, start_new_session=True)
        try:
            yield server
        finally:
            server.send_signal(signal.SIGINT)  # at which SAM removes its containers
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(_REMOVAL_SECONDS)
            Process.of(server.pid).stop()


@dataclass(frozen=True)
class _Sam:
    """How to call `sam local`: with this template, in this environment."""

    template: Path
    environment: Mapping[str, str]

    def command(self, subcommand: str) -> list[str]:
        words = [str(VENVS / "sam" / "bin" / "sam"), "local", subcommand, "--template", str(self.template)]
        if _docker("image", "inspect", IMAGE).returncode == 0:
            words.append("--skip-pull-image")
        return words


@contextlib.contextmanager
def _local(stack: LocalStack, functions: Sequence[str]) -> Iterator[_Sam]:
    with _reachable(stack.emulator.port) as emulator, _reachable(stack.compute.port) as compute:
        template = _template(stack, functions, {"": emulator, "_BATCH": compute, "_ECS": compute})
        try:
            # SAM prefers a variable of its own environment to the template's: the address must be the same in both.
            yield _Sam(template, sealed(os.environ, emulator) | {"SAM_CLI_TELEMETRY": "0"})
        finally:
            template.unlink()


def require_docker() -> None:
    """Check that Docker can be used, before anything is started for it.

    Raises:
        InvokeError: If it can't.
    """
    if not shutil.which("docker"):
        raise InvokeError("`sam local` needs Docker, but there is no docker command. `make demo` needs no Docker.")
    asked = _docker("info")
    if asked.returncode:
        raise InvokeError(f"`sam local` needs Docker, but it does not answer: {asked.stderr.strip()}")


def _template(stack: LocalStack, wanted: Sequence[str], endpoints: dict[str, str]) -> Path:
    """Write a copy of the built template, beside it for its relative paths, with the functions' deployed variables."""
    template = yaml.safe_load((_BUILD / "template.yaml").read_text())
    template["Parameters"]["Local"]["Default"] = "true"  # SAM serves no route that the gateway answers by itself
    functions = {
        name: resource for name, resource in template["Resources"].items() if resource["Type"].endswith("::Function")
    }
    # SAM passes only variables that the template names, so the addresses go there too.
    addresses = {f"AWS_ENDPOINT_URL{service}": url for service, url in endpoints.items()}
    for name in wanted:
        if name not in functions:
            raise InvokeError(f"template.yaml has no function {name!r}; it has {', '.join(functions)}")
        deployed: dict[str, Any] = stack.client("lambda").get_function_configuration(FunctionName=stack.resource(name))
        functions[name]["Properties"]["Environment"] = {
            "Variables": {**deployed["Environment"]["Variables"], **addresses, "POWERTOOLS_TRACE_DISABLED": "true"}
        }
    handle, path = tempfile.mkstemp(prefix="local-", suffix=".json", dir=_BUILD)
    with os.fdopen(handle, "w") as file:
        json.dump(template, file)
    return Path(path)


@contextlib.contextmanager
def _reachable(port: int) -> Iterator[str]:
    """An address by which containers reach that port of 127.0.0.1."""
    if sys.platform != "linux":  # Docker Desktop itself forwards to the host's loopback address
        yield f"http://host.docker.internal:{port}"
        return
    asked = _docker("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}")
    if asked.returncode:
        raise InvokeError(f"Docker has no bridge network: {asked.stderr.strip()}")
    # An engine that chose the network itself names no gateway: it is the first address.
    network = json.loads(asked.stdout)[0]
    gateway = network.get("Gateway") or str(next(ipaddress.ip_network(network["Subnet"]).hosts()))
    with socket.create_server((gateway, 0)) as server:
        threading.Thread(target=_relay, args=(server, port), daemon=True).start()
        try:
            yield "http://{}:{}".format(*server.getsockname())
        finally:
            server.shutdown(socket.SHUT_RDWR)  # closing alone wouldn't wake the thread that waits for connections


def _relay(server: socket.socket, port: int) -> None:
    """Forward connections to that port of 127.0.0.1, until the server is shut down."""
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_connect, args=(server.accept()[0], port), daemon=True).start()


def _connect(inner: socket.socket, port: int) -> None:
    with inner, socket.create_connection(("127.0.0.1", port)) as outer:
        back = threading.Thread(target=_pump, args=(outer, inner), daemon=True)
        back.start()
        _pump(inner, outer)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
