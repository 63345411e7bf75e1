"""Timestamps: UTC, ISO 8601 with milliseconds and a `Z`, so that they sort as strings."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime.fromtimestamp(0, UTC)


def now() -> datetime:
    """The current time in UTC, timezone-aware."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Formats a time as `2026-11-22T18:36:54.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Parses an ISO 8601 time with a UTC offset.

    Raises:
        ValueError: it is not one, or is out of range in UTC.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no UTC offset in {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within an offset of datetime's first or last moment
        raise ValueError(f"{text!r} is out of range") from None


def epoch_ms(moment: datetime) -> int:
    """Converts to whole epoch milliseconds. Cut off as in `iso`, so that both say the same."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_epoch_ms(milliseconds: int) -> datetime:
    """Converts epoch milliseconds, as SQS and Batch report them."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
