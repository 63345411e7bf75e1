"""A shard of JobsTable's stream as Lambda reads it, and receivers that fail as real ones do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from switchyard.notifications.announcement import Announcement
from tests.fakes.crashing import Killed

type Image = dict[str, dict[str, Any]]


def image(status: str | None, job_id: str = "job-1", fence: int = 1, **more: dict[str, Any]) -> Image:
    """A job's row."""
    found: Image = {
        "jobId": {"S": job_id},
        "kind": {"S": "video"},
        "fence": {"N": str(fence)},
        "updatedAt": {"S": "2026-11-22T18:36:54.123Z"},
        **more,
    }
    return found if status is None else {**found, "status": {"S": status}}


def record(new: Image | None, old: Image | None = None, number: int = 1) -> dict[str, Any]:
    """A record of the stream."""
    name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    about: dict[str, Any] = {"SequenceNumber": str(number), "ApproximateCreationDateTime": 1795372614.0}
    about |= {} if new is None else {"NewImage": new}
    about |= {} if old is None else {"OldImage": old}
    return {"eventName": name, "dynamodb": about}


@dataclass
class Shard:
    """Reads a shard's records in order, in batches, and stays where an invocation failed.

    Lambda developer guide, "Using Lambda with Amazon DynamoDB".
    """

    records: list[dict[str, Any]]
    size: int = 10
    place: int = 0

    def poll(self, function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Invokes the function with the next records."""
        batch = self.records[self.place : self.place + self.size]
        try:
            answer = function({"Records": batch})
        except Killed:
            return
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        numbers = [each["dynamodb"]["SequenceNumber"] for each in batch]
        assert failed <= set(numbers)
        self.place += min((numbers.index(each) for each in failed), default=len(batch))

    def drain(self, function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Polls until nothing is left."""
        for _ in range(10_000):
            if self.place >= len(self.records):
                return
            self.poll(function)
        raise AssertionError("the shard never ends")


@dataclass
class Receiver:
    """A channel that remembers what it was told, and fails as `moods` say: one word for each call, then well."""

    moods: list[str] = field(default_factory=list)
    heard: list[Announcement] = field(default_factory=list)

    def tell(self, announcements: Sequence[Announcement]) -> set[str]:
        match self.moods.pop(0) if self.moods else "well":
            case "killed before":
                raise Killed
            case "killed after":
                self.heard += announcements
                raise Killed
            case "refuses all":
                return {each.id for each in announcements}
            case "refuses some":
                refused = announcements[::2]
                self.heard += [each for each in announcements if each not in refused]
                return {each.id for each in refused}
        self.heard += announcements
        return set()
