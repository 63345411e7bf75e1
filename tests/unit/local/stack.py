"""A fake of the running local system, without processes: resources have their logical ids as names."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace


class FakeStack:
    """A LocalStack for tests of `local`.

    Args:
        parameters: The deployed template parameters.
        clients: The clients, by boto3's name of the service; `lambda_` is Lambda's.
    """

    def __init__(self, parameters: dict[str, str] | None = None, **clients: SimpleNamespace) -> None:
        self.parameters = parameters or {}
        self.emulator = SimpleNamespace(url="http://127.0.0.1:4566", pid=1)
        self.compute = SimpleNamespace(url="http://127.0.0.1:4567", pid=2)
        self.steam = SimpleNamespace(url="http://127.0.0.1:4568", pid=3)
        self.resources = {"SqsToBatchFunction": "local-sqs_to_batch", "VideoDeadLetterQueue": "http://sqs/dead"}
        self.logs = Path("logs")
        self._clients = clients

    def resource(self, logical_id: str) -> str:
        return f"http://sqs/local-{logical_id}" if logical_id.endswith("Queue") else f"local-{logical_id}"

    def client(self, service: str) -> SimpleNamespace:
        return self._clients[service if service != "lambda" else "lambda_"]


def client(**operations: Callable[..., object]) -> SimpleNamespace:
    """Returns a client with these operations."""
    return SimpleNamespace(**operations)
