"""`python -m record_stream`: makes one attempt at the job that the environment describes."""

import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # yt-dlp and its libraries look for programs to run

from record_stream.job import main  # noqa: E402 - see above

sys.exit(run(main, results="recordings", owned=True))
