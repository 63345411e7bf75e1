"""Limits a function in the emulator to the packages it has on Lambda: the runtime's and its layers'.

The emulator starts functions with its own interpreter, whose site-packages would hide a dependency that the layer
lacks. `local.emulator` puts this folder on the emulator's PYTHONPATH, which functions inherit, and Python imports a
module of this name before anything else. In the emulator itself, which has no
AWS_LAMBDA_FUNCTION_NAME, it does nothing.
"""

import os
import sys
from pathlib import Path

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    runtime = os.environ.pop("SWITCHYARD_RUNTIME")
    here = str(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if entry != here and "site-packages" not in entry] + [runtime]
    # So that child processes are isolated in the same way.
    os.environ.pop("PYTHONPATH", None)
