"""The pages under docs/ describe the code's real behaviour."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from switchyard.errors import (
    Contended,
    ForeignRow,
    InvalidMessage,
    JobExists,
    JobIdTaken,
    KindNotConfigured,
    ObjectChanged,
    ObjectGone,
    SourceNotAllowed,
    StartRefused,
    UrlRefused,
)
from switchyard.function_jobs.jobs import GIVEN_UP, MAX_BEGINS, SILENCE
from switchyard.function_jobs.work import parse
from switchyard.messages.envelope import MAX_METADATA_BYTES, Envelope
from switchyard.messages.kinds import TASKS as TASK_KINDS
from switchyard.messages.tasks import (
    MAX_FILENAME_LENGTH,
    MAX_IMAGES,
    MAX_REQUEST_BYTES,
    TaskWork,
)
from switchyard.messages.videos import VideoWork
from switchyard.names import legal_name
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, TRANSITIONS, Status, TargetSpec
from switchyard.settings import SqsToBatchSettings
from switchyard.steam import messages as steam
from switchyard.torrents.format.segments import MAX_SEGMENTS
from switchyard.torrents.messages import Segment, TorrentWork, job_id
from switchyard.urls import MAX_URL_LENGTH
from tests.cases import cases
from tests.fakes.resolver import resolving

DOCS = Path(__file__).parents[3] / "docs"
EVENTS = DOCS.parent / "events"

# ---- messages.md ----------------------------------------------------------------------------------------------------

MESSAGES = (DOCS / "messages.md").read_text()
VIDEO, REST = MESSAGES.split("## Job messages\n")
TASKS, REST = REST.split("## Torrent messages\n")
TORRENTS, IMPORTS = REST.split("## Import messages\n")
WORK = VideoWork(
    "video",
    TargetSpec("batch", "queue", "definition"),
    cast("re.Pattern[str]", SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default),
    frozenset({"switchyard-media"}),
)


TASK_WORK = TaskWork("switchyard-media", "cluster", dict.fromkeys(TASK_KINDS, "definition"))
ID = "the message"


def examples(part: str) -> list[tuple[str, str]]:
    """Returns the messages in a section of the page, each with the text below it."""
    found: list[tuple[str, str]] = re.findall(r"```json\n(.*?)```\n> (.*?)\n", part, re.DOTALL)
    return found


def described(body: str, work: VideoWork | TaskWork) -> str:
    """Returns the text the page should have below a message."""
    with resolving():
        parsed = work.parse(body, Envelope(ID, datetime.now(UTC)))
    for request in parsed.requests:
        source = request.source
        job = "job of the message" if request.job_id == legal_name(ID) else f"job `{request.job_id}`"
        about = f"key `{source.key}`" if source.is_object else f"kind `{request.kind}` · lane `{request.lane}`"
        version = "of the message" if source.version == ID else f"`{source.version}`"
        return f"{job} · {about} · version {version}"
    for rejected in parsed.rejected:
        return f"`{rejected.error.code}`: {rejected.error}"
    return "nothing to do"


def test_every_json_block_is_followed_by_what_it_means() -> None:
    assert len(examples(MESSAGES)) == MESSAGES.count("```json")


@cases(("body", "meaning"), examples(VIDEO), ids=[meaning[:40] for _, meaning in examples(VIDEO)])
def test_a_message_means_what_the_page_says(body: str, meaning: str) -> None:
    # A reason that lists alternatives is cut short on the page.
    assert described(body, WORK).split("; expected")[0] == meaning


@cases(("body", "meaning"), examples(TASKS), ids=[meaning[:40] for _, meaning in examples(TASKS)])
def test_a_job_message_means_what_the_page_says(body: str, meaning: str) -> None:
    assert described(body, TASK_WORK) == meaning


TORRENT_WORK = TorrentWork("switchyard-media", "recordings/", "torrents/", "torrent-scratch/")


def described_torrent(body: str) -> str:
    """Returns the text the page should have below a message about torrents."""
    parsed = parse(TORRENT_WORK.read, body, Envelope(ID, datetime.now(UTC)))
    for ignored in parsed.ignored:
        return f"no torrent of `{ignored.key}`: {ignored.reason}"
    for rejected in parsed.rejected:
        return f"`{rejected.error.code}`: {rejected.error}"
    (work,) = parsed.work
    if isinstance(work, Segment):
        extent = work.extent
        return f"pieces {extent.first} to {extent.end - 1} of `{work.thing.key}` · job `{work.job_id}`"
    version = "the present version"
    if work.version:
        version = f"version `{work.version}` · job `{job_id(work.bucket, work.key, work.version)}`"
    return f"torrent of `{work.key}` · {version}{' · again' if work.again else ''}"


@cases(("body", "meaning"), examples(TORRENTS), ids=[told[:40] for _, told in examples(TORRENTS)])
def test_a_torrent_message_means_what_the_page_says(body: str, meaning: str) -> None:
    assert described_torrent(body) == meaning


def described_import(body: str) -> str:
    """Returns the text the page should have below a message about an import."""
    parsed = parse(steam.read, body, Envelope(ID, datetime.now(UTC)))
    for rejected in parsed.rejected:
        return f"`{rejected.error.code}`: {rejected.error}"
    (wanted,) = parsed.work
    return f"import of `{wanted.account}` for `{wanted.user_id}` · job `{wanted.job_id}`"


@cases(("body", "meaning"), examples(IMPORTS), ids=[told[:40] for _, told in examples(IMPORTS)])
def test_an_import_message_means_what_the_page_says(body: str, meaning: str) -> None:
    assert described_import(body) == meaning


def test_the_page_says_when_a_torrent_s_job_is_taken_over_and_given_up() -> None:
    assert timedelta(minutes=1) == SILENCE
    assert f"was begun {MAX_BEGINS} times" in STATES
    assert f"more than {MAX_SEGMENTS:,} segments" in STATES


def test_the_table_of_kinds_is_that_of_the_code() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \| .* \| `([a-z]+)` \|$", TASKS, re.MULTILINE)
    assert told == [(name, kind.field, kind.lane) for name, kind in TASK_KINDS.items()]


def test_the_page_names_the_limits_of_job_messages() -> None:
    for limit in (
        f"1 to {MAX_IMAGES:,} URLs",
        f"{MAX_URL_LENGTH:,} characters",
        f"1 to {MAX_FILENAME_LENGTH} characters",
        f"{MAX_METADATA_BYTES // 1024} KiB as JSON",
        f"{MAX_REQUEST_BYTES // 1024} KiB as JSON",
    ):
        assert limit in TASKS


def test_every_example_is_valid_json() -> None:
    assert all(json.loads(body) for body, _ in examples(MESSAGES))


def test_every_event_is_named_on_the_page() -> None:
    accepted = {
        path.stem
        for function in ("sqs_to_batch", "dispatch_to_ecs", "s3_torrent_creator", "import_steam_library")
        for path in EVENTS.glob(f"{function}/*.json")
    }
    accepted -= {"rubbish", "mixed_batch"}
    assert {name for name in accepted if f"`{name}`" not in MESSAGES} == set()


def test_every_error_type_of_the_dead_letter_queue_is_in_the_table() -> None:
    reasons = (
        InvalidMessage,
        SourceNotAllowed,
        UrlRefused,
        KindNotConfigured,
        JobIdTaken,
        JobExists,
        ForeignRow,
        StartRefused,
        Contended,
    )
    assert re.findall(r"^\| `([A-Z_]+)` \|", MESSAGES, re.MULTILINE) == [error.code for error in reasons]


# ---- states.md ------------------------------------------------------------------------------------------------------

STATES = (DOCS / "states.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table below a heading, without its header row."""
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


def test_every_error_code_of_a_torrent_is_explained() -> None:
    package = DOCS.parent / "layers" / "switchyard" / "switchyard" / "torrents"
    source = (package / "creator.py").read_text()
    used = set(re.findall(r'CannotShare\("([A-Z_]+)"', source)) | {ObjectChanged.code, ObjectGone.code, GIVEN_UP}
    assert {code for code, *rest in rows("Torrents") if len(rest) == 1 and code.isupper()} - {"error.code"} == used


def test_every_error_code_of_a_run_is_explained() -> None:
    package = DOCS.parent / "layers" / "switchyard" / "switchyard"
    source = "".join(
        (package / name).read_text()
        for name in ("targets/batch.py", "targets/ecs.py", "targets/runs.py", "protocol/reconcile.py")
    )
    explained = {code for codes, _ in rows("Why a job failed") for code in re.findall("[A-Z_]+", codes)}
    assert set(re.findall(r'JobError\("([A-Z_]+)"', source)) <= explained
