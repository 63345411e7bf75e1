"""Docker tests wait for other runs of the same clone, but no longer than an image takes to build."""

from pathlib import Path

import pytest

from local.processes import locked
from tests.docker.conftest import BUILD_SECONDS, alone, own_folder, pytest_collection_modifyitems


def test_a_folder_that_nobody_uses_is_taken(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(TimeoutError), locked(tmp_path / "session.lock", seconds=0):
        pass


def test_a_folder_that_another_run_keeps_is_left_to_it_with_the_reason(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "session.lock"),
        pytest.raises(pytest.skip.Exception, match="another run of these tests has used"),
        alone(tmp_path, seconds=0.2),
    ):
        pass


def test_a_failure_meanwhile_is_no_reason_to_skip(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="its own"), alone(tmp_path):
        raise TimeoutError("its own")


def test_processes_of_a_run_have_systems_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        folders.add(own_folder())

    assert len(folders) == 2


def test_no_test_is_given_up_while_an_image_is_built(request: pytest.FixtureRequest) -> None:
    item = pytest.Function.from_parent(
        pytest.Module.from_parent(request.session, path=Path("tests/docker/test_invoke.py").absolute()),
        name="test_x",
        callobj=lambda: None,
    )
    pytest_collection_modifyitems([item])

    limit = item.get_closest_marker("timeout")
    assert limit is not None
    assert limit.args[0] > 2 * BUILD_SECONDS
