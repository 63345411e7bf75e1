"""Benchmarks of Switchyard against the floor and the usual way, in one run. docs/performance.md explains them."""

import os

# As on Lambda, where search_media has one vCPU. numpy reads it when it is imported first.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
