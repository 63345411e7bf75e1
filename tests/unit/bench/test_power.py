"""The memory sweep draws the right conclusions from its measurements."""

import pytest

from bench import prices
from bench.power import Cpu, Limits, Taken, advised

_MIB = 2**20
_TIMEOUT = 30


def taken(*, one: float = 0.05, first: float = 0.5, burst: float = 0.5, peak: int = 60 * _MIB) -> Taken:
    return Taken(0.4, first, one, ten=0.1, burst=burst, peak=peak, cpu=Cpu(first=0.3, one=0.01, ten=0.1, burst=0.4))


def test_a_share_of_the_cpu_stretches_the_cpu_time_and_not_the_waiting() -> None:
    assert taken(one=0.05).at(0.25).one == pytest.approx(0.04 + 0.01 / 0.25)


def test_more_than_one_vcpu_makes_nothing_faster() -> None:
    assert taken().at(2.0) == taken()


def test_the_cheapest_size_is_advised() -> None:
    # 512 MB for 50 ms cost less than 1,769 MB for 30 ms, and more than 256 MB for 80 ms.
    found = {256: taken(one=0.08), 512: taken(one=0.05), 1769: taken(one=0.03)}
    assert advised("sqs_to_batch", found, _TIMEOUT) == 256


def test_a_size_that_is_nearly_full_is_not_advised() -> None:
    found = {128: taken(peak=84 * _MIB), 256: taken(one=0.049, peak=84 * _MIB), 1769: taken()}
    assert advised("sqs_to_batch", found, _TIMEOUT) == 256


def test_a_size_that_was_out_of_memory_is_not_advised() -> None:
    assert advised("sqs_to_batch", {128: None, 256: taken(), 1769: taken()}, _TIMEOUT) == 256


def test_a_consumer_takes_a_tenth_of_its_timeout_at_the_most() -> None:
    found = {128: taken(burst=3.1), 256: taken(burst=2.9), 1769: taken()}
    assert advised("track_job", found, _TIMEOUT) == 256


def test_nobody_waits_two_seconds_for_the_api_to_start() -> None:
    found = {128: taken(first=1.7), 256: taken(first=1.5), 1769: taken()}
    assert advised("get_job", found, _TIMEOUT) == 256


def test_a_warm_request_takes_no_more_than_twice_what_it_must() -> None:
    found = {128: taken(one=0.08), 256: taken(one=0.05), 1769: taken(one=0.03)}
    assert advised("get_job", found, _TIMEOUT) == 256


def test_where_nothing_fits_nothing_is_advised() -> None:
    assert advised("get_job", {128: None, 1769: None}, _TIMEOUT) is None


def test_pauses_between_attempts_double() -> None:
    assert Limits(4, 5).throttled == pytest.approx(1 + 2 + 4, abs=0.1)


def test_an_unanswered_call_waits_for_each_of_its_attempts() -> None:
    assert Limits(4, 5).mute == pytest.approx(1 + 2 + 4 + 4 * 5)


def test_an_invocation_is_billed_by_the_millisecond_begun() -> None:
    by_the_second = prices.LAMBDA_GB_SECOND["x86_64"]
    assert prices.invocation(0.0101, 512) == pytest.approx(prices.LAMBDA_REQUEST + 0.011 * 0.5 * by_the_second)


def test_a_whole_number_of_milliseconds_is_not_rounded_up() -> None:
    by_the_second = prices.LAMBDA_GB_SECOND["x86_64"]
    assert prices.invocation(0.003, 1024) == pytest.approx(prices.LAMBDA_REQUEST + 0.003 * by_the_second)


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (65_536, 1), (65_537, 2)])
def test_a_message_is_billed_in_pieces_of_64_kb(size: int, requests: int) -> None:
    assert prices.queue_request(size) == pytest.approx(requests * prices.SQS_REQUEST)


@pytest.mark.parametrize(("size", "units"), [(1, 1), (1024, 1), (1025, 2), (352 * 1024, 352)])
def test_a_kilobyte_written_is_a_unit(size: int, units: int) -> None:
    assert prices.write_units(size) == units


def test_a_write_in_a_transaction_costs_twice() -> None:
    assert prices.write_units(1025, transaction=True) == 4


def test_reading_consistently_costs_twice() -> None:
    assert (prices.read_units(4097, consistent=True), prices.read_units(4097, consistent=False)) == (2, 1)
