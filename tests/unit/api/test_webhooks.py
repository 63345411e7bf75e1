"""The routes of webhooks: made with a secret that is shown once, nobody else's, rotated, tested, listed, deleted."""

import json
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final

import pytest

from switchyard import clock
from switchyard.api.http import Api, ApiAuth
from switchyard.api.webhooks import WebhookRoutes
from switchyard.notifications.deliveries import Outgoing
from switchyard.notifications.signatures import derived_secret
from switchyard.notifications.webhooks import MAX_WEBHOOKS, TWO_SECRETS, Disabled
from switchyard.outside.secrets import Secret
from tests.cases import cases
from tests.conftest import Aws
from tests.corpus.urls import INSIDE, INSIDE_NAMES, RESOLVES
from tests.fakes.resolver import resolving
from tests.rest import Answer, ask
from tests.unit.notifications.world import MASTER, Hooks

URL: Final = "https://example.com/hook?token=1"
ONE: Final = "/webhooks/{webhookId}"
NOWHERE: Final[Any] = SimpleNamespace(webhooks=None, queue=None)
"""For requests that are refused before anything is read."""
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    with resolving(RESOLVES):
        yield


class Caller:
    """A caller of the API."""

    def __init__(self, hooks: Hooks, user: str | None = "user-1", *, configured: bool = True) -> None:
        outgoing: Any = Outgoing(hooks.queue, "queue") if configured else None  # type: ignore[arg-type]  # a fake
        routes = WebhookRoutes(hooks.webhooks, outgoing, Secret(lambda: MASTER))
        auth: ApiAuth = "api-key" if user is None else "cognito"
        self.api = Api(
            {
                "GET /webhooks": routes.list,
                "POST /webhooks": routes.create,
                f"GET {ONE}": routes.get,
                f"DELETE {ONE}": routes.delete,
                f"POST {ONE}/rotate": routes.rotate,
                f"POST {ONE}/enable": routes.enable,
                f"POST {ONE}/test": routes.test,
                f"GET {ONE}/deliveries": routes.deliveries,
                f"POST {ONE}/deliveries/{{deliveryId}}/resend": routes.resend,
            },
            auth=auth,
        )
        self.user = user

    def ask(self, route: str, body: object = None, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        """Sends a request and returns the answer, checked against openapi.json."""
        return ask(self.api, route, body, user=self.user, **more)

    def on(self, webhook_id: str, route: str, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
        """Sends a request about a webhook: `route` is "GET " or "POST /rotate"."""
        method, _, rest = route.partition(" ")
        path = {"webhookId": webhook_id} | more.pop("path", {})
        return self.ask(f"{method} {ONE}{rest}", path=path, **more)

    def make(self, **more: Any) -> Any:  # noqa: ANN401 - a body
        """Makes a webhook and returns the answer's body."""
        answer = self.ask("POST /webhooks", {"url": URL} | more)
        assert answer.status == 201
        return answer.body


@pytest.fixture
def hooks(aws: Aws) -> Hooks:
    return Hooks(aws.dynamodb)


@pytest.fixture
def caller(hooks: Hooks) -> Caller:
    return Caller(hooks)


def test_a_new_webhook_shows_its_secret_and_no_other_answer_does(caller: Caller) -> None:
    answer = caller.ask("POST /webhooks", {"url": URL, "kinds": ["video-analysis"]})

    assert answer.status == 201
    made = dict(answer.body)
    assert answer.headers["Location"] == f"webhooks/{made['webhookId']}"
    assert made.pop("secret") == derived_secret(MASTER, made["webhookId"], 1)
    assert made["eventTypes"] == ["job.cancelled", "job.completed", "job.failed"]
    assert caller.on(made["webhookId"], "GET ").body == made
    assert caller.ask("GET /webhooks").body == {"webhooks": [made]}


@cases("url", [*INSIDE.values(), *INSIDE_NAMES.values()])
def test_a_url_that_leads_inside_is_refused(url: str) -> None:
    caller = Caller(NOWHERE)
    for each in (url, url.replace("http://", "https://", 1)):
        answer = caller.ask("POST /webhooks", {"url": each})
        assert (answer.status, answer.body["error"]) in ((400, "URL_NOT_ALLOWED"), (400, "INVALID_REQUEST"))


@cases(
    "url",
    ["http://example.com", "ftp://example.com", "https://exämple.com", "https://example.com#a", "https://u@x.org"],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    answer = Caller(NOWHERE).ask("POST /webhooks", {"url": url})
    assert (answer.status, answer.body["error"]) == (400, "URL_NOT_ALLOWED")
    assert url not in json.dumps(answer.body)


def test_the_same_idempotency_key_makes_one_webhook(caller: Caller) -> None:
    key = {"Idempotency-Key": "order-4711"}
    first, again = (caller.ask("POST /webhooks", {"url": URL}, headers=key) for _ in range(2))
    assert (first.status, first.body) == (again.status, again.body)
    assert len(caller.ask("GET /webhooks").body["webhooks"]) == 1

    other = caller.ask("POST /webhooks", {"url": f"{URL}2"}, headers=key)
    assert (other.status, other.body["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_webhooks_of_an_owner_are_few(caller: Caller, hooks: Hooks) -> None:
    for _ in range(MAX_WEBHOOKS):
        caller.make()
    for headers in ({}, {"Idempotency-Key": "one-more"}):
        answer = caller.ask("POST /webhooks", {"url": URL}, headers=headers)
        assert (answer.status, answer.body["error"]) == (409, "TOO_MANY_WEBHOOKS")
    assert Caller(hooks, "user-2").make()


def test_another_user_s_webhook_is_not_there(caller: Caller, hooks: Hooks) -> None:
    webhook_id = caller.make()["webhookId"]
    for stranger in (Caller(hooks, "user-2"), Caller(hooks, None)):
        assert stranger.ask("GET /webhooks").body == {"webhooks": []}
        for route in ("GET ", "DELETE ", "POST /rotate", "POST /enable", "POST /test", "GET /deliveries"):
            answer = stranger.on(webhook_id, route)
            assert (answer.status, answer.body["error"]) == (404, "NOT_FOUND"), route
    assert caller.on(webhook_id, "GET ").status == 200


@cases("webhook_id", ["", "wh_1", "x" * 256, "wh_" + "g" * 32, "OWNER#user-2"])
def test_an_id_of_no_webhook_is_not_found(webhook_id: str) -> None:
    caller = Caller(NOWHERE)
    assert caller.on(webhook_id, "GET ").status == 404
    assert caller.on(webhook_id, "DELETE ").status == 404


def test_a_rotation_shows_the_new_secret_and_says_how_long_both_sign(
    caller: Caller, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = caller.make()
    rotated = caller.on(made["webhookId"], "POST /rotate").body
    assert rotated["secret"] == derived_secret(MASTER, made["webhookId"], 2) != made["secret"]
    assert "oldSecretUntil" in caller.on(made["webhookId"], "GET ").body

    later = clock.now() + TWO_SECRETS + timedelta(minutes=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert "oldSecretUntil" not in caller.on(made["webhookId"], "GET ").body


def test_a_test_is_delivered_and_listed_and_can_be_sent_again(caller: Caller, hooks: Hooks) -> None:
    webhook_id = caller.make()["webhookId"]
    answer = caller.on(webhook_id, "POST /test")
    assert answer.status == 202
    bodies: list[str] = []

    def post(_url: str, body: str, *_: object) -> Any:  # noqa: ANN401 - an answer
        from switchyard.outside.sites import Answer as Received  # noqa: PLC0415 - another Answer

        bodies.append(body)
        return Received(500 if len(bodies) == 1 else 204, b"")

    hooks.post = post
    hooks.run(until=timedelta(seconds=1))
    (listed,) = caller.on(webhook_id, "GET /deliveries").body["deliveries"]
    assert (listed["deliveryId"], listed["type"]) == (answer.body["deliveryId"], "webhook.test")
    assert (listed["state"], listed["statusCode"], listed["attempts"]) == ("retrying", 500, 1)
    assert "nextAttemptAt" in listed
    assert "failingSince" in caller.on(webhook_id, "GET ").body

    hooks.queue.waiting.clear()
    path = {"deliveryId": listed["deliveryId"]}
    assert caller.on(webhook_id, "POST /deliveries/{deliveryId}/resend", path=path).status == 202
    hooks.run()
    (listed,) = caller.on(webhook_id, "GET /deliveries", query={"limit": "1"}).body["deliveries"]
    assert listed["state"] == "delivered"
    assert bodies[0] == bodies[1]


def test_the_last_fifty_deliveries_are_listed_newest_first(caller: Caller, hooks: Hooks) -> None:
    from switchyard.outside.sites import Answer as Received  # noqa: PLC0415 - another Answer

    webhook_id = caller.make()["webhookId"]
    hooks.post = lambda *_: Received(204, b"")
    for number in range(60):
        hooks.time += timedelta(seconds=1)
        hooks.tell(f"job-{number}")
    hooks.run()
    found = caller.on(webhook_id, "GET /deliveries").body["deliveries"]
    assert len(found) == 50
    assert [each["at"] for each in found] == sorted((each["at"] for each in found), reverse=True)
    assert found[0]["at"] == clock.iso(hooks.time)
    for limit in ("0", "51", "1.0", "", "-1"):
        assert caller.on(webhook_id, "GET /deliveries", query={"limit": limit}).status == 400


@cases("delivery_id", ["", "1", "1795372614123-evt_" + "g" * 32, "1795372614123-evt_" + "a" * 32])
def test_a_delivery_that_is_not_there_is_not_sent_again(delivery_id: str) -> None:
    """Checked before the table is asked, or not found there."""
    from moto import mock_aws  # noqa: PLC0415 - only here

    with mock_aws():
        import boto3  # noqa: PLC0415 - as above

        caller = Caller(Hooks(boto3.client("dynamodb", "us-east-1")))
        path = {"deliveryId": delivery_id}
        answer = caller.on(caller.make()["webhookId"], "POST /deliveries/{deliveryId}/resend", path=path)
        assert (answer.status, answer.body["error"]) == (404, "NOT_FOUND")


def test_a_disabled_webhook_says_so_and_can_be_enabled(caller: Caller, hooks: Hooks) -> None:
    webhook_id = caller.make()["webhookId"]
    webhook = hooks.webhooks.read("user-1", webhook_id)
    assert webhook
    assert hooks.webhooks.disable(webhook, Disabled.GONE, clock.now())
    shown = caller.on(webhook_id, "GET ").body
    assert shown["disabled"] == "GONE"
    assert "disabledAt" in shown

    for _ in range(2):
        enabled = caller.on(webhook_id, "POST /enable")
        assert enabled.status == 200
        assert "disabled" not in enabled.body


def test_a_deleted_webhook_is_gone(caller: Caller) -> None:
    webhook_id = caller.make()["webhookId"]
    assert caller.on(webhook_id, "DELETE ").status == 204
    assert caller.on(webhook_id, "DELETE ").status == 404
    assert caller.ask("GET /webhooks").body == {"webhooks": []}


def test_a_queue_that_refuses_is_unavailable(caller: Caller, hooks: Hooks) -> None:
    webhook_id = caller.make()["webhookId"]
    hooks.queue.refuses = 1
    answer = caller.on(webhook_id, "POST /test")
    assert (answer.status, answer.body["error"]) == (503, "UNAVAILABLE")


def test_without_notifications_there_are_no_webhooks(hooks: Hooks) -> None:
    caller = Caller(hooks, configured=False)
    answer = caller.ask("POST /webhooks", {"url": URL})
    assert (answer.status, answer.body["error"]) == (501, "NOT_CONFIGURED")
    assert caller.ask("GET /webhooks").body == {"webhooks": []}


@cases(
    "body",
    [{}, {"url": 1}, {"url": URL, "eventTypes": []}, {"url": URL, "eventTypes": ["job.lost"]}, {"url": URL, "x": 1}],
)
def test_a_body_of_another_shape_is_invalid(body: object) -> None:
    answer = Caller(NOWHERE).ask("POST /webhooks", body)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")
