"""Torrents of uploads under the shared prefix, read and downloaded by third-party clients."""

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import libtorrent
import pytest

from local import api
from local.demos.mirror import mirror
from local.demos.torrent_clients import by_aria2, by_libtorrent
from switchyard.torrents.format.layout import Format, Layout
from switchyard.torrents.hashing import Stream, describe
from tests.integration.system import Item, System

CREATOR = "S3TorrentCreatorFunction"
SHARED = "recordings/"
MIB = 2**20
AWKWARD = "my file+ü #1 100%.bin"
DEAD = "http://127.0.0.1:1"
"""A web seed that nobody answers at."""


@pytest.fixture(scope="module")
def shared(scene: System) -> Iterator[System]:
    """Sets up two web seeds: a dead one, and a mirror of the shared objects."""
    with mirror(scene.stack.client("s3"), scene.bucket, SHARED) as address:
        scene.deploy(WebSeedBaseUrls=f"{DEAD},{address}")
        yield scene


@pytest.fixture
def http(scene: System) -> Iterator[httpx.Client]:
    with api.client(scene.stack) as client:
        yield client


def content(size: int, seed: int = 0) -> bytes:
    """Returns bytes that don't repeat."""
    return hashlib.shake_128(bytes([seed])).digest(size)


def share(system: System, data: bytes, name: str = AWKWARD, key: str | None = None) -> str:
    """Uploads an object that S3 announces, and returns its key."""
    key = key or f"{SHARED}{uuid.uuid4()}/{name}"
    system.stack.client("s3").put_object(Bucket=system.bucket, Key=key, Body=data)
    return key


def torrent_of(system: System, key: str, folder: Path) -> Path:
    """Returns an object's torrent as a file."""
    path = folder / f"{uuid.uuid4()}.torrent"
    found = system.stack.client("s3").get_object(Bucket=system.bucket, Key=f"torrents/{key}.torrent")
    path.write_bytes(found["Body"].read())
    return path


def pieces(data: bytes, length: int) -> list[bytes]:
    return [
        hashlib.sha1(data[start : start + length], usedforsecurity=False).digest()
        for start in range(0, len(data), length)
    ]


def pieces_of(torrent: Path) -> list[bytes]:
    info = libtorrent.torrent_info(str(torrent))
    return [info.hash_for_piece(number) for number in range(info.num_pieces())]


# ---- what clients make of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v1", "hybrid"])
@pytest.mark.parametrize("download", [by_aria2, by_libtorrent])
def test_a_client_downloads_the_object_from_the_web_seeds_alone(
    shared: System, tmp_path: Path, download: Callable[[Path, Path], Path], form: str
) -> None:
    data = content(5 * MIB + 1)
    with shared.variables(CREATOR, TORRENT_FORMAT=form):
        key = share(shared, data)
        shared.completed(key)

    got = download(torrent_of(shared, key, tmp_path), tmp_path)

    assert (got.name, got.read_bytes() == data) == (AWKWARD, True)


def test_whoever_has_the_torrent_of_an_object_replaced_since_gets_what_it_describes(
    shared: System, tmp_path: Path
) -> None:
    old, new = content(2 * MIB, seed=1), content(2 * MIB, seed=2)
    key = share(shared, old)
    shared.completed(key)
    torrent = torrent_of(shared, key, tmp_path)
    share(shared, new, key=key)

    got = by_libtorrent(torrent, tmp_path)

    assert got.read_bytes() == old


def test_a_new_upload_makes_a_new_torrent_in_the_place_of_the_old(shared: System, tmp_path: Path) -> None:
    key = share(shared, content(2 * MIB, seed=1))
    shared.completed(key)
    new = content(3 * MIB, seed=2)
    share(shared, new, key=key)

    def both() -> bool:
        return [job["status"] for job in shared.jobs(key)] == ["COMPLETED", "COMPLETED"]

    shared.until(both, "the second torrent")

    assert by_libtorrent(torrent_of(shared, key, tmp_path), tmp_path).read_bytes() == new


@pytest.fixture
def seeding(shared: System) -> Iterator[System]:
    """Sets up the system with a task that seeds each torrent."""
    shared.deploy(TransmissionTaskDefinition="seed-torrent")
    yield shared
    shared.deploy(TransmissionTaskDefinition="")


def test_the_torrent_can_be_had_from_its_seeder_alone(seeding: System, tmp_path: Path, http: httpx.Client) -> None:
    data = content(2 * MIB)
    key = share(seeding, data)
    [job] = seeding.completed(key)
    seeder = f"/jobs/{job['result']['seeding']}"

    def port() -> int | None:
        found: int | None = http.get(seeder).json().get("progress", {}).get("port")
        return found

    peers = {"127.0.0.1": seeding.until(port, "the seeder to listen")}
    got = by_libtorrent(torrent_of(seeding, key, tmp_path), tmp_path, peers=peers, web_seeds=False)
    http.delete(seeder)
    seeding.until(lambda: http.get(seeder).json()["status"] == "CANCELLED", "the seeder to stop")

    assert got.read_bytes() == data


def test_the_pieces_of_what_is_read_make_the_checksum_that_s3_keeps_of_its_parts(system: System) -> None:
    s3, key, part, data = system.stack.client("s3"), f"quiet/{uuid.uuid4()}", 8 * MIB, content(20 * MIB)
    upload = s3.create_multipart_upload(Bucket=system.bucket, Key=key, ChecksumAlgorithm="SHA1")
    place = {"Bucket": system.bucket, "Key": key, "UploadId": upload["UploadId"]}
    parts = [
        {"PartNumber": number, **_sent(s3.upload_part(**place, PartNumber=number, Body=data[start : start + part]))}
        for number, start in enumerate(range(0, len(data), part), 1)
    ]
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})

    layout = Layout(len(data), part, Format.V1)
    thing = describe(s3, system.bucket, key).thing
    read = Stream(s3, 4).digests(thing, layout, layout.whole, out_of_time=lambda: False, progress=lambda _: None)

    kept = s3.head_object(Bucket=system.bucket, Key=key, ChecksumMode="ENABLED")["ChecksumSHA1"]
    assert base64.b64encode(hashlib.sha1(read, usedforsecurity=False).digest()).decode() == kept.partition("-")[0]


def _sent(answer: Item) -> Item:
    return {name: answer[name] for name in ("ETag", "ChecksumSHA1") if name in answer}


# ---- ways in --------------------------------------------------------------------------------------------------------


def test_being_told_twice_of_one_upload_makes_one_torrent(system: System) -> None:
    key = share(system, content(1000))
    system.completed(key)

    system.send(system.notification(key), "TorrentQueue")
    system.drained("TorrentQueue")

    [job] = system.jobs(key)
    assert (job["status"], job["fence"]) == ("COMPLETED", 1)


def test_a_plain_message_makes_a_torrent_of_an_object_that_s3_told_nobody_of(system: System, tmp_path: Path) -> None:
    data = content(1000)
    key = share(system, data, key=f"quiet/{uuid.uuid4()}/file.bin")

    system.send({"bucket": system.bucket, "key": key}, "TorrentQueue")
    system.completed(key)

    assert pieces_of(torrent_of(system, key, tmp_path)) == pieces(data, MIB)


def test_a_direct_invocation_answers_with_the_torrent(system: System, tmp_path: Path) -> None:
    key = share(system, content(1000), key=f"quiet/{uuid.uuid4()}/file.bin")

    answer = system.invoke(CREATOR, {"bucket": system.bucket, "key": key})

    made = libtorrent.torrent_info(str(torrent_of(system, key, tmp_path)))
    assert (answer["status"], answer["infohash"]) == ("COMPLETED", str(made.info_hash()))
    assert libtorrent.parse_magnet_uri(answer["magnet"]).info_hash == made.info_hash()


def test_the_api_tells_the_torrent_of_an_object_and_where_to_get_it(
    system: System, http: httpx.Client, tmp_path: Path
) -> None:
    key = share(system, content(1000))

    asked = http.post("/torrents", json={"key": key})
    assert asked.status_code == 202, asked.text
    system.completed(key)

    job = http.get(f"/jobs/{asked.json()['jobId']}").json()
    [link] = job["links"].values()
    linked = httpx.get(link, trust_env=False).content
    assert linked == torrent_of(system, key, tmp_path).read_bytes()
    assert job["result"]["infohash"] == str(libtorrent.torrent_info(linked).info_hash())
    assert job["result"]["infohash"] in job["result"]["magnet"]


def test_the_api_knows_no_torrent_of_an_object_that_is_not_there(system: System, http: httpx.Client) -> None:
    answer = http.post("/torrents", json={"key": f"{SHARED}{uuid.uuid4()}/nothing.ts"})

    assert (answer.status_code, answer.json()["error"]) == (404, "OBJECT_NOT_FOUND")


def test_a_torrent_asked_for_while_processing_is_off_can_be_cancelled(system: System, http: httpx.Client) -> None:
    system.deploy(TorrentProcessingEnabled="false")
    key = share(system, content(1000))
    job_id = http.post("/torrents", json={"key": key}).json()["jobId"]

    http.delete(f"/jobs/{job_id}")
    system.deploy(TorrentProcessingEnabled="true")
    system.drained("TorrentQueue")

    [job] = system.jobs(key)
    assert job["status"] == "CANCELLED"


# ---- what is not made -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file.torrent", "folder/", "pieces-1/00001.ts"])
def test_what_is_nobodys_to_share_is_passed_over(system: System, name: str) -> None:
    key = share(system, b"x", name=name)

    system.drained("TorrentQueue")

    assert (system.jobs(key), system.messages("TorrentDeadLetterQueue")) == ([], [])


def test_an_empty_object_is_refused_in_so_many_words(system: System) -> None:
    key = share(system, b"")

    job = system.wait_for(key, "FAILED")

    assert job["error"]["code"] == "EMPTY_OBJECT"


def test_a_message_for_another_bucket_is_dead_lettered_with_the_reason(system: System) -> None:
    system.send({"bucket": "somebody-elses", "key": "file.bin"}, "TorrentQueue")
    system.drained("TorrentQueue")

    [dead] = system.messages("TorrentDeadLetterQueue")
    assert dead["attributes"]["ErrorType"] == "SOURCE_NOT_ALLOWED"


# ---- huge objects ---------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(system: System) -> Iterator[System]:
    """Sets up the system with segments of 4 MB: a third of twelve seconds at 1 MB/s."""
    client, name = system.stack.client("lambda"), system.stack.resource(CREATOR)
    with system.variables(CREATOR, HASH_MEGABYTES_PER_SECOND="1"):
        client.update_function_configuration(FunctionName=name, Timeout=12)
        try:
            yield system
        finally:
            client.update_function_configuration(FunctionName=name, Timeout=900)


def test_a_huge_object_is_hashed_by_several_invocations(slow: System, tmp_path: Path) -> None:
    data = content(20 * MIB + 7)
    key = share(slow, data)

    slow.completed(key)

    assert pieces_of(torrent_of(slow, key, tmp_path)) == pieces(data, MIB)
    # Distinct ones, of 3 pieces each: on a slow machine a message may come twice, and its chunk is hashed twice.
    chunks = {line["chunk"] for line in slow.log(CREATOR) if line.get("message") == "chunk hashed"}
    assert len(chunks) == 7


def test_a_killed_segment_is_done_again(slow: System, tmp_path: Path) -> None:
    data = content(40 * MIB)
    key = share(slow, data)
    slow.until(lambda: (slow.job(key) or {}).get("chunks"), "a first segment", every=0.01)

    killed = slow.kill_function(CREATOR)
    slow.completed(key, seconds=120)

    assert killed
    assert pieces_of(torrent_of(slow, key, tmp_path)) == pieces(data, MIB)
