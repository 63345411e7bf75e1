"""A function's cold start. Lambda gives init a whole CPU, whatever the function's memory; events get their share."""

from collections.abc import Callable
from contextlib import suppress

from switchyard import variables


def prepare(make: Callable[[], object]) -> None:
    """Builds a function's parts at init, if this is Lambda; `make` keeps them for the first event.

    An error is left for that event, which meets it again and reports it: Lambda would only repeat an init that fails.
    """
    if variables.is_lambda():
        with suppress(Exception):
            make()
