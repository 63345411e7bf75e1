"""`python -m record_stream`: one attempt of the job that the environment describes."""

import sys

from record_stream.job import main
from switchyard_worker.run import run

sys.exit(run(main, results="recordings"))
