"""Gives a function run by the emulator what AWS Lambda would: the runtime's packages and its layers, no more.

The emulator starts functions with its own interpreter, whose site-packages would hide a dependency that the
layer lacks. `local.emulator` puts this folder on the emulator's PYTHONPATH, which functions inherit, and
Python imports a module of this name before anything else. In the emulator itself, which has no
AWS_LAMBDA_FUNCTION_NAME, it does nothing.
"""

import os
import sys
from pathlib import Path

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    runtime = os.environ.pop("SWITCHYARD_RUNTIME")
    here = str(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if entry != here and "site-packages" not in entry] + [runtime]
    # What the function starts, and what it sees of its environment, is as isolated as it is itself.
    os.environ.pop("PYTHONPATH", None)
