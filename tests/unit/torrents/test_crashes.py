"""If an invocation dies at any call, before or after its effect, there is one correct torrent in the end."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from switchyard.torrents.format.metainfo import Sharing
from tests.fakes.crashing import Countdown, Freeze
from tests.unit.torrents.world import BUCKET, MIB, ONE_PIECE_EACH, SEEDING, TorrentWorld, content, torrent_key

SMALL = content(100)
TWO = content(MIB + 1)


def small(torrents: TorrentWorld) -> None:
    """Sets up the first torrent of an object."""


def republished(torrents: TorrentWorld) -> None:
    """Sets up a torrent of an older upload."""
    torrents.s3.put_object(Bucket=BUCKET, Key=torrent_key(torrents.key), Body=b"an older one")


def in_segments(torrents: TorrentWorld) -> None:
    """Sets up an object of two segments."""
    torrents.set(megabytes_per_second=ONE_PIECE_EACH)


ROADS: dict[Callable[[TorrentWorld], None], bytes] = {small: SMALL, republished: SMALL, in_segments: TWO}


class Once(Countdown):
    """Kills the invocation that makes the chosen call, and none after it."""

    def strike(self) -> None:
        self.calls = None
        super().strike()


def every_death() -> Iterator[Countdown]:
    """Repeats the work with a kill before and after each call's effect, until no call is left."""
    for after_effect in (False, True):
        for calls in count():
            kill = Once(calls, after_effect)
            yield kill
            if kill.calls is not None:
                break


@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.__name__)
def test_whoever_dies_the_torrent_is_made_once(road: Callable[[TorrentWorld], None], torrents: TorrentWorld) -> None:
    data = ROADS[road]
    torrents.seeding_queue = SEEDING
    for number, kill in enumerate(every_death()):
        key = f"recordings/job-7/{number}.bin"
        with torrents.about(key):
            road(torrents)
            version = torrents.upload(data)
            while torrents.deliver(kill=kill):
                pass
            assert torrents.outcome(version) == ("COMPLETED", None), kill
            assert torrents.is_torrent_of(data), kill
            assert torrents.dead_letters == [], kill
            assert {queued.body for queued in torrents.sqs.queues[SEEDING]} != set()
            torrents.sqs.queues[SEEDING].clear()


def test_two_that_put_the_chunks_together_at_once_make_one_torrent(torrents: TorrentWorld) -> None:
    """The last segment is delivered again while the first delivery is at any of its calls."""
    in_segments(torrents)
    for number in count():
        with torrents.about(f"recordings/job-7/{number}.bin"):
            version = torrents.upload(TWO)
            for _ in range(2):
                torrents.deliver()
            body = torrents.messages[0].body
            freeze = Freeze(number)
            freeze.run(partial(torrents.deliver, kill=freeze))
            torrents.send(body)
            torrents.deliver_all()
            freeze.thaw()
            torrents.deliver_all()
            assert freeze.error is None
            assert torrents.outcome(version) == ("COMPLETED", None)
            assert torrents.is_torrent_of(TWO)
            if freeze.calls is not None:
                return


def test_a_slow_one_that_was_taken_over_changes_nothing(torrents: TorrentWorld) -> None:
    """It freezes at any call, is considered dead, and continues after another invocation has done the work."""
    for number in count():
        with torrents.about(f"recordings/job-7/{number}.bin"):
            torrents.set(sharing=Sharing(comment="old"))
            version = torrents.upload(SMALL)
            queued = torrents.messages[0]
            freeze = Freeze(number)
            freeze.run(partial(torrents.deliver, kill=freeze))
            torrents.set(sharing=Sharing(comment="new"))
            torrents.send(queued.body)
            torrents.time.pass_grace()
            torrents.deliver_all()
            freeze.thaw()
            torrents.deliver_all()
            assert freeze.error is None
            assert torrents.outcome(version) == ("COMPLETED", None)
            assert torrents.is_torrent_of(SMALL)
            if freeze.calls is not None:
                return
