"""The worker `seed_torrent` as it is started: a process in its own environment, with all it talks to on 127.0.0.1."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import libtorrent
import pytest

from local.demos.torrent_clients import by_libtorrent
from local.serving import served
from switchyard.torrents.format import bencode
from switchyard.torrents.format.metainfo import Sharing
from tests.unit.workers import attempts, standin
from tests.unit.workers.attempts import BUCKET, Outcome
from tests.unit.workers.standin import Fault, StandIn
from tests.unit.workers.torrents import BODY, KEY, OTHER, changed, hybrid_of, torrent_of

PATIENCE = 60.0
LARGE = 200 * 2**20
BRIEFLY = {"SEED_SECONDS": "1"}
PERMANENT_FAILURE = 65
TRY_AGAIN = 75


class Account(attempts.Account):
    """An account whose bucket has a torrent."""

    patience = PATIENCE

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(
            stand_in.url,
            "seed_torrent",
            AWS_REGION="us-east-1",
            AWS_BATCH_JOB_ID="run-1",
            LISTEN_INTERFACES="127.0.0.1:0",
            SEED_RATIO="0",
        )
        self.stand_in = stand_in

    def put(self, body: bytes) -> str:
        """Puts the object and returns its version."""
        self.stand_in.reset()
        return self.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)["ETag"].strip('"')

    def serve(self, file: Path) -> str:
        """Puts the object as a file that the stand-in serves, and returns its version."""
        self.stand_in.reset()
        self.stand_in.uploads[f"/{BUCKET}/{KEY}"] = file
        return self.s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"].strip('"')

    def share(self, torrent: bytes, version: str) -> None:
        """Puts its torrent, and creates the job that seeds it."""
        key = f"torrents/{KEY}.torrent"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=torrent, Metadata={"source-version": version})
        self.record(input={"torrentKey": key})

    def run(self, **variables: str) -> Outcome:
        """Runs one attempt."""
        return self.finish(self.start(**variables))

    @contextmanager
    def seeding(self, **variables: str) -> Iterator["Seeder"]:
        """Runs an attempt that seeds until it ends by itself or is stopped."""
        seeder = Seeder(self, self.start(**variables))
        try:
            yield seeder
        finally:
            if not seeder.ended:
                seeder.process.kill()
                self.finish(seeder.process)


@dataclass
class Seeder:
    """A running worker."""

    account: Account
    process: "subprocess.Popen[str]"
    ended: bool = False

    def port(self) -> int:
        """Waits until it has the whole object, and returns its port."""

        def told() -> int:
            progress = self.account.item().get("progress", {})
            return int(progress["port"]) if "seeding" in progress.get("message", "") else 0

        return until(told)

    def outcome(self) -> Outcome:
        """Waits for its end."""
        self.ended = True
        return self.account.finish(self.process)


def until[T](look: Callable[[], T]) -> T:
    """Waits until `look` returns something, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        yield account


@dataclass
class Tracker:
    """A tracker that records announces."""

    url: str = ""
    heard: list[Mapping[str, str]] = field(default_factory=list)

    def events(self) -> list[str]:
        """Returns the events of all announces, in order."""
        return [announce.get("event", "") for announce in self.heard]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    found = Tracker()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
            found.heard.append({name: values[0] for name, values in query.items()})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"d8:intervali60e5:peers0:e")

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with served(Handler) as address:
        found.url = f"{address}/announce?key=secret"
        yield found


@contextmanager
def downloading(torrent: bytes, folder: Path, port: int) -> Iterator[None]:
    """Downloads from this port of 127.0.0.1 while the block runs."""
    quiet = dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False)
    session = libtorrent.session({"listen_interfaces": "127.0.0.1:0", **quiet})  # type: ignore[call-overload]
    parameters = libtorrent.load_torrent_buffer(torrent)
    parameters.save_path = str(folder)
    session.add_torrent(parameters).connect_peer(("127.0.0.1", port))
    yield


@pytest.mark.parametrize("torrent", [torrent_of(BODY), hybrid_of(BODY)], ids=["v1", "hybrid"])
def test_a_peer_gets_the_object_from_the_worker_alone(account: Account, tmp_path: Path, torrent: bytes) -> None:
    file = tmp_path / "wanted.torrent"
    file.write_bytes(torrent)
    account.share(torrent, account.put(BODY))

    with account.seeding() as seeder:
        got = by_libtorrent(file, tmp_path, peers={"127.0.0.1": seeder.port()}, web_seeds=False, seconds=PATIENCE)

    assert got.read_bytes() == BODY


def test_a_torrents_own_web_seeds_are_left_alone(account: Account, tracker: Tracker) -> None:
    account.share(
        torrent_of(BODY, Sharing(web_seed_base_urls=[tracker.url.partition("/announce")[0]])), account.put(BODY)
    )

    assert account.run(**BRIEFLY).exit_code == 0
    assert tracker.heard == []


def test_it_ends_when_enough_is_shared(account: Account, tmp_path: Path) -> None:
    torrent = torrent_of(BODY)
    account.share(torrent, account.put(BODY))

    with account.seeding(SEED_RATIO="0.5") as seeder, downloading(torrent, tmp_path, seeder.port()):
        outcome = seeder.outcome()

    assert outcome.exit_code == 0
    result = outcome.item["result"]
    assert result["ended"] == "ratio"
    assert result["ratio"] >= Decimal("0.5")
    assert result["uploaded"] >= len(BODY) // 2
    assert result["infohash"] == str(libtorrent.load_torrent_buffer(torrent).info_hashes.v1)


def test_it_ends_when_its_time_is_over(account: Account, tmp_path: Path) -> None:
    account.share(torrent_of(BODY), account.put(BODY))

    outcome = account.fresh().run(**BRIEFLY, TMPDIR=str(tmp_path))

    assert outcome.exit_code == 0
    result = outcome.item["result"]
    assert (result["ended"], result["uploaded"], result["ratio"]) == ("time", 0, 0)
    assert result["seconds"] >= 1
    assert list(tmp_path.iterdir()) == []  # nothing is left on the disk


def test_it_tells_how_it_stands(account: Account) -> None:
    account.share(torrent_of(BODY), account.put(BODY))

    with account.seeding() as seeder:
        port = seeder.port()
        progress = account.item()["progress"]

    assert progress == {
        "percent": 0,
        "message": "seeding: ratio 0.00, 0 peers",
        "uploaded": 0,
        "ratio": 0,
        "peers": 0,
        "port": port,
    }


def test_told_to_stop_it_says_what_it_has_shared(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "wanted.torrent"
    file.write_bytes(torrent_of(BODY))
    account.share(file.read_bytes(), account.put(BODY))

    with account.seeding() as seeder:
        by_libtorrent(file, tmp_path, peers={"127.0.0.1": seeder.port()}, web_seeds=False, seconds=PATIENCE)
        seeder.process.send_signal(signal.SIGTERM)
        outcome = seeder.outcome()

    assert outcome.exit_code == TRY_AGAIN
    result = outcome.item["result"]
    assert result["partial"]
    assert (result["ended"], result["uploaded"]) == ("stopped", len(BODY))


def test_its_trackers_hear_that_it_comes_and_goes(account: Account, tracker: Tracker) -> None:
    account.share(torrent_of(BODY, Sharing(trackers=[[tracker.url]])), account.put(BODY))

    with account.seeding() as seeder:
        until(tracker.events)
        seeder.process.send_signal(signal.SIGTERM)
        seeder.outcome()

    assert (tracker.events()[0], tracker.events()[-1]) == ("started", "stopped")


def test_an_object_replaced_midway_ends_it(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_bytes(BODY)
    account.share(torrent_of(BODY), account.serve(file))

    def replace() -> None:
        file.write_bytes(OTHER + b"longer")  # whereby its ETag is another

    account.stand_in.before_get = replace

    outcome = account.run()

    assert outcome.exit_code == PERMANENT_FAILURE
    assert outcome.error[0] == "OBJECT_CHANGED"


def test_bytes_that_arent_the_torrents_end_it(account: Account) -> None:
    account.share(torrent_of(OTHER), account.put(BODY))

    outcome = account.run()

    assert outcome.exit_code == PERMANENT_FAILURE
    assert outcome.error[0] == "WRONG_BYTES"


def test_an_object_that_cant_be_read_ends_it_in_time(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_bytes(BODY)
    account.share(torrent_of(BODY), account.serve(file))
    account.stand_in.faults = [Fault(status=503)] * 100

    outcome = account.run(STALL_SECONDS="1")

    assert outcome.exit_code == TRY_AGAIN
    assert outcome.error[0] == "STALLED"
    assert "503" in outcome.error[1]


def test_a_passing_fault_of_s3_is_overcome_and_no_signed_address_logged(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_bytes(BODY)
    account.share(torrent_of(BODY), account.serve(file))
    account.stand_in.faults = [Fault(status=503), Fault(bytes_sent=1000)]

    outcome = account.run(**BRIEFLY)

    assert outcome.exit_code == 0
    assert "X-Amz" not in str(outcome.log)


def test_what_isnt_under_the_prefix_isnt_read(account: Account) -> None:
    account.record(input={"torrentKey": f"watch/{KEY}.torrent"})

    outcome = account.run()

    assert outcome.exit_code == PERMANENT_FAILURE
    assert outcome.error[0] == "BAD_INPUT"


def test_another_prefix_is_a_setting(account: Account) -> None:
    account.put(BODY)
    account.record(input={"torrentKey": f"watch/{KEY}.torrent"})

    assert account.run(TORRENT_PREFIX="watch/").error[0] == "TORRENT_NOT_FOUND"


def test_what_the_disk_has_no_room_for_isnt_begun(account: Account, tmp_path: Path) -> None:
    length = 2**27
    count = shutil.disk_usage(tmp_path).total // length + 1
    huge: dict[str, bencode.Bencodable] = {"length": count * length, "name": "huge", "piece length": length}
    huge["pieces"] = bytes(20 * count)
    account.share(changed(torrent_of(BODY), info=huge), account.put(BODY))

    outcome = account.run(TMPDIR=str(tmp_path))

    assert outcome.exit_code == PERMANENT_FAILURE
    assert outcome.error[0] == "NO_SPACE"


def test_a_port_that_is_taken_is_named(account: Account) -> None:
    account.share(torrent_of(BODY), account.put(BODY))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        outcome = account.run(LISTEN_INTERFACES=address)

    assert outcome.exit_code == PERMANENT_FAILURE
    assert outcome.error[0] == "CANNOT_LISTEN"
    assert address in outcome.error[1]


@pytest.mark.heavy
def test_memory_doesnt_grow_with_the_object(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "object"
    body = bytes(LARGE)
    file.write_bytes(body)
    account.share(torrent_of(body), account.serve(file))

    outcome = account.fresh().run(**BRIEFLY)

    assert outcome.exit_code == 0
    assert outcome.peak_megabytes < LARGE / 10**6
