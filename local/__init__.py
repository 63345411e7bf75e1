"""The whole system on one machine: the AWS emulator, the stand-in for Batch and ECS, and commands to use them."""

import sys
from pathlib import Path

# The local commands read the layer's lists of kinds and lanes, but the layer is not an installed package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "layers" / "switchyard"))
