"""Deploys one local system for the whole tier. Each test gets it idle and leaves it idle.

It is the system that `make up` starts, but its jobs do what tests tell them (see `job`) in place of real work. It is
kept under `.local/tests`: if a run is killed, the next one finds its processes there and ends them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from local.environment import STATE, VENVS, bare, seal_this_process
from local.processes import locked
from local.stack import LocalStack
from local.workers import DEFINITIONS, TASKS, JobDefinition, TaskDefinition
from tests import nursery
from tests.drills import DRILLS
from tests.integration.roads import BATCH, Road
from tests.integration.system import FUNCTIONS, System
from tests.integration.users import User

FOLDER = STATE / "tests" / os.environ.get("PYTEST_XDIST_WORKER", "main")
GATES = FOLDER / "gates"
LEDGER = FOLDER / "ledger"
NURSERY = FOLDER / "nursery.sock"

PARAMETERS = {
    "BatchJobDefinition": "analyze-video",
    "MaxConcurrentJobs": "1",
    "MaxConcurrentImages": "1",
    "AtCapacity": "wait",
    "ProcessingEnabled": "true",
    "EcsProcessingEnabled": "true",
    "TorrentProcessingEnabled": "true",
    "SteamProcessingEnabled": "true",
    "TorrentFormat": "v1",
    "WebSeedBaseUrls": "",
    "TransmissionTaskDefinition": "",
}
"""The parameters that `settle` restores after a test changed them: one slot per lane, otherwise the template's."""

JOB = nursery.definition(NURSERY, gates=GATES, ledger=LEDGER, grace=2)
_ANALYSIS = DEFINITIONS["analyze-video"]
REAL = JobDefinition(_ANALYSIS.command, {**_ANALYSIS.environment, "SPEECH_MODEL": "whisper-tiny.en"})
"""The job definition of real analyses, with the tests' model for speech."""
IMAGES = TaskDefinition(JOB.command, JOB.environment, grace=2)
"""The task definition in place of the image jobs'. Recordings are real."""


_LONGEST: Final = ("test_crashes", "test_capacity", "test_torrents", "test_redrive", "test_state_changes")
"""Slow modules that come first, so that no process is left with one of them at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--list", action="store_true", help="Print the names of the drills and exit.")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if not config.getoption("--list"):
        return None
    print(*DRILLS, sep="\n")  # noqa: T201 - the option's output
    return 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.integration)
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """Deploys the system. Most tests use the fixture `system` instead."""
    if not (VENVS / "emulator").exists():
        pytest.fail("the environments aren't set up: run `make setup`")
    seal_this_process()
    with locked(FOLDER / "session.lock"):  # another test run of this clone: wait for its end
        GATES.mkdir(parents=True, exist_ok=True)
        LEDGER.unlink(missing_ok=True)
        stack = LocalStack(
            FOLDER,
            parameters=PARAMETERS,
            definitions={"analyze-video": JOB, "real-analysis": REAL},
            tasks={**TASKS, "detect-objects": IMAGES},
        )
        stack.down()
        with (
            stack.running(),
            nursery.serving(
                NURSERY, "tests.integration.job:perform", env=bare(stack.emulator.url), log=stack.logs / "nursery.log"
            ),
        ):
            # The template's timeouts fit Lambda's; a test can't wait minutes for a redelivery.
            for queue in ("VideoQueue", "EcsQueue", "TorrentQueue", "SteamQueue", "TrackQueue"):
                stack.client("sqs").set_queue_attributes(
                    QueueUrl=stack.resource(queue), Attributes={"VisibilityTimeout": "10"}
                )
            yield stack


@pytest.fixture(scope="module")
def road(request: pytest.FixtureRequest) -> Road:
    """Returns the road that work takes: Batch, unless a module is `OVER_BOTH`."""
    return getattr(request, "param", BATCH)


@pytest.fixture
def system(stack: LocalStack, road: Road, request: pytest.FixtureRequest) -> Iterator[System]:
    """Yields the idle system with everything a test needs, and restores it afterwards."""
    yield from _at_rest(stack, road, request)


@pytest.fixture(scope="module")
def scene(stack: LocalStack, road: Road, request: pytest.FixtureRequest) -> Iterator[System]:
    """Yields the same as `system`, for a whole module: for tests that check one scenario or share settings."""
    yield from _at_rest(stack, road, request)


@pytest.fixture(scope="module")
def ada(scene: System) -> User:
    """Returns a user."""
    return User(scene)


@pytest.fixture(scope="module")
def bob(scene: System) -> User:
    """Returns another one."""
    return User(scene)


def _at_rest(stack: LocalStack, road: Road, request: pytest.FixtureRequest) -> Iterator[System]:
    system = System(stack, GATES, LEDGER, road)
    failed_before = request.session.testsfailed
    yield system
    if request.session.testsfailed > failed_before:
        _tell(system)
    system.settle()


def _tell(system: System) -> None:
    """Prints the functions' logs of a failed test: pytest shows them with the failure."""
    for function in FUNCTIONS:
        for line in system.stack.function_log(function, since=system.began):
            print(f"{function}: {line.text}")  # noqa: T201 - captured by pytest
