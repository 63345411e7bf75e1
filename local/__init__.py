"""The whole system on one machine: the AWS emulator, the stand-in for Batch and ECS, and commands to use them."""

import sys
from pathlib import Path

# The layer lists kinds and lanes. It is no installed package, and `python -m local` should run as it stands.
sys.path.append(str(Path(__file__).resolve().parents[1] / "layers" / "switchyard"))
