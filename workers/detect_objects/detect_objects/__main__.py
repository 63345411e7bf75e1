"""`python -m detect_objects`: one attempt of the job that the environment describes."""

import logging
import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # it needs none

from detect_objects.job import main  # noqa: E402 - see above

logging.captureWarnings(True)  # noqa: FBT003 - Pillow warns of odd metadata: into the log, which is JSON
sys.exit(run(main))
