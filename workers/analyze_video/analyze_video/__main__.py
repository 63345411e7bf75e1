"""`python -m analyze_video`: makes one attempt at the job that the environment describes."""

import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # scenedetect runs any `ffmpeg` on PATH when it is imported

from analyze_video.job import main  # noqa: E402 - see above

sys.exit(run(main, needs=("VIDEO_ID", "S3_KEY")))
