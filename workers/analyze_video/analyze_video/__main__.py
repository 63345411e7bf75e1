"""`python -m analyze_video`: makes one attempt at the job that the environment describes."""

import os
import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # scenedetect runs any `ffmpeg` on PATH when it is imported
# One thread each: the stages share out their work themselves, and threads that wait for each other burn a whole core.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
os.environ["HF_HUB_OFFLINE"] = "1"  # models lie in a folder; nothing is ever downloaded

from analyze_video.job import main  # noqa: E402 - see above

sys.exit(run(main, needs=("VIDEO_ID", "S3_KEY")))
