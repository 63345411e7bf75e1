"""Starts the stand-in for Batch and ECS, alone and together with the emulator."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.contract.standin import CLUSTER, QUEUE, REPOSITORY, Bus, StandIn, free_port, until


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Starts a stand-in for tests that don't change its settings."""
    running = StandIn(tmp_path_factory.mktemp("compute")).start()
    yield running
    running.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StandIn]:
    """Starts a stand-in that the test may kill."""
    running = StandIn(tmp_path / "compute").start()
    yield running
    if running.process and running.process.poll() is None:
        running.end()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Starts MiniStack with IAM enforced."""
    with ministack(tmp_path_factory.mktemp("emulator")) as url:
        yield url


@contextmanager
def ministack(home: Path, **extra: str) -> Iterator[str]:
    """Runs MiniStack with IAM enforced, and with more environment variables, while the block runs."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "GATEWAY_PORT": str(port)}
    environment |= {"AUTH": "true", "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"} | extra
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [REPOSITORY / ".venvs/emulator/bin/ministack"], env=environment, cwd=home, stdout=log, stderr=log
        )
    try:
        until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def guarded(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Starts a stand-in that checks permissions with the emulator and sends it events."""
    running = StandIn(tmp_path_factory.mktemp("guarded"), emulator).start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def wired(emulator: str, guarded: StandIn) -> Bus:
    """Creates one queue for all tests and one rule per service: a new rule may take a second to become active."""
    credentials: Any = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    sqs = boto3.client("sqs", endpoint_url=emulator, **credentials)
    events = boto3.client("events", endpoint_url=emulator, **credentials)
    queue = sqs.create_queue(QueueName="changes")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    patterns = {
        "jobs": {"source": ["aws.batch"], "detail": {"jobQueue": [{"suffix": QUEUE}]}},
        "tasks": {"source": ["aws.ecs"], "detail": {"clusterArn": [{"suffix": f"cluster/{CLUSTER}"}]}},
    }
    for name, pattern in patterns.items():
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    return Bus(guarded, sqs, queue)


@pytest.fixture
def bus(wired: Bus) -> Iterator[Bus]:
    """Yields `wired` and removes all faults afterwards."""
    yield wired
    wired.standin.ask("/_compute/faults", "DELETE")
