"""A dead-letter queue in memory."""

from dataclasses import dataclass, field

from switchyard.errors import SwitchyardError


@dataclass
class FakeDeadLetters:
    """Keeps what it is sent: body and error."""

    sent: list[tuple[str, SwitchyardError]] = field(default_factory=list)

    def send(self, body: str, error: SwitchyardError, *, video_id: str | None = None) -> None:  # noqa: ARG002 - the real one's signature  # noqa: ARG002
        self.sent.append((body, error))
