"""Prevents a worker's process from starting other programs."""

import errno
import os
import sys

_STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"})
"""Audit events that the standard library raises before it starts a program."""


def refuse_programs() -> None:
    """Prevent this process from starting programs: each attempt raises FileNotFoundError, as if none were installed.

    Libraries run whatever program on PATH has the name they look for, some of them at import. Call this before
    importing them. It can't be undone.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _STARTS:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(arguments[0]))
