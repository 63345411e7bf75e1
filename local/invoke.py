"""One function in Docker by `sam local invoke`, with the running local system around it.

SAM's container is made from the Lambda base image, so this shows what the emulator can't: that layer and handler work
there. It reaches the emulator by a relay on Docker's own network, since the emulator listens on 127.0.0.1 only.
"""

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from local.environment import ROOT, VENVS, sealed
from local.stack import LocalStack

_BUILD: Final = ROOT / ".aws-sam" / "build"
IMAGE: Final = "public.ecr.aws/lambda/python:3.13-x86_64"


class InvokeError(Exception):
    """The function can't be invoked here; the message says what to do."""


def invoke(stack: LocalStack, function: str, event: Path) -> int:
    """Invoke a function of the template; what it prints and answers goes to our own output.

    Args:
        stack: Must be running: the function works on its tables and queues.
        function: The logical id.
        event: A file holding the event.

    Returns:
        SAM's exit code.

    Raises:
        InvokeError: If Docker is missing, or there is no such function.
    """
    with _reachable(stack.emulator.port) as emulator, _reachable(stack.compute.port) as compute:
        template = _template(stack, function, {"": emulator, "_BATCH": compute, "_ECS": compute})
        sam = str(VENVS / "sam" / "bin" / "sam")
        command = [sam, "local", "invoke", function, "--event", str(event), "--template", str(template)]
        if _docker("image", "inspect", IMAGE).returncode == 0:
            command.append("--skip-pull-image")
        try:
            # SAM prefers a variable of its own environment to the template's: the address must be the same in both.
            env = sealed(os.environ, emulator) | {"SAM_CLI_TELEMETRY": "0"}
            return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        finally:
            template.unlink()


def require_docker() -> None:
    """See that Docker can be used, before anything is started for it.

    Raises:
        InvokeError: If it can't.
    """
    if not shutil.which("docker"):
        raise InvokeError("`sam local invoke` needs Docker, and there is no docker command; `make demo` needs none")
    asked = _docker("info")
    if asked.returncode:
        raise InvokeError(f"`sam local invoke` needs Docker, which doesn't answer: {asked.stderr.strip()}")


def _template(stack: LocalStack, function: str, endpoints: dict[str, str]) -> Path:
    """The built template with the function's variables as deployed; beside the built one, as its paths are relative."""
    template = yaml.safe_load((_BUILD / "template.yaml").read_text())
    functions = {
        name: resource for name, resource in template["Resources"].items() if resource["Type"].endswith("::Function")
    }
    if function not in functions:
        raise InvokeError(f"there is no function {function!r} in template.yaml; there are {', '.join(functions)}")
    deployed: dict[str, Any] = stack.client("lambda").get_function_configuration(FunctionName=stack.resource(function))
    # SAM passes on only the variables that the template names, so the addresses go there too.
    addresses = {f"AWS_ENDPOINT_URL{service}": url for service, url in endpoints.items()}
    functions[function]["Properties"]["Environment"] = {
        "Variables": {**deployed["Environment"]["Variables"], **addresses, "POWERTOOLS_TRACE_DISABLED": "true"}
    }
    path = _BUILD / "invoke.json"
    path.write_text(json.dumps(template))
    return path


@contextlib.contextmanager
def _reachable(port: int) -> Iterator[str]:
    """An address at which containers reach that port of 127.0.0.1."""
    if sys.platform != "linux":  # Docker Desktop takes containers to the host's loopback address itself
        yield f"http://host.docker.internal:{port}"
        return
    asked = _docker("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}")
    if asked.returncode:
        raise InvokeError(f"Docker has no bridge network: {asked.stderr.strip()}")
    # An engine that chose the network itself names no gateway; it is then the first address.
    network = json.loads(asked.stdout)[0]
    gateway = network.get("Gateway") or str(next(ipaddress.ip_network(network["Subnet"]).hosts()))
    with socket.create_server((gateway, 0)) as server:
        threading.Thread(target=_relay, args=(server, port), daemon=True).start()
        try:
            yield "http://{}:{}".format(*server.getsockname())
        finally:
            server.shutdown(socket.SHUT_RDWR)  # closing alone wouldn't wake the thread that waits for connections


def _relay(server: socket.socket, port: int) -> None:
    """Connect whoever connects to that port of 127.0.0.1, until the server is shut down."""
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
