"""The process that stands for a job's container: `python -I -S worker.py SOCKET`.

It hands its environment and its output to the nursery, which forks a process that does the job; it passes SIGTERM on
to that one, and exits as it does. So a job costs no start of an interpreter that imports boto3. Standard library only.
"""

import os
import signal
import socket
import sys

KILLED = 128 + signal.SIGKILL


def main(path: str) -> int:
    """Have the job done; its exit code, or that of a killed process if it was."""
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
