"""`python -m seed_torrent`: one attempt of the job that the environment describes."""

import sys

from seed_torrent.job import main
from switchyard_worker.run import run

sys.exit(run(main))
