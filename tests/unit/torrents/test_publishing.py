"""In every order of two publishers' calls, the final torrent is that of the newest upload."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from switchyard.errors import Contended, ObjectChanged, ObjectGone
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.format.metainfo import Torrent
from switchyard.torrents.publishing import publish

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY, PLACE = "recordings/a.bin", "torrents/recordings/a.bin.torrent"


def upload(etag: str, minutes: int) -> ObjectVersion:
    return ObjectVersion("media", KEY, 1, etag, None, NOON + timedelta(minutes=minutes))


def torrent(of: ObjectVersion) -> Torrent:
    """Returns a torrent that differs from others by content and upload time."""
    return Torrent(f"{of.etag} of {of.modified}".encode(), of.etag, None, "")


@dataclass
class Bucket:
    """One object and its torrent, with S3's semantics. `before` is called before every call takes effect."""

    thing: ObjectVersion | None
    torrent: bytes | None = None
    before: Callable[[], None] = lambda: None
    puts: list[bytes] = field(default_factory=list)

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: ARG002, N803 - S3's names
        self.before()
        if Key == PLACE:
            return {"ETag": self._etag or refuse(404)}
        thing = self.thing or refuse(404)
        return {"ETag": f'"{thing.etag}"', "LastModified": thing.modified}

    def put_object(self, **call: Any) -> None:  # noqa: ANN401 - a call's parameters
        self.before()
        if "IfMatch" in call and self._etag is None:
            refuse(404)
        if call.get("IfMatch", self._etag) != self._etag or ("IfNoneMatch" in call and self._etag):
            refuse(412)
        assert {"IfMatch", "IfNoneMatch"} & set(call), "it would replace anything"
        self.torrent = call["Body"]
        self.puts.append(call["Body"])

    @property
    def _etag(self) -> str | None:
        return f'"{hashlib.md5(self.torrent, usedforsecurity=False).hexdigest()}"' if self.torrent else None


def refuse(status: int) -> Any:  # noqa: ANN401 - it never returns
    raise ClientError({"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}, "S3")  # type: ignore[typeddict-item]


def put(bucket: Bucket, of: ObjectVersion) -> None:
    publish(cast("Any", bucket), of, torrent(of), PLACE)


# ---- alone ----------------------------------------------------------------------------------------------------------

OLD, NEW = upload("old", 1), upload("new", 2)


@pytest.mark.parametrize("there", [None, torrent(OLD).data, torrent(NEW).data], ids=["nothing", "an older", "ours"])
def test_the_torrent_is_put_once_whatever_is_there(there: bytes | None) -> None:
    bucket = Bucket(NEW, there)
    put(bucket, NEW)
    assert (bucket.torrent, len(bucket.puts)) == (torrent(NEW).data, int(there != torrent(NEW).data))


@pytest.mark.parametrize(("thing", "error"), [(NEW, ObjectChanged), (None, ObjectGone)])
@pytest.mark.parametrize("there", [None, b"another"])
def test_nothing_is_put_for_what_is_no_longer_there(
    thing: ObjectVersion | None, error: type[Exception], there: bytes | None
) -> None:
    bucket = Bucket(thing, there)
    with pytest.raises(error):
        put(bucket, OLD)
    assert bucket.torrent == there


def test_a_place_that_never_stands_still_is_contended() -> None:
    bucket = Bucket(NEW, b"0")

    def change() -> None:
        bucket.torrent = (bucket.torrent or b"") + b"1"

    bucket.before = change
    with pytest.raises(Contended):
        put(bucket, NEW)


@pytest.mark.parametrize("status", [403, 503])
def test_what_s3_refuses_otherwise_passes(status: int) -> None:
    bucket = Bucket(NEW)
    bucket.before = lambda: refuse(status)
    with pytest.raises(ClientError):
        put(bucket, NEW)


# ---- in every order -------------------------------------------------------------------------------------------------


class Actor:
    """Code that runs in its own thread, one call per turn."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = False
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - looked at by who started it
            self.error = error
        self.ended = True
        self._stopped.release()

    def turn(self) -> None:
        """Continues until its next call or its end."""
        self._go.release()
        self._stopped.acquire()

    def wait(self) -> None:
        """Waits for the next turn, before each call takes effect."""
        self._stopped.release()
        self._go.acquire()


def _wait_for_turn(actors: Mapping[int | None, Actor]) -> None:
    actors[threading.get_ident()].wait()


def _run(path: list[tuple[int, int]], taken: list[tuple[int, int]], actors: list[Actor]) -> None:
    """Runs actors by the choices in `path`, then always the first ready one. Returns choices and their alternatives."""
    while able := [actor for actor in actors if not actor.ended]:
        choice = path[len(taken)][0] if len(taken) < len(path) else 0
        taken.append((choice, len(able)))
        able[choice].turn()


def orders() -> Iterator[Callable[[list[Actor]], None]]:
    """Yields runs of the actors until every order of their calls has been run."""
    path: list[tuple[int, int]] = []
    while True:
        taken: list[tuple[int, int]] = []
        yield partial(_run, path, taken)
        while taken and taken[-1][0] == taken[-1][1] - 1:
            taken.pop()
        if not taken:
            return
        path = [*taken[:-1], (taken[-1][0] + 1, taken[-1][1])]


@pytest.mark.parametrize(
    ("first", "second", "there"),
    [
        (OLD, NEW, None),
        (OLD, NEW, torrent(upload("older", 0)).data),
        # The bytes of long ago are uploaded once more: the torrent that is there is theirs, but for its date.
        (OLD, upload("older", 2), torrent(upload("older", 0)).data),
    ],
    ids=["the first torrents", "a torrent is there", "old bytes come back"],
)
def test_an_older_torrent_never_replaces_a_newer_one(
    first: ObjectVersion, second: ObjectVersion, there: bytes | None
) -> None:
    ways = 0
    for run in orders():
        bucket = Bucket(first, there)
        slow = Actor(partial(put, bucket, first))

        def replace_and_publish(bucket: Bucket = bucket) -> None:
            bucket.before()
            bucket.thing = second
            put(bucket, second)

        quick = Actor(replace_and_publish)
        by_thread = {actor.thread.ident: actor for actor in (slow, quick)}
        bucket.before = partial(_wait_for_turn, by_thread)
        run([slow, quick])
        assert (bucket.torrent, quick.error) == (torrent(second).data, None)
        assert slow.error is None or isinstance(slow.error, ObjectChanged)
        ways += 1
    assert ways > 20
