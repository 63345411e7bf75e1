"""Processing can be switched off and on again: messages wait meanwhile, and none is lost."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.integration.system import System


@contextmanager
def by_parameter(system: System) -> Iterator[None]:
    """Switches processing by parameter, as the runbook says."""
    system.deploy(ProcessingEnabled="false")
    yield
    system.deploy(ProcessingEnabled="true")


@contextmanager
def in_a_hurry(system: System) -> Iterator[None]:
    """Switches processing without a deployment, as the runbook says for emergencies."""
    client = system.stack.client("lambda")
    name = system.stack.resource("SqsToBatchFunction")
    [mapping] = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@pytest.mark.parametrize("off", [by_parameter, in_a_hurry])
def test_messages_wait_while_processing_is_off_and_are_processed_afterwards(
    system: System, off: Callable[[System], AbstractContextManager[None]]
) -> None:
    with off(system):
        key = system.upload()
        # The other queue goes on: by the time its poller has come round, this one's would have too.
        system.send("rubbish", "TrackQueue")
        system.until(lambda: system.messages("TrackDeadLetterQueue") or None, "the track queue to be read")
        assert system.view.queues()["VideoQueue"] == (1, 0)
        assert system.job(key) is None

    system.completed(key)


def test_jobs_accepted_before_are_followed_to_their_end_while_processing_is_off(system: System) -> None:
    first, second = system.upload(gate=True), system.key()
    system.wait_for(first, "RUNNING")
    system.upload(second)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")

    with in_a_hurry(system):
        system.release(first)

        system.completed(first, second)
