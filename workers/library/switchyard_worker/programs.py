"""Keeps a worker's process from starting other programs."""

import errno
import os
import sys

_STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"})
"""The audit events of the standard library that come before a program starts."""


def refuse_programs() -> None:
    """From now on, this process can't start a program: each try raises FileNotFoundError, as if it weren't installed.

    Libraries look for programs by name and run whatever has that name on PATH, some while they are imported. Call this
    before importing them. It can't be undone.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _STARTS:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(arguments[0]))
