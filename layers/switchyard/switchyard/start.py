"""A function's start. Lambda lends it a whole CPU, whatever the function's memory; its events get their share only."""

import os
from collections.abc import Callable
from contextlib import suppress


def prepare(make: Callable[[], object]) -> None:
    """Has a function's parts made now, where this is Lambda; `make` keeps them for the first event.

    What goes wrong is left for that event to meet again, and to report: a start that fails Lambda only begins anew.
    """
    if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
        with suppress(Exception):
            make()
