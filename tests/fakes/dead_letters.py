"""A dead-letter queue in memory."""

from switchyard.errors import SwitchyardError
from switchyard.messages.dead_letters import DeadLetterQueue


class FakeDeadLetters(DeadLetterQueue):
    """Keeps each dead letter's body and error."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, SwitchyardError]] = []

    def send(self, body: str, error: SwitchyardError, *, video_id: str | None = None) -> None:  # noqa: ARG002 - the real one's signature
        self.sent.append((body, error))
