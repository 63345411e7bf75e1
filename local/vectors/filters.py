"""Metadata filters: parsed strictly, then answered for all rows at once.

Amazon S3 user guide, "Metadata filtering" of S3 Vectors: `{"genre": "drama"}` means `$eq`, several keys mean `$and`; a
list in the metadata equals each of its elements.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

type Mask = NDArray[np.bool_]
type Scalar = str | bool | float

MAX_DEPTH = 32
"""Levels of nesting, so that a filter can't exhaust the stack. AWS doesn't document its own limit."""
_ORDERS: Mapping[str, Callable[[NDArray[np.float64], float], Mask]] = {
    "$gt": np.greater,
    "$gte": np.greater_equal,
    "$lt": np.less,
    "$lte": np.less_equal,
}


class FilterError(Exception):
    """The filter isn't valid."""


class Columns(Protocol):
    """The metadata of an index, by key. Each method answers with one truth per row."""

    def everything(self) -> Mask:
        """All true."""

    def equal(self, key: str, value: Scalar) -> Mask:
        """The rows whose value is this, or has it in its list."""

    def present(self, key: str) -> Mask:
        """The rows that have the key."""

    def numbers(self, key: str) -> NDArray[np.float64]:
        """The numbers of a key; NaN where there is none."""

    def is_filterable(self, key: str) -> bool:
        """Whether filters may name the key."""


def select(columns: Columns, given: object, depth: int = 0) -> Mask:
    """The rows that a filter selects.

    Raises:
        FilterError: the filter has another form.
    """
    if depth > MAX_DEPTH or not isinstance(given, Mapping) or not given:
        raise FilterError("a filter must be an object with at least one key")
    result = columns.everything()
    for key, condition in given.items():
        if key in ("$and", "$or"):
            if not isinstance(condition, list) or not condition:
                raise FilterError(f"{key} takes a list of filters")
            parts = [select(columns, part, depth + 1) for part in condition]
            result &= (np.logical_and if key == "$and" else np.logical_or).reduce(parts)
        elif key.startswith("$"):
            raise FilterError(f"unknown operator {key}")
        elif not columns.is_filterable(key):
            raise FilterError(f"{key} is a non-filterable metadata key")
        else:
            result &= _key(columns, key, condition)
    return result


def _key(columns: Columns, key: str, condition: object) -> Mask:
    if not isinstance(condition, Mapping):
        return columns.equal(key, _scalar("$eq", condition))
    if not condition:
        raise FilterError(f"{key} has no condition")
    return np.logical_and.reduce([_operator(columns, key, name, value) for name, value in condition.items()])  # type: ignore[no-any-return]


def _operator(columns: Columns, key: str, name: str, value: object) -> Mask:
    match name:
        case "$eq":
            return columns.equal(key, _scalar(name, value))
        case "$ne":
            return ~columns.equal(key, _scalar(name, value))
        case "$in" | "$nin":
            if not isinstance(value, list) or not value:
                raise FilterError(f"{name} takes a list of values")
            found: Mask = np.logical_or.reduce([columns.equal(key, _scalar(name, each)) for each in value])
            return found if name == "$in" else ~found
        case "$exists":
            if not isinstance(value, bool):
                raise FilterError("$exists takes true or false")
            return columns.present(key) if value else ~columns.present(key)
        case "$gt" | "$gte" | "$lt" | "$lte":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise FilterError(f"{name} takes a number")
            return _ORDERS[name](columns.numbers(key), float(value))
    raise FilterError(f"unknown operator {name}")


def _scalar(name: str, value: object) -> Scalar:
    if not isinstance(value, str | bool | int | float):
        raise FilterError(f"{name} takes a string, a number or a boolean")
    return value
