"""The layout: the allowed imports between packages, and no import cycles."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from tests.cases import cases

ROOT: Final = Path(__file__).parents[3]
LAYER: Final = ROOT / "layers" / "switchyard"
SOURCES: Final = (LAYER, ROOT / "workers" / "library", *sorted((ROOT / "workers").glob("*_*")), ROOT)
"""Folders from which modules are imported, the more specific ones first."""

PURE: Final = frozenset(
    {
        "clock",
        "errors",
        "names",
        "protocol.jobs",
        "protocol.lanes",
        "protocol.ports",
        "function_jobs.jobs",
        "function_jobs.work",
        "search.chunks",
        "search.hits",
        "search.ports",
        "torrents.jobs",
    }
)


def _modules() -> dict[str, Path]:
    """Every module of the project that something imports, by its dotted name."""
    modules: dict[str, Path] = {}
    for source in SOURCES:
        folders = (folder for folder in source.iterdir() if folder.is_dir() and folder.name.isidentifier())
        for folder in folders if source != ROOT else (ROOT / name for name in ("bench", "local", "tests", "tools")):
            for path in folder.rglob("*.py"):
                dotted = ".".join(path.relative_to(source).with_suffix("").parts)
                modules.setdefault(dotted.removesuffix(".__init__"), path)
    return modules


MODULES: Final = _modules()
OURS: Final = {name.removeprefix("switchyard."): name for name in MODULES if name.startswith("switchyard.")}
"""The layer's modules, by their names inside the package."""


def _imports(path: Path) -> set[str]:
    """Returns a module's imports as dotted names: `from a import b` counts as `a` and as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                found |= {name.name for name in names}
            case ast.ImportFrom(str(module), names):
                found |= {module, *(f"{module}.{name.name}" for name in names)}
    return found


def _libraries(module: str) -> set[str]:
    return {name.partition(".")[0] for name in _imports(MODULES[OURS[module]])}


def _rooms() -> dict[str, int]:
    """The picture in docs/architecture.md: each room and the line it stands on, counted from the top."""
    section = (ROOT / "docs" / "architecture.md").read_text().split("## The code\n")[1]
    picture = re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[0]
    lines = [re.split(r"   +", line)[0].split() for line in picture.splitlines()]
    return {room.rstrip("/"): number for number, names in enumerate(lines) for room in names}


def test_the_picture_names_every_room() -> None:
    assert set(_rooms()) == {"functions", *(name.partition(".")[0] for name in OURS)}


@cases("module", sorted(OURS))
def test_imports_point_downwards(module: str) -> None:
    room, rooms = module.partition(".")[0], _rooms()
    imported = {name.split(".")[1] for name in _imports(MODULES[OURS[module]]) if name.startswith("switchyard.")}
    upwards = {other for other in imported & set(rooms) - {room} if rooms[other] <= rooms[room]}
    assert upwards == set()


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {}
    for name, path in MODULES.items():
        imported = _imports(path) & set(MODULES)
        # `from package import module` needs nothing of the package's own code.
        graph[name] = {each for each in imported if not any(other.startswith(f"{each}.") for other in imported)}
    TopologicalSorter(graph).prepare()


@cases(
    ("library", "module"),
    [
        ("boto3", "clients"),
        ("os", "variables"),
        ("aws_lambda_powertools", "observability"),
        ("aws_xray_sdk", "observability"),
    ],
)
def test_only_one_module_knows(library: str, module: str) -> None:
    """Imports for types don't count."""
    assert {name for name in OURS if library in _libraries(name)} == {module}


@cases("module", sorted(PURE & OURS.keys()))
def test_a_pure_module_imports_only_the_standard_library(module: str) -> None:
    assert _libraries(module) <= sys.stdlib_module_names | {"switchyard"}


def test_the_protocol_knows_no_aws() -> None:
    protocol = {name for name in OURS if name.startswith("protocol.")}
    assert protocol
    assert {name for name in protocol if _libraries(name) & {"boto3", "botocore", "mypy_boto3_dynamodb"}} == set()


LIBRARY: Final = (
    "errors",
    "environment",
    "logs",
    "programs",
    "record",
    "heartbeat",
    "job",
    "attempt",
)
"""The modules of the worker's library: each imports only those above it."""


def test_the_worker_library_imports_nothing_of_the_layer() -> None:
    """A worker's image has neither Powertools nor the functions' modules."""
    library = {name: path for name, path in MODULES.items() if name.startswith("switchyard_worker")}
    assert set(library) == {"switchyard_worker", *(f"switchyard_worker.{name}" for name in LIBRARY)}
    assert {name for path in library.values() for name in _imports(path) if name.split(".")[0] == "switchyard"} == set()


@cases("module", LIBRARY)
def test_the_worker_library_points_one_way(module: str) -> None:
    imported = {
        name for name in _imports(MODULES[f"switchyard_worker.{module}"]) if name.startswith("switchyard_worker")
    }
    above = {f"switchyard_worker.{name}" for name in LIBRARY[: LIBRARY.index(module)]}
    assert imported & MODULES.keys() <= above
