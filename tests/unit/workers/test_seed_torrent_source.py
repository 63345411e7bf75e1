"""The worker `seed_torrent`: the torrents and objects it accepts, its settings, and which peers may find it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import boto3
import libtorrent
import pytest
from moto import mock_aws

from seed_torrent.settings import Settings
from seed_torrent.source import Source, Torrent, keys, torrent
from seed_torrent.swarm import Swarm
from switchyard.torrents.format import bencode
from switchyard.torrents.format.metainfo import Sharing
from switchyard_worker import PermanentFailure
from tests.unit.workers.attempts import BUCKET
from tests.unit.workers.torrents import BODY, KEY, OTHER, PIECE, changed, torrent_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

TORRENT_KEY = f"torrents/{KEY}.torrent"
FOLDER: dict[str, bencode.Bencodable] = {
    "files": [{"length": 1, "path": ["a"]}, {"length": 1, "path": ["b"]}],
    "name": "folder",
    "piece length": PIECE,
    "pieces": bytes(20),
}


@pytest.fixture
def s3() -> "Iterator[S3Client]":
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture(params=["plain", "versioned"])
def either_s3(s3: "S3Client", request: pytest.FixtureRequest) -> "S3Client":
    """Yields S3 with an unversioned and with a versioned bucket."""
    if request.param == "versioned":
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return s3


def uploaded(s3: "S3Client", body: bytes = BODY) -> str:
    """Puts a new object and returns its version."""
    answer = s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    return str(answer.get("VersionId", answer["ETag"].strip('"')))


def shared(s3: "S3Client", data: bytes, version: str | None) -> Torrent:
    """Returns the torrent as read from S3."""
    metadata = {"source-version": version} if version else {}
    s3.put_object(Bucket=BUCKET, Key=TORRENT_KEY, Body=data, Metadata=metadata)
    return torrent(s3, BUCKET, TORRENT_KEY)


def source(s3: "S3Client", version: str) -> Source:
    """Returns the object of a torrent of `BODY` in this version."""
    return Source(s3, BUCKET, KEY, shared(s3, torrent_of(BODY), version))


def test_the_objects_key_is_the_torrents_without_prefix_and_suffix() -> None:
    assert keys({"torrentKey": TORRENT_KEY}, "torrents/") == (TORRENT_KEY, KEY)


@pytest.mark.parametrize(
    "key", ["watch/a.torrent", "torrents/a.mkv", "torrents/.torrent", "a/torrents/a.torrent", "", None, 7]
)
def test_only_a_torrents_key_is_one(key: object) -> None:
    with pytest.raises(PermanentFailure) as raised:
        keys({"torrentKey": key}, "torrents/")

    assert raised.value.code == "BAD_INPUT"


@pytest.mark.parametrize(
    "data", [b"", b"no torrent", changed(torrent_of(BODY), info=None)], ids=["empty", "text", "without info"]
)
def test_what_isnt_a_torrent_is_refused(s3: "S3Client", data: bytes) -> None:
    with pytest.raises(PermanentFailure) as raised:
        shared(s3, data, "1")

    assert raised.value.code == "NOT_A_TORRENT"


def test_a_torrent_too_large_to_be_one_isnt_read(s3: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    data = torrent_of(BODY)
    monkeypatch.setattr("seed_torrent.source.MAX_TORRENT_BYTES", len(data) - 1)

    with pytest.raises(PermanentFailure, match="more than") as raised:
        shared(s3, data, "1")

    assert raised.value.code == "NOT_A_TORRENT"


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (changed(torrent_of(BODY), created_by="mktorrent"), "1"),
        (changed(torrent_of(BODY), created_by=None), "1"),
        (torrent_of(BODY), None),
        (changed(torrent_of(BODY), info=FOLDER), "1"),
    ],
    ids=["another's", "nobody's", "of no version", "of two files"],
)
def test_a_torrent_that_wasnt_made_here_is_refused(s3: "S3Client", data: bytes, version: str | None) -> None:
    with pytest.raises(PermanentFailure) as raised:
        shared(s3, data, version)

    assert raised.value.code == "NOT_OUR_TORRENT"


def test_the_address_is_of_the_version_that_the_torrent_is_about(either_s3: "S3Client") -> None:
    version = uploaded(either_s3)

    address = urlsplit(source(either_s3, version).url())

    pinned = [version] if "VersionId" in either_s3.head_object(Bucket=BUCKET, Key=KEY) else None
    assert parse_qs(address.query).get("versionId") == pinned


def test_an_object_uploaded_anew_isnt_the_torrents_any_more(either_s3: "S3Client") -> None:
    version = uploaded(either_s3)
    uploaded(either_s3, OTHER)

    with pytest.raises(PermanentFailure) as raised:
        source(either_s3, version).url()

    assert raised.value.code == "OBJECT_CHANGED"


def test_an_object_of_another_size_isnt_the_torrents(either_s3: "S3Client") -> None:
    with pytest.raises(PermanentFailure) as raised:
        source(either_s3, uploaded(either_s3, BODY + b"more")).url()

    assert raised.value.code == "OBJECT_CHANGED"


def test_a_deleted_object_isnt_shared(either_s3: "S3Client") -> None:
    version = uploaded(either_s3)
    either_s3.delete_object(Bucket=BUCKET, Key=KEY)

    with pytest.raises(PermanentFailure) as raised:
        source(either_s3, version).url()

    assert raised.value.code == "OBJECT_GONE"


@pytest.mark.parametrize(
    ("endpoint", "is_local"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("http://10.0.0.7:4566", False),
        ("http://169.254.169.254", False),
        (None, False),
    ],
)
def test_only_an_s3_on_this_machine_is_local(endpoint: str | None, is_local: bool) -> None:  # noqa: FBT001
    made = libtorrent.load_torrent_buffer(torrent_of(BODY))
    assert made.ti
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint)

    assert Source(client, BUCKET, KEY, Torrent(made, made.ti, "1")).is_local is is_local


def test_a_private_torrents_peers_come_from_its_trackers_alone(tmp_path: str) -> None:
    made = libtorrent.load_torrent_buffer(torrent_of(BODY, Sharing(private=True)))
    assert made.ti
    settings = Settings.from_env({"LISTEN_INTERFACES": "127.0.0.1:0", "DHT": "true"})

    with Swarm(Torrent(made, made.ti, "1"), str(tmp_path), settings, local=True) as swarm:
        found = swarm._session.get_settings()

    assert not any(found[name] for name in ("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"))


def test_settings_have_defaults() -> None:
    assert Settings.from_env({}) == Settings("torrents/", "0.0.0.0:6881,[::]:6881", 86400, 2.0, 300, dht=False)


def test_bad_settings_are_named_all_at_once() -> None:
    variables = {
        "LISTEN_INTERFACES": "6881",
        "SEED_SECONDS": "-1",
        "SEED_RATIO": "nan",
        "STALL_SECONDS": "0",
        "DHT": "yes",
    }

    with pytest.raises(PermanentFailure) as raised:
        Settings.from_env(variables)

    assert raised.value.code == "BAD_ENVIRONMENT"
    assert all(name in raised.value.message for name in variables)


def test_seeding_has_a_limit() -> None:
    with pytest.raises(PermanentFailure, match="for ever"):
        Settings.from_env({"SEED_SECONDS": "0", "SEED_RATIO": "0"})


@pytest.mark.parametrize(
    ("variables", "reached"),
    [
        ({}, (0.5, "time")),
        ({"SEED_SECONDS": "0"}, (0.25, "ratio")),
        ({"SEED_RATIO": "0"}, (0.5, "time")),
        ({"SEED_RATIO": "0.5"}, (1.0, "ratio")),
    ],
)
def test_the_nearest_limit_counts(variables: Mapping[str, str], reached: tuple[float, str]) -> None:
    assert Settings.from_env(variables).reached(43200, 0.5) == reached
