"""Forks jobs' processes: `python -m tests.nursery SOCKET MODULE:FUNCTION`.

It imports a worker's modules once. Each connection (see `worker`) becomes a process with the environment and output of
its caller. If the caller dies, the process ends too, like a container's processes.
"""

import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import boto3

type Perform = Callable[[Mapping[str, str]], int]
"""Does one job in this process's environment and returns its exit code. SystemExit is a crash with that code."""


def main(path: Path, perform: Perform) -> None:
    """Serves until killed."""
    for service in ("dynamodb", "s3"):
        boto3.client(service)  # reads the service models once, instead of in each job
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped automatically
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(256)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _be_a_job(connection, perform)
            connection.close()


def _be_a_job(connection: socket.socket, perform: Perform) -> None:
    """Does one job in this process and ends the process."""
    code = 1
    with contextlib.suppress(ConnectionError):
        size, output, _, _ = socket.recv_fds(connection, 4, 2)
        for number, descriptor in enumerate(output, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        given = _receive(connection, int.from_bytes(size))
        os.environb.clear()
        os.environb.update(dict(pair.split(b"=", 1) for pair in given.split(b"\0")))
        connection.sendall(b"%d\n" % os.getpid())
        threading.Thread(target=_die_with, args=(connection,), daemon=True).start()
        try:
            code = perform(os.environ)
        except SystemExit as crash:
            code = int(crash.code or 0)
        sys.stdout.flush()
        connection.sendall(b"%d\n" % code)
    os._exit(code)


def _receive(connection: socket.socket, size: int) -> bytes:
    whole = b""
    while len(whole) < size:
        part = connection.recv(size - len(whole))
        if not part:
            raise ConnectionError
        whole += part
    return whole


def _die_with(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.recv(1)  # nothing is ever sent, so this returns when the caller ends
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    module, _, name = sys.argv[2].partition(":")
    main(Path(sys.argv[1]), getattr(importlib.import_module(module), name))
