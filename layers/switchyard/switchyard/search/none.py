"""The index of a deployment without search (`SearchIndex=none`)."""

from collections.abc import Sequence

from switchyard.search.ports import Entry, Match, Question


class NoIndex:
    """Keeps nothing and finds nothing."""

    def prepare(self) -> None:
        """Nothing to do."""

    def put(self, owner: str, job_id: str, entries: Sequence[Entry]) -> None:
        """Nothing to do."""

    def erase(self, owner: str, job_id: str) -> None:
        """Nothing to do."""

    def find(self, question: Question) -> list[Match]:  # noqa: ARG002 - the port's signature
        """No entries."""
        return []
