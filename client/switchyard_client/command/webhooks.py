"""`switchyard webhooks …`."""

from collections.abc import Sequence

import click

from switchyard_client import shapes
from switchyard_client.command.session import Session, command
from switchyard_client.letters import plain

TYPES = ("job.running", "job.completed", "job.failed", "job.cancelled")


@click.group("webhooks")
def group() -> None:
    """Have events posted to a URL of yours."""


@command("ls", of=group)
async def listed(session: Session) -> None:
    """List your webhooks."""
    async with session.client() as api:
        found = (await api.list_webhooks())["webhooks"]
        columns = ("webhook", "url", "events", "state")
        session.rows(
            columns,
            (
                (hook, (hook["webhookId"], hook["url"], " ".join(hook["eventTypes"]), hook.get("disabled", "enabled")))
                for hook in found
            ),
        )


@command("create", of=group)
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, type=click.Choice(TYPES), help="May be repeated.  [default: all ends]"
)
@click.option("--kind", "kinds", multiple=True, help="Only jobs of this kind; may be repeated.")
async def create(session: Session, url: str, *, events: Sequence[str], kinds: Sequence[str]) -> None:
    """Make a webhook. Its secret is shown now and never again."""
    async with session.client() as api:
        hook = await api.create_webhook(url, event_types=events or None, kinds=kinds or None)
        session.item(hook, f"webhook {hook['webhookId']}\nsecret  {hook['secret']}")


@command("show", of=group)
@click.argument("webhook")
async def shown(session: Session, webhook: str) -> None:
    """Show a webhook."""
    async with session.client() as api:
        hook = await api.get_webhook(webhook)
        session.item(hook, "\n".join(f"{name:14}  {plain(str(value), 2000)}" for name, value in hook.items()))


@command("delete", of=group)
@click.argument("webhook")
async def delete(session: Session, webhook: str) -> None:
    """Delete a webhook."""
    async with session.client() as api:
        await api.delete_webhook(webhook)
        session.item({"webhookId": webhook, "deleted": True}, f"deleted {webhook}")


@command("rotate", of=group)
@click.argument("webhook")
async def rotate(session: Session, webhook: str) -> None:
    """Give a webhook a new secret. The old one signs as well for 24 hours."""
    async with session.client() as api:
        hook = await api.rotate_webhook(webhook)
        session.item(hook, f"secret  {hook['secret']}")


@command("enable", of=group)
@click.argument("webhook")
async def enable(session: Session, webhook: str) -> None:
    """Enable a webhook that was disabled because it failed."""
    async with session.client() as api:
        session.item(await api.enable_webhook(webhook), f"enabled {webhook}")


@command("test", of=group)
@click.argument("webhook")
async def test(session: Session, webhook: str) -> None:
    """Deliver an event of type webhook.test."""
    async with session.client() as api:
        queued = await api.test_webhook(webhook)
        session.item(queued, f"delivery {queued['deliveryId']}")


@command("deliveries", of=group)
@click.argument("webhook")
async def deliveries(session: Session, webhook: str) -> None:
    """List a webhook's last deliveries."""
    async with session.client() as api:
        found = (await api.list_deliveries(webhook))["deliveries"]
        columns = ("delivery", "type", "state", "attempts", "answer")
        session.rows(
            columns,
            (
                (each, (each["deliveryId"], each["type"], each["state"], each["attempts"], _answer(each)))
                for each in found
            ),
        )


@command("resend", of=group)
@click.argument("webhook")
@click.argument("delivery")
async def resend(session: Session, webhook: str, delivery: str) -> None:
    """Begin a delivery's attempts anew."""
    async with session.client() as api:
        queued = await api.resend_delivery(webhook, delivery)
        session.item(queued, f"delivery {queued['deliveryId']}")


def _answer(delivery: shapes.WebhookDelivery) -> str:
    return str(delivery.get("statusCode") or delivery.get("reason", ""))
