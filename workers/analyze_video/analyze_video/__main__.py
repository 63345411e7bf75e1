"""`python -m analyze_video`: one attempt of the job that the environment describes."""

import sys

from analyze_video.job import main
from switchyard_worker.run import run

sys.exit(run(main, needs=("VIDEO_ID", "S3_KEY")))
