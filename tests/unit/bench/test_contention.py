"""The computed cost of sharding a lane matches published figures."""

import pytest

from bench.contention import waiting


@pytest.mark.parametrize(
    ("slots", "load", "share"),
    [
        (1, 0.5, 0.5),  # one server: the share that waits is the load
        (2, 0.5, 1 / 3),  # M/M/2: 2 r² / (1 + r)
        (10, 0.8, 0.4092),  # Erlang C tables, 10 servers, 8 erlangs
    ],
)
def test_the_share_that_waits_is_erlangs(slots: int, load: float, share: float) -> None:
    assert waiting(slots, load)[0] == pytest.approx(share, abs=1e-4)


def test_one_slot_makes_jobs_wait_as_one_server_does() -> None:
    """M/M/1: r / (1 - r) of a job's length."""
    assert waiting(1, 0.5)[1] == pytest.approx(1.0)
