"""Time as Switchyard writes it: UTC, ISO 8601 with milliseconds and a `Z`, so that strings sort as times."""

from datetime import UTC, datetime

EPOCH = datetime.fromtimestamp(0, UTC)


def now() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """`2026-11-22T18:36:54.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """The inverse of `iso`; also reads other ISO 8601 forms with an offset. ValueError where it isn't one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no UTC offset in {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first or last hours that a datetime can hold, elsewhere on Earth
        raise ValueError(f"{text!r} is out of range") from None


def from_epoch_ms(milliseconds: int) -> datetime:
    """A moment from epoch milliseconds, as SQS and Batch give it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
