"""The process in place of a job's container: `python -I -S worker.py SOCKET`.

It passes its environment and output to the nursery, which forks a process that does the job. It forwards SIGTERM to
that process and exits with its exit code. A job therefore never waits for boto3's import. Standard library only.
"""

import os
import signal
import socket
import sys

KILLED = 128 + signal.SIGKILL


def main(path: str) -> int:
    """Runs the job and returns its exit code, also if a signal killed it."""
    with socket.socket(socket.AF_UNIX) as nursery:
        nursery.connect(path)
        given = b"\0".join(name + b"=" + value for name, value in os.environb.items())
        socket.send_fds(nursery, [len(given).to_bytes(4)], [1, 2])
        nursery.sendall(given)
        answers = nursery.makefile("rb")
        child = int(answers.readline() or 0)
        if child:
            signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        try:
            return int(answers.readline() or KILLED)
        except ConnectionResetError:
            return KILLED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
