"""GET, POST and DELETE /webhooks: makes, shows, tests and deletes webhooks."""

from functools import cache
from typing import Any

from switchyard import cold_start, wiring
from switchyard.api.http import Api
from switchyard.observability import handler
from switchyard.settings import ManageWebhooksSettings


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = ManageWebhooksSettings.from_env()
    webhooks = wiring.webhook_routes(settings)
    routes = {
        "GET /webhooks": webhooks.list,
        "POST /webhooks": webhooks.create,
        "GET /webhooks/{webhookId}": webhooks.get,
        "DELETE /webhooks/{webhookId}": webhooks.delete,
        "POST /webhooks/{webhookId}/rotate": webhooks.rotate,
        "POST /webhooks/{webhookId}/enable": webhooks.enable,
        "POST /webhooks/{webhookId}/test": webhooks.test,
        "GET /webhooks/{webhookId}/deliveries": webhooks.deliveries,
        "POST /webhooks/{webhookId}/deliveries/{deliveryId}/resend": webhooks.resend,
    }
    return wiring.api(settings, routes)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
