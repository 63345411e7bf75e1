"""Links, commands and paths in the pages exist."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from samtranslator.yaml_helper import yaml_parse

from local.__main__ import main as local_command
from tests.cases import cases

ROOT: Final = Path(__file__).parents[3]
README: Final = (ROOT / "README.md").read_text()
DEPLOYING: Final = (ROOT / "docs" / "deploying.md").read_text()
MAKEFILE: Final = (ROOT / "Makefile").read_text()
TARGETS: Final = frozenset(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))

FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _files(pattern: str) -> Iterator[Path]:
    """Returns the project's files, without hidden folders, which hold environments and build results."""
    yield from ROOT.glob(pattern)
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            yield from folder.rglob(pattern)


PAGES: Final = sorted(_files("*.md"))
every_page = cases("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """Returns a page's anchors by GitHub's rules: no marks or punctuation, hyphens for spaces, numbered repeats."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.+?)\s*$", _prose(page), re.MULTILINE):
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def _code(page: Path) -> str:
    """Returns the code on a page, without shell comments."""
    text = page.read_text()
    fenced = "\n".join(block for _, block in FENCED.findall(text))
    return re.sub(r"(^|\s)#.*", "", fenced) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", FENCED.sub("", text)))


# ---- every page ------------------------------------------------------------------------------------------------------


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@every_page
def test_every_make_target_exists(page: Path) -> None:
    assert set(re.findall(r"(?<![\w./-])make ([a-z][a-z-]*)", _code(page))) <= TARGETS


@every_page
def test_every_local_command_exists(page: Path) -> None:
    named = re.findall(r"python -m local ((?:[a-z]+ \| )*[a-z]+)", _code(page))
    assert {command for names in named for command in names.split(" | ")} <= set(local_command.commands)


def test_a_shell_can_evaluate_what_the_env_target_prints() -> None:
    """It may print nothing else: it sets up no environment and shows no command."""
    [(needs, recipe)] = re.findall(r"^env:([^#\n]*)#.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert not needs.strip()
    assert all(line.startswith("\t@") for line in recipe.splitlines())


# ---- tables ----------------------------------------------------------------------------------------------------------

_DELIMITER: Final = re.compile(r"\s*\|(\s*:?-+:?\s*\|)+\s*")
_ROW: Final = re.compile(r"\s*\|.*\|\s*")


def _broken_tables(text: str) -> list[str]:
    """Returns lines of Markdown tables broken by re-wrapping or a missing cell."""
    broken, columns = [], 0
    lines = ["", *FENCED.sub("", text).splitlines()]
    for before, line, after in zip(lines, lines[1:], [*lines[2:], ""], strict=False):
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        if _DELIMITER.fullmatch(after):
            columns = cells  # a head: it stands at the beginning of a paragraph
            whole = bool(_ROW.fullmatch(line)) and not before.strip()
        elif line.lstrip().startswith("|"):
            whole = bool(_ROW.fullmatch(line)) and cells == columns
        else:
            whole = not re.search(r"\|\s*:?-{3,}:?\s*\|", line) and (not columns or not line.strip())
            columns = 0
        if not whole:
            broken.append(line)
    return broken


@every_page
def test_every_table_is_whole(page: Path) -> None:
    assert _broken_tables(page.read_text()) == []


@cases(
    ("text", "broken"),
    [
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nWords.", []),
        ("1. Words:\n\n   | a | b |\n   |:--|--:|\n   | `x\\|y` | 2 |\n", []),
        ("```\n| a |---| b\n```\n", []),
        ("| a | b | |---|---| | 1 | 2 |", ["| a | b | |---|---| | 1 | 2 |"]),
        ("Words | a | b | |---|---|\n| 1 | 2 |", ["Words | a | b | |---|---|", "| 1 | 2 |"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\nWords.", ["Words."]),
        ("| a | b |\n|---|---|\n| 1 | 2\nmore |", ["| 1 | 2", "more |"]),
        ("| a | b |\n|---|---|\n| 1 |", ["| 1 |"]),
        ("| a | b |\n|---|\n| 1 | 2 |", ["|---|"]),
        ("Words:\n| a | b |\n|---|---|\n", ["| a | b |"]),
    ],
)
def test_a_broken_table_is_found(text: str, broken: list[str]) -> None:
    assert _broken_tables(text) == broken


# ---- README.md -------------------------------------------------------------------------------------------------------

SHELL: Final = "\n".join(
    re.sub(r"\s+#.*", "", block).replace("\\\n", " ")
    for kind, block in FENCED.findall(README + DEPLOYING)
    if kind == "sh"
)
TEMPLATE: Final = (ROOT / "template.yaml").read_text()


def _template_names(section: str) -> set[str]:
    body = re.split(rf"^{section}:\n", TEMPLATE, flags=re.MULTILINE)[1]
    return set(re.findall(r"^  (\w+):", re.split(r"^\w", body, flags=re.MULTILINE)[0], re.MULTILINE))


def _map() -> list[str]:
    section = README.split("## Where things are\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [path for cell in cells for path in re.findall(r"`([^`]+)`", cell)]


def test_every_path_of_the_map_exists() -> None:
    assert _map()
    assert [path for path in _map() if not (ROOT / path).exists()] == []


def test_the_map_names_every_folder_with_something_in_it() -> None:
    folders = {
        folder.name
        for folder in ROOT.iterdir()
        if not folder.name.startswith(".") and folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))
    }
    assert folders <= {path.partition("/")[0] for path in _map()}


def test_the_shell_blocks_call_only_known_programs() -> None:
    lines = [re.sub(r"^\w+=(\S*\$\(.*\)\S*|\S+)\s*", "", line) for line in SHELL.splitlines()]
    programs = {line.split()[0] for line in lines if line}
    assert programs <= {
        "make",
        "sam",
        "aws",
        "docker",
        "curl",
        "ask",
        "ask()",
        "output()",
        "switchyard",
        'REGISTRY="$(aws',
    }


def test_the_shell_blocks_name_what_the_template_has() -> None:
    overrides = re.findall(r"--parameter-overrides (.*)", SHELL)
    assert {name for line in overrides for name in re.findall(r"(\w+)=", line)} <= _template_names("Parameters")
    assert set(re.findall(r"\$\(output (\w+)\)", SHELL)) <= _template_names("Outputs")
    assert set(re.findall(r"FUNCTION=(\w+)", SHELL)) <= _template_names("Resources")


def test_the_shell_blocks_name_files_that_exist() -> None:
    named = re.findall(r"(?:EVENT=|--file )(\S+)", SHELL)
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_the_table_of_settings_names_parameters_and_their_defaults() -> None:
    parameters = {name: parameter["Default"] for name, parameter in yaml_parse(TEMPLATE)["Parameters"].items()}
    section = README.split("## Configure it\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.*?) ?\|", section, re.MULTILINE)
    assert len(rows) == 5
    for names, default in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert parameters[name] == {"": "", "none": ""}.get(default, yaml.safe_load(default.strip("`"))), name


# ---- decisions and changes -------------------------------------------------------------------------------------------

DECISIONS: Final = sorted(path for path in (ROOT / "docs" / "adr").glob("*.md") if path.name != "README.md")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [path.name[:5] for path in DECISIONS] == [f"{number:04}-" for number in range(1, len(DECISIONS) + 1)]


@cases("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_parts_and_its_line_in_the_index(path: Path) -> None:
    number, _, _ = path.name.partition("-")
    heading, date, *parts = re.findall(r"^(?:#+ .+|Date: .+)$", path.read_text(), re.MULTILINE)
    assert heading.startswith(f"# {number}. ")
    assert re.fullmatch(r"Date: \d{4}-\d\d-\d\d", date)
    assert parts == ["## Context", "## Decision", "## Consequences"]
    title = heading.removeprefix(f"# {number}. ")
    assert f"| [{number}]({path.name}) | {title} |" in (path.parent / "README.md").read_text()


CHANGELOG: Final = (ROOT / "CHANGELOG.md").read_text()
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_changelog_says_what_is_new() -> None:
    newest = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1]
    assert re.match(rf"\[(Unreleased|{re.escape(VERSION)})\]", newest)
    kinds = re.findall(r"^### (\w+)\n\n- ", newest, re.MULTILINE)
    assert kinds
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_s_newest_release_is_the_version_of_the_project() -> None:
    """Before the first release, the text of Unreleased names it."""
    named = re.findall(r"^(?:## \[(?=\d)|What becomes )([\d.]+)(?:\] - \d{4}-\d\d-\d\d$|: )", CHANGELOG, re.MULTILINE)
    assert named[:1] == [VERSION]


def test_the_licence_is_the_one_that_is_named() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
