"""Deliveries to webhooks: signed, repeated, given up, disabled; and what receivers can't do to us or to each other."""

import contextlib
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.errors import InvalidMessage
from switchyard.notifications.signatures import derived_secret
from switchyard.notifications.table import HELD, Busy, Slot
from switchyard.notifications.webhooks import (
    FEW_SLOTS,
    LONGEST_FAILURE,
    RETRIES,
    SLOTS,
    TWO_SECRETS,
    Delivery,
    Disabled,
    Webhook,
    longest_put_off,
    wait_after,
)
from switchyard.outside import receivers
from switchyard.outside.sites import Answer, NoAnswer
from switchyard.protocol.jobs import Status
from tests.cases import cases
from tests.conftest import Aws
from tests.corpus.urls import INSIDE
from tests.fakes.crashing import Countdown
from tests.fakes.receiver import Receiver, receiving
from tests.fakes.resolver import resolving
from tests.unit.notifications.world import HERE, MASTER, Hooks, message

DAY: Final = timedelta(days=1)
WELL: Final = Answer(204, b"")
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture
def hooks(aws: Aws) -> Hooks:
    return Hooks(aws.dynamodb)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def answering(*answers: int | None, retry_after: str | None = None) -> Any:  # noqa: ANN401 - a `Post`
    """Posts nothing; each attempt gets the next answer, None for no answer, and the last one for ever."""
    left = list(answers)

    def post(*_: object) -> Answer:
        status = left.pop(0) if len(left) > 1 else left[0]
        if status is None:
            raise NoAnswer("no complete response: TimeoutError")
        return Answer(status, b"", retry_after)

    return post


# ---- to a real receiver ---------------------------------------------------------------------------------------------


def test_a_delivery_keeps_its_id_in_a_message() -> None:
    moment = datetime(2026, 11, 30, 17, 7, 22, 983_700, UTC)
    sent = Delivery("wh_3a2900255a0248df907dcaf6da27690a", "", "evt_feff7a24f7ea4aec826733af65a59149", moment, "{}")
    assert Delivery.from_json(sent.to_json()).id == sent.id == f"1796058442983-{sent.event_id}"


def test_the_public_package_verifies_what_is_sent(hooks: Hooks, receiver: Receiver) -> None:
    webhook = hooks.hook(receiver.url)
    receiver.secret = derived_secret(MASTER, webhook.id, 1)
    (told,) = hooks.tell("job-1")

    hooks.run()

    assert receiver.refused == 0
    (event,) = receiver.verified
    assert event == {"type": "job.completed", "timestamp": event["timestamp"], "data": told.detail()}
    ((path, headers),) = receiver.requests
    assert path == "/hook?token=1"
    assert headers["webhook-id"] == told.id
    assert headers["content-type"] == "application/json"
    assert hooks.states(webhook) == ["delivered"]


def test_for_a_day_after_a_rotation_either_secret_verifies(hooks: Hooks, receiver: Receiver) -> None:
    webhook = hooks.hook(receiver.url)
    old, new = (derived_secret(MASTER, webhook.id, number) for number in (1, 2))
    assert hooks.webhooks.rotate(webhook, hooks.time)
    assert hooks.webhooks.rotate(webhook, hooks.time) is None, "it was read before"

    for secret in (old, new):
        receiver.secret = secret
        hooks.tell(f"job-{secret}")
        hooks.run()
    assert (len(receiver.verified), receiver.refused) == (2, 0)

    assert hooks.read(webhook).generations(hooks.time + TWO_SECRETS) == (2,)


def test_a_receiver_that_is_killed_or_fails_hears_of_it_later(hooks: Hooks, receiver: Receiver) -> None:
    webhook = hooks.hook(receiver.url)
    receiver.moods = ["killed", 500, 503]
    (told,) = hooks.tell("job-1")

    hooks.run()

    assert receiver.ids() == [told.id] * 4
    assert hooks.states(webhook) == ["delivered"]
    assert hooks.read(webhook).failing_since is None


def test_a_redirect_is_a_failure_and_is_not_followed(hooks: Hooks, receiver: Receiver) -> None:
    webhook = hooks.hook(receiver.url)
    with receiving() as inside:
        receiver.moods = [inside.url]
        hooks.tell("job-1")
        hooks.run(until=timedelta(seconds=1))
        assert inside.requests == []
    (noted,) = hooks.webhooks.deliveries(webhook.id, 50)
    assert (noted["state"]["S"], noted["statusCode"]["N"]) == ("retrying", "307")


@cases("mood", ["drips", "endless"])
def test_a_receiver_that_drips_is_cut_off(mood: str) -> None:
    """A timeout of a socket begins anew with each byte; the deadline doesn't."""
    with receiving() as receiver:
        receiver.moods = [mood]
        began = time.monotonic()
        if mood == "drips":
            with pytest.raises(NoAnswer, match="took too long"):
                receivers.post(receiver.url, "{}", {}, HERE, seconds=0.3)
        else:
            assert receivers.post(receiver.url, "{}", {}, HERE, seconds=5).status == 200
        assert time.monotonic() - began < 4


@cases("url", INSIDE.values(), ids=INSIDE.keys())
def test_an_inner_address_is_never_connected_to(url: str) -> None:
    with pytest.raises((NoAnswer, ValueError)):
        receivers.post(url, "{}", {}, (), seconds=1)


def test_a_name_that_moves_inside_after_its_registration_is_never_connected_to(receiver: Receiver) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    with resolving({"rebinds.example": "127.0.0.1"}), pytest.raises(NoAnswer, match="UrlNotAllowed"):
        receivers.post(f"http://rebinds.example:{port}/", "{}", {}, (), seconds=1)
    assert receiver.requests == []


# ---- attempts -------------------------------------------------------------------------------------------------------


def test_attempts_come_after_the_documented_waits_and_then_it_is_dead(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(500)
    hooks.tell("job-1")

    hooks.run()

    waits = [later - earlier for earlier, later in itertools.pairwise(hooks.attempts)]
    assert len(hooks.attempts) == 7
    for wait, documented in zip(waits, RETRIES, strict=True):
        assert documented <= wait <= documented * 1.1 + timedelta(seconds=1)
    assert hooks.states(webhook) == ["dead"]
    assert hooks.read(webhook).failing_since


def test_a_dead_delivery_can_be_sent_again(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(500)
    (told,) = hooks.tell("job-1")
    hooks.run()
    (noted,) = hooks.webhooks.deliveries(webhook.id, 50)
    delivery_id = noted["sk"]["S"].removeprefix("DELIVERY#")

    again = hooks.webhooks.delivery(webhook, delivery_id)
    assert again
    assert (again.event_id, again.id, again.attempt) == (told.id, delivery_id, 1)
    hooks.post = answering(200)
    assert hooks.deliverer().outgoing.send([again]) == []
    hooks.run()
    assert hooks.states(webhook) == ["delivered"]
    assert hooks.webhooks.delivery(webhook, delivery_id[:-1] + "x") is None


def test_the_wait_that_a_receiver_asks_for_lengthens_ours_within_bounds() -> None:
    assert wait_after(1, 60) == timedelta(minutes=1)
    assert wait_after(2, 60) == RETRIES[1]
    assert wait_after(1, 1e12) == RETRIES[-1]
    assert wait_after(1, None) == wait_after(1, 0) == RETRIES[0]
    assert wait_after(len(RETRIES) + 1, 1) is None


def test_a_long_wait_is_many_messages_and_no_attempt(hooks: Hooks) -> None:
    hooks.hook("https://example.com")
    hooks.post = answering(503, 200, retry_after="36000")
    hooks.tell("job-1")
    hooks.run()
    assert len(hooks.attempts) == 2
    assert len(hooks.queue.groups) >= 40  # ten hours, 15 minutes at most each
    assert len(set(hooks.queue.groups)) == 1


def test_a_webhook_that_is_gone_is_disabled_at_once(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(410)
    hooks.tell("job-1", "job-2")

    hooks.run()

    found = hooks.read(webhook)
    assert (found.disabled, len(hooks.attempts)) == (Disabled.GONE, 1)
    assert hooks.states(webhook) == ["dead", "dead"]
    hooks.tell("job-3")
    assert hooks.queue.waiting == []


def test_a_webhook_that_has_failed_for_three_days_is_disabled_and_can_be_enabled(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(None)
    began = hooks.time
    for number in range(8):
        hooks.tell(f"job-{number}")
        hooks.run(until=DAY / 2)
        hooks.time = began + DAY / 2 * (number + 1)
        if hooks.read(webhook).disabled:
            break
    found = hooks.read(webhook)
    assert found.disabled is Disabled.FAILING
    assert found.failing_since
    assert found.disabled_at
    assert found.disabled_at - found.failing_since >= LONGEST_FAILURE

    enabled = hooks.webhooks.enable(found)
    assert enabled
    assert (enabled.disabled, enabled.failing_since) == (None, None)
    hooks.post = answering(200)
    hooks.tell("job-new")
    hooks.run()
    assert hooks.states(webhook)[0] == "delivered"


def test_one_success_ends_the_failures_of_three_days(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    for number in range(6):  # about a day each
        hooks.post = answering(200 if number == 3 else None)
        hooks.tell(f"job-{number}")
        hooks.run(until=DAY / 2)
        hooks.time += DAY / 2
    found = hooks.read(webhook)
    assert found.disabled is None
    assert found.failing_since


def test_what_is_on_its_way_to_a_deleted_webhook_is_dropped(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(500)
    hooks.tell("job-1")
    hooks.run(until=timedelta(seconds=1))
    assert hooks.webhooks.delete(webhook.owner, webhook.id)
    hooks.run()
    assert len(hooks.attempts) == 1
    assert hooks.webhooks.read(webhook.owner, webhook.id) is None, "an outcome made it anew"


def test_a_webhook_that_is_deleted_during_an_attempt_stays_deleted(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")

    def post(*_: object) -> Answer:
        hooks.webhooks.delete(webhook.owner, webhook.id)
        return WELL

    hooks.post = post
    hooks.tell("job-1")
    hooks.run()
    assert hooks.webhooks.read(webhook.owner, webhook.id) is None


# ---- crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("first", [200, 500, 410])
def test_a_delivery_survives_a_crash_at_any_call(hooks: Hooks, first: int, calls: int, after_effect: bool) -> None:  # noqa: FBT001 - a case
    webhook = hooks.hook("https://example.com")
    hooks.post = answering(first, 410 if first == 410 else 200)
    hooks.tell("job-1")
    hooks.run(deliverer=hooks.deliverer(Countdown(calls, after_effect=after_effect)))
    assert hooks.states(webhook) == (["dead"] if first == 410 else ["delivered"])
    assert hooks.letters.sent == []
    assert len(hooks.attempts) <= 3


# ---- one doesn't delay another --------------------------------------------------------------------------------------


def test_a_receiver_that_fails_or_is_slow_has_few_slots(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")

    def taken() -> list[Slot]:
        found = [hooks.webhooks.take_slot(webhook.id, "user-1", f"m{n}", hooks.time) for n in range(50)]
        assert {type(each) for each in found if not isinstance(each, Slot)} == {Busy}
        return [each for each in found if isinstance(each, Slot)]

    slots = taken()
    assert 5 <= len(slots) <= SLOTS
    assert len({slot.number for slot in slots}) == len(slots)
    for slot in slots:
        hooks.webhooks.failed(slot, hooks.time)
    slots = taken()
    assert len(slots) == FEW_SLOTS
    hooks.webhooks.succeeded(slots[0], slow=True)
    assert len(taken()) == 1, "it is slow now"
    hooks.time += HELD + timedelta(seconds=1)
    slots = taken()  # those of crashed invocations have expired
    assert len(slots) == FEW_SLOTS
    for slot in slots:
        hooks.webhooks.succeeded(slot, slow=False)
    assert len(taken()) > FEW_SLOTS


class OneAtATime:
    """moto's tables, which threads must not use at once."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a client
        value = getattr(self._inner, name)
        if name == "exceptions":
            return value

        def call(**parameters: Any) -> Any:  # noqa: ANN401 - a call's
            with self._lock:
                return value(**parameters)

        return call


def test_a_dead_receiver_delays_nobody_else(hooks: Hooks) -> None:
    """Four threads, forty deliveries to a receiver that never answers in front of twenty to another."""
    dead, well = hooks.hook("https://dead.example"), hooks.hook("https://well.example", "user-2")
    hooks.dynamodb = cast("Any", OneAtATime(hooks.dynamodb))
    begun: list[str] = []
    when_done: list[int] = []
    lock = threading.Lock()

    def post(url: str, *_: object) -> Answer:
        with lock:
            begun.append(url)
        if url == dead.url:
            time.sleep(0.2)
            raise NoAnswer("no complete response: TimeoutError")
        with lock:
            when_done.append(begun.count(dead.url))
        return WELL

    hooks.post = post
    hooks.tell(*(f"job-{n}" for n in range(40)))
    hooks.tell(*(f"job-{n}" for n in range(20)), owner="user-2")
    bodies = [body for _, _, body in sorted(hooks.queue.waiting)]
    hooks.queue.waiting.clear()
    deliverer = hooks.deliverer()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: deliverer.handle(message(pair[1], pair[0])), enumerate(bodies)))

    assert len(when_done) == 20
    assert hooks.states(well) == ["delivered"] * 20
    assert when_done[-1] <= 20, "most were put off without waiting for the dead one"
    put_off = [body for _, _, body in hooks.queue.waiting if Delivery.from_json(body).put_off]
    assert len(put_off) >= 20


@pytest.mark.parametrize(
    ("failing_for", "slow", "longest"),
    [(None, False, 10), (None, True, 60), (0, False, 10), (100, True, 100), (10**6, False, 900)],
)
def test_who_is_well_is_asked_again_soon_and_who_is_dead_rarely(
    failing_for: int | None,
    slow: bool,  # noqa: FBT001 - a parameter
    longest: int,
) -> None:
    now = datetime.now(UTC)
    since = None if failing_for is None else now - timedelta(seconds=failing_for)
    webhook = Webhook("wh_1", "", "", frozenset(), frozenset(), now, failing_since=since, is_slow=slow)
    assert longest_put_off(webhook, now) == timedelta(seconds=longest)


def test_nothing_is_lost_of_what_is_put_off(hooks: Hooks) -> None:
    webhook = hooks.hook("https://example.com")
    for number in range(SLOTS):  # as invocations that are busy, or died
        assert isinstance(hooks.webhooks.take_slot(webhook.id, "user-1", f"m{number}", hooks.time), Slot | Busy)
    hooks.post = answering(200)
    hooks.tell(*(f"job-{n}" for n in range(30)))
    hooks.run()
    assert hooks.states(webhook) == ["delivered"] * 30


# ---- who hears of what ----------------------------------------------------------------------------------------------


def test_users_hear_of_their_own_jobs_only(hooks: Hooks) -> None:
    mine, theirs, all_ = (
        hooks.hook("https://mine"),
        hooks.hook("https://theirs", "user-2"),
        hooks.hook("https://all", ""),
    )
    hooks.post = answering(200)
    hooks.tell("job-1")
    hooks.tell("job-2", owner="user-2")
    hooks.tell("job-3", owner=None)
    hooks.run()
    assert [len(hooks.states(each)) for each in (mine, theirs, all_)] == [1, 1, 3]


def test_a_webhook_hears_of_the_types_and_kinds_that_it_wants(hooks: Hooks) -> None:
    failures = hooks.hook("https://a", event_types=frozenset({"job.failed"}))
    others = hooks.hook("https://b", kinds=frozenset({"stream-recording"}))
    hooks.post = answering(200)
    hooks.tell("job-1")
    hooks.tell("job-2", status=Status.FAILED)
    hooks.run()
    assert (len(hooks.states(failures)), len(hooks.states(others))) == (1, 0)


def test_what_sqs_refuses_stays_untold(hooks: Hooks) -> None:
    from switchyard.notifications.deliveries import Outgoing, Subscribers  # noqa: PLC0415 - only here

    hooks.hook("https://example.com")
    told = hooks.tell("job-1", "job-2")
    hooks.queue.refuses = 1
    assert Subscribers(hooks.webhooks, Outgoing(hooks.queue, "queue")).tell(told) == {told[0].id}  # type: ignore[arg-type]


# ---- messages -------------------------------------------------------------------------------------------------------

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["webhookId", "owner", "eventId", "at", "body", "attempt", "notBefore", "putOff"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON.map(json.dumps) | st.text())
def test_no_text_raises(text: str) -> None:
    with contextlib.suppress(InvalidMessage):
        Delivery.from_json(text)


def test_a_message_that_is_no_delivery_is_dead_lettered(hooks: Hooks) -> None:
    hooks.deliverer().handle(message("rubbish"))
    ((body, error),) = hooks.letters.sent
    assert (body, error.code) == ("rubbish", "INVALID_MESSAGE")


# ---- many ---------------------------------------------------------------------------------------------------------


ENDS: Final = 1_000
FAILURES: Final[list[int | str]] = [500, 503, "killed"]


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_a_thousand_ends_are_each_told_at_least_once(
    hooks: Hooks, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real receiver that fails or is killed one time in ten, and an invocation in fifty that dies at some call."""
    chance = random.Random(20)  # noqa: S311 - reproducible, not a secret
    hooks.hook(receiver.url)  # it verifies nothing: our clock runs ahead of the package's
    receiver.moods = [chance.choice(FAILURES) if chance.random() < 0.1 else 204 for _ in range(5 * ENDS)]
    told: dict[str, datetime] = {}
    for _ in range(ENDS // 100):
        told |= {each.id: each.at for each in hooks.tell(*(f"job-{len(told) + n}" for n in range(100)))}
        hooks.time += timedelta(seconds=1)

    delays: dict[str, float] = {}
    real = hooks.post

    def post(*arguments: Any) -> Answer:  # noqa: ANN401 - as `receivers.post`
        answer = real(*arguments)
        event_id = arguments[2]["webhook-id"]
        if receivers.is_success(answer):
            delays.setdefault(event_id, (hooks.time - told[event_id]).total_seconds())
        return answer

    hooks.post = post
    while hooks.queue.waiting:
        dies = Countdown(chance.randrange(5), after_effect=chance.random() < 0.5) if chance.random() < 0.02 else None
        hooks.run(most=1, deliverer=hooks.deliverer(dies))

    assert set(delays) == set(told)
    answers = zip(receiver.ids(), receiver.answered, strict=True)
    accepted = [event_id for event_id, answer in answers if answer == 204]
    repeats = len(accepted) - len(set(accepted))
    late = sorted(delays.values())
    figures = {"repeats": repeats, "median_s": late[ENDS // 2], "p99_s": late[-ENDS // 100], "max_s": late[-1]}
    with capsys.disabled():
        print(f"\n{ENDS} ends: {figures}")  # noqa: T201 - for people
    assert repeats <= ENDS // 10, figures
