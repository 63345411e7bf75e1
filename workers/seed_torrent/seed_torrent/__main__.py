"""`python -m seed_torrent`: makes one attempt at the job that the environment describes."""

import sys

from switchyard_worker import refuse_programs, run

refuse_programs()  # this worker needs none

from seed_torrent.job import main  # noqa: E402 - see above

sys.exit(run(main))
