"""What the nursery of a worker runs: `python -m WORKER`, with all its modules imported already."""

import importlib
import os
import runpy
import tempfile
from collections.abc import Mapping

from switchyard_worker import refuse_programs

_WORKER = os.environ["WORKER"]

refuse_programs()  # as the worker does, before it imports anything that looks for some
importlib.import_module(f"{_WORKER}.job")


def perform(_: Mapping[str, str]) -> int:
    """Does what the worker's process does, from its first line to `sys.exit`."""
    tempfile.tempdir = None  # not the nursery's: the job has its own TMPDIR
    runpy.run_module(_WORKER, run_name="__main__", alter_sys=True)
    return 0
