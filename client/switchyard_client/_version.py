"""The installed version."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("switchyard-client")
    except PackageNotFoundError:  # run from a checkout
        return "0.0.0"


VERSION: Final = _installed()
