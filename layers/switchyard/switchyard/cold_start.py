"""A function's start. Lambda lends it a whole CPU, whatever the function's memory; its events get their share only."""

from collections.abc import Callable
from contextlib import suppress

from switchyard import settings


def prepare(make: Callable[[], object]) -> None:
    """Has a function's parts made now, where this is Lambda; `make` keeps them for the first event.

    What goes wrong is left for that event to meet again, and to report: a start that fails Lambda only begins anew.
    """
    if settings.is_starting():
        with suppress(Exception):
            make()
