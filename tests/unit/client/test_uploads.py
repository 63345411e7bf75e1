"""Uploads arrive byte for byte, once, over networks that fail and through kills, in bounded memory."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from local.environment import ROOT
from switchyard_client import AsyncSwitchyard, Journal, Retries, Uploaded, uploads
from switchyard_client.errors import AccessError, ConnectionLostError, UploadError
from switchyard_client.uploads import StorageRefusedError
from tests.fakes.switchyard_api import KEY, Deployment, Fault, deployment

PART = 2**16
DYING: Final[list[Fault]] = ["slow", "slow", "slow", "slow", *(40 * ("cut",))]
"""Four parts arrive."""
PATIENT = Retries(attempts=5, base=0.01)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setattr(uploads, "SINGLE", PART)
    monkeypatch.setattr(uploads, "_ANNOUNCED_AFTER", (0.0,))
    with deployment(part_size=PART) as world:
        yield world


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / "uploads.sqlite")
    yield journal
    journal.close()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file of nine parts and a bit."""
    file = tmp_path / "my film.mp4"
    file.write_bytes(os.urandom(9 * PART + 17))
    return file


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file that goes in one request."""
    file = tmp_path / "clip.MOV"
    file.write_bytes(os.urandom(1000))
    return file


def upload(world: Deployment, file: Path, journal: Journal | None = None, **more: Any) -> Uploaded:  # noqa: ANN401 - `upload`'s
    async def call() -> Uploaded:
        async with AsyncSwitchyard(world.url, KEY, retries=PATIENT) as api:
            return await api.upload(file, journal=journal, **more)

    return asyncio.run(call())


def plan(world: Deployment, **faults: list[Fault]) -> None:
    kinds = {
        "put": "PUT",
        "presign": "POST /uploads/presign",
        "parts": "POST /uploads/multipart/parts",
        "complete": "POST /uploads/multipart/complete",
        "listed": "GET /uploads/multipart",
    }
    world.faults = {kinds[name]: deque(each) for name, each in faults.items()}


def arrived(world: Deployment, file: Path) -> None:
    """Checks that the file arrived once, whole."""
    assert list(world.objects.values()) == [file.read_bytes()]


def test_a_large_file_goes_in_parts(world: Deployment, film: Path) -> None:
    told: list[tuple[int, int]] = []
    done = upload(world, film, progress=lambda sent, size: told.append((sent, size)))
    arrived(world, film)
    assert (done.key, done.job_id, done.size) == (next(iter(world.objects)), next(iter(world.jobs)), 9 * PART + 17)
    assert (world.asked["PUT"], told[-1]) == (10, (done.size, done.size))


def test_a_small_file_goes_in_one_request(world: Deployment, clip: Path) -> None:
    done = upload(world, clip)
    arrived(world, clip)
    assert (done.url, world.asked["PUT"]) == (f"s3://bucket/{done.key}", 1)


@pytest.mark.parametrize(
    "faults",
    [
        {"put": ["cut", "503", "slow", "lost", "expired", "damaged", "503", "cut"]},
        {"put": ["expired"] * 3},
        {"parts": ["503", "cut", "lost"], "complete": ["503", "lost"]},
    ],
    ids=["storage", "expiry", "api"],
)
def test_a_large_file_arrives_over_a_bad_network(world: Deployment, film: Path, faults: dict[str, list[Fault]]) -> None:
    plan(world, **faults)
    if "complete" in faults:
        faults["complete"].pop()
        plan(world, **faults)
    upload(world, film)
    arrived(world, film)
    assert not any(world.faults.values())


@pytest.mark.parametrize(
    "faults", [["cut", "503", "cut"], ["lost"], ["expired", "expired"], ["lost", "expired"]], ids="-".join
)
def test_a_small_file_arrives_once_over_a_bad_network(world: Deployment, clip: Path, faults: list[Fault]) -> None:
    plan(world, put=faults)
    upload(world, clip)
    arrived(world, clip)


def test_what_s3_refuses_for_good_is_an_error(world: Deployment, film: Path, clip: Path) -> None:
    plan(world, put=["expired"] * 99)
    with pytest.raises(UploadError, match="clock"):
        upload(world, clip)
    with pytest.raises(UploadError, match="refused 4 times"):
        upload(world, film, parallel=1)
    plan(world, put=["400"])
    with pytest.raises(StorageRefusedError, match="400 InvalidRequest"):
        upload(world, clip)


def test_a_dead_network_is_an_error_and_the_upload_goes_on_later(
    world: Deployment, film: Path, journal: Journal
) -> None:
    plan(world, put=DYING)
    with pytest.raises(ConnectionLostError):
        upload(world, film, journal)
    world.faults, before = {}, world.asked["PUT"]
    done = upload(world, film, journal)
    arrived(world, film)
    assert done.resumed
    assert world.asked["PUT"] - before <= 6


def test_a_refusal_of_the_api_is_raised_as_it_is(world: Deployment, clip: Path) -> None:
    async def call() -> None:
        async with AsyncSwitchyard(world.url, "another") as api:
            await api.upload(clip)

    with pytest.raises(AccessError, match="check the API key"):
        asyncio.run(call())


def test_the_same_call_again_after_the_end_uploads_nothing(world: Deployment, clip: Path, journal: Journal) -> None:
    first = upload(world, clip, journal)
    again = upload(world, clip, journal)
    assert (again.key, again.resumed, len(world.objects)) == (first.key, True, 1)
    journal.forget([uploads.upload_id(world.url, clip, clip.stat())])
    upload(world, clip, journal)
    assert len(world.objects) == 2


def test_a_changed_file_is_another_upload(world: Deployment, film: Path, journal: Journal) -> None:
    upload(world, film, journal)
    film.write_bytes(os.urandom(3 * PART))
    assert not upload(world, film, journal).resumed
    assert film.read_bytes() in world.objects.values()


def test_a_part_that_differs_from_the_file_is_sent_again(world: Deployment, film: Path, journal: Journal) -> None:
    plan(world, put=DYING)
    with pytest.raises(ConnectionLostError):
        upload(world, film, journal)
    [begun] = world.uploads.values()
    begun.parts[min(begun.parts)] = os.urandom(PART)
    world.faults = {}
    upload(world, film, journal)
    arrived(world, film)


def test_a_list_of_parts_of_many_pages_is_read_whole(world: Deployment, film: Path, journal: Journal) -> None:
    world.page = 2
    plan(world, complete=["503"] * 5)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        upload(world, film, journal)
    state = journal.get(uploads.upload_id(world.url, film, film.stat()))
    journal.put(uploads.upload_id(world.url, film, film.stat()), {"begun": state["begun"]})
    upload(world, film, journal)
    arrived(world, film)
    assert world.asked["PUT"] == 10


def test_an_upload_whose_end_was_lost_is_recognized(world: Deployment, film: Path, journal: Journal) -> None:
    plan(world, complete=["lost", "503", "503", "503", "503"])
    with pytest.raises(Exception, match="UNAVAILABLE"):
        upload(world, film, journal)
    world.faults = {}
    assert upload(world, film, journal).resumed
    arrived(world, film)


def test_an_upload_that_s3_has_forgotten_begins_anew(world: Deployment, film: Path, journal: Journal) -> None:
    plan(world, put=DYING)
    with pytest.raises(ConnectionLostError):
        upload(world, film, journal)
    world.uploads.clear()
    world.faults = {}
    assert not upload(world, film, journal).resumed
    arrived(world, film)


def test_a_file_that_changes_meanwhile_is_not_completed(world: Deployment, film: Path, journal: Journal) -> None:
    def change(sent: int, size: int) -> None:
        if sent == size:
            os.utime(film, (1, 1))

    with pytest.raises(UploadError, match="changed while it was sent"):
        upload(world, film, journal, progress=change)
    assert (world.objects, world.uploads) == ({}, {})


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"a"), ("empty.mp4", b""), ("missing.mp4", None)])
def test_what_can_not_be_uploaded_is_refused_before_any_request(
    world: Deployment, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UploadError):
        upload(world, tmp_path / name)
    assert not world.asked


PROGRAM = """
    import sys
    from pathlib import Path
    from switchyard_client import Journal, Switchyard, uploads

    uploads.SINGLE = 2**16
    url, key, file, state = sys.argv[1:]
    with Switchyard.from_url(url, key) as api:
        print(api.upload(file, journal=Journal(Path(state)), parallel=2).resumed)
"""


def test_an_upload_killed_twice_is_resumed(world: Deployment, film: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, str(program), world.url, KEY, str(film), str(tmp_path / "journal")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    world.pause = 0.2
    for parts in (2, 5):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not (world.uploads and len(next(iter(world.uploads.values())).parts) >= parts):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert len(world.uploads) == 1
    world.pause = 0
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"
    arrived(world, film)
    assert world.asked["PUT"] <= 10 + 2 * 2  # at each kill, two were under way


def test_memory_holds_no_more_than_the_parts_under_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uploads, "SINGLE", 2**20)
    file = tmp_path / "large.mkv"
    with file.open("wb") as sparse:
        sparse.truncate(96 * 2**20)
    code = f"""
        import resource, sys
        from pathlib import Path
        from switchyard_client import Switchyard
        with Switchyard.from_url(sys.argv[1], {KEY!r}) as api:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            api.upload({str(file)!r}, parallel=2)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    with deployment(part_size=4 * 2**20) as world:
        command = [sys.executable, "-c", textwrap.dedent(code), world.url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert [len(content) for content in world.objects.values()] == [96 * 2**20]
    assert int(ended.stdout) < 40 * 1024  # KiB; the parts under way are 8 MiB, the file is 96


def test_many_small_files_go_once_each(world: Deployment, tmp_path: Path, journal: Journal) -> None:
    files = [tmp_path / f"{number:04}.mp4" for number in range(300)]
    for number, file in enumerate(files):
        file.write_bytes(str(number).encode())

    async def call() -> None:
        async with AsyncSwitchyard(world.url, KEY, retries=PATIENT) as api:

            async def one(file: Path) -> None:
                await api.upload(file, journal=journal)

            await uploads.together(one, files, 16)

    asyncio.run(call())
    asyncio.run(call())
    assert sorted(world.objects.values(), key=int) == [str(number).encode() for number in range(300)]
