"""`python -m detect_objects`: makes one attempt at the job that the environment describes."""

import logging
import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # this worker needs none

from detect_objects.job import main  # noqa: E402 - see above

logging.captureWarnings(True)  # noqa: FBT003 - Pillow's warnings of odd metadata go to the JSON log
sys.exit(run(main))
