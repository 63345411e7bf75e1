"""`python -m detect_objects`: one attempt of the job that the environment describes."""

import logging
import sys

from detect_objects.job import main
from switchyard_worker.run import run

logging.captureWarnings(True)  # noqa: FBT003 - Pillow warns of odd metadata: into the log, which is JSON
sys.exit(run(main))
