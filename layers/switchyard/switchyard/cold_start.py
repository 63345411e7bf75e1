"""Builds a function's parts at cold start, since Lambda gives init a whole CPU whatever the function's memory."""

from collections.abc import Callable
from contextlib import suppress

from switchyard import variables


def prepare(make: Callable[[], object]) -> None:
    """Calls `make`, which caches what it builds, if this is Lambda's init.

    Errors are suppressed, since Lambda would only repeat a failed init. The first event calls `make` again and reports
    the error.
    """
    if variables.is_lambda():
        with suppress(Exception):
            make()
