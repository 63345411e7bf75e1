"""The pages under docs/ that describe behaviour say what the code does."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from switchyard.errors import Contended, InvalidMessage, SourceNotAllowed, StartRefused, StartThrottled
from switchyard.jobs import HOLDING_SLOT, TERMINAL, TRANSITIONS, Status, TargetSpec
from switchyard.messages import Envelope, VideoWork
from switchyard.settings import SqsToBatchSettings

DOCS = Path(__file__).parents[2] / "docs"
EVENTS = DOCS.parent / "events"

# ---- messages.md ----------------------------------------------------------------------------------------------------

MESSAGES = (DOCS / "messages.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(r"```json\n(.*?)```\n> (.*?)\n", MESSAGES, re.DOTALL)
WORK = VideoWork(
    "video",
    TargetSpec("batch", "queue", "definition"),
    cast("re.Pattern[str]", SqsToBatchSettings.__dataclass_fields__["video_id_pattern"].default),
    frozenset({"switchyard-media"}),
)


def described(body: str) -> str:
    """What the page should say below a message, in the page's own words."""
    parsed = WORK.parse(body, Envelope("the message", datetime.now(UTC)))
    for request in parsed.requests:
        source = request.source
        version = "of the message" if source.version == "the message" else f"`{source.version}`"
        return f"job `{request.job_id}` · key `{source.key}` · version {version}"
    for rejected in parsed.rejected:
        return f"`{rejected.error.code}`: {rejected.error}"
    return "nothing to do"


def test_every_json_block_is_followed_by_what_it_means() -> None:
    assert len(EXAMPLES) == MESSAGES.count("```json")


@pytest.mark.parametrize(("body", "meaning"), EXAMPLES, ids=[meaning[:40] for _, meaning in EXAMPLES])
def test_a_message_means_what_the_page_says(body: str, meaning: str) -> None:
    # A reason that lists alternatives is cut short on the page.
    assert described(body).split("; expected")[0] == meaning


def test_every_example_is_valid_json() -> None:
    assert all(json.loads(body) for body, _ in EXAMPLES)


def test_every_event_is_named_on_the_page() -> None:
    accepted = {path.stem for path in EVENTS.glob("sqs_to_batch/*.json")} - {"rubbish", "mixed_batch"}
    assert {name for name in accepted if f"`{name}`" not in MESSAGES} == set()


def test_every_error_type_of_the_dead_letter_queue_is_in_the_table() -> None:
    reasons = (InvalidMessage, SourceNotAllowed, StartRefused, StartThrottled, Contended)
    assert re.findall(r"^\| `([A-Z_]+)` \|", MESSAGES, re.MULTILINE) == [error.code for error in reasons]


# ---- states.md ------------------------------------------------------------------------------------------------------

STATES = (DOCS / "states.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = STATES.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def pairs(found: list[tuple[str, str]]) -> set[tuple[Status, Status]]:
    assert len(found) == len(set(found))
    return {(Status(origin), Status(to)) for origin, to in found}


LEGAL = {(origin, to) for origin, following in TRANSITIONS.items() for to in following}


def test_the_table_of_transitions_is_that_of_the_code() -> None:
    assert pairs([(origin, to) for origin, to, *_ in rows("Transitions")]) == LEGAL


def test_every_transition_says_who_and_when() -> None:
    assert all(who and when for _, _, who, when in rows("Transitions"))


def test_the_picture_shows_every_transition_of_the_code() -> None:
    drawn = re.findall(r"^ +([A-Z]+) --> ([A-Z]+)", STATES, re.MULTILINE)
    assert pairs(drawn) == LEGAL


def test_every_status_is_explained_in_order() -> None:
    assert [name for name, *_ in rows("Statuses")] == list(Status)


def test_the_table_of_statuses_says_which_hold_a_slot() -> None:
    assert {name for name, _, slot, _ in rows("Statuses") if slot == "yes"} == HOLDING_SLOT


def test_the_table_of_statuses_says_which_are_final() -> None:
    assert {name for name, _, _, final in rows("Statuses") if final == "yes"} == TERMINAL


def test_every_error_code_of_a_run_is_explained() -> None:
    package = DOCS.parent / "layers" / "switchyard" / "switchyard"
    source = "".join((package / name).read_text() for name in ("targets/batch.py", "reconcile.py"))
    explained = {code for codes, _ in rows("Why a job failed") for code in re.findall("[A-Z_]+", codes)}
    assert set(re.findall(r'JobError\("([A-Z_]+)"', source)) <= explained
