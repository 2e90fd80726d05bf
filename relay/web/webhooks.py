"""Webhooks: who is told of alerts, what they got, and what they did not."""

from quart import Response

from relay import alerts
from relay.alerts import Delivered
from relay.web.visit import Visit

_MOST_DEAD = 200


async def listing(visit: Visit) -> Response:
    return visit.page("webhooks.html", standings=await visit.ctx.alerts.standings())


async def show(visit: Visit, webhook_id: str) -> Response:
    return await _show(visit, webhook_id)


async def _show(visit: Visit, webhook_id: str, tested: Delivered | None = None) -> Response:
    webhook = visit.ctx.alerts.find(webhook_id)
    standings = await visit.ctx.alerts.standings()
    dead = await visit.ctx.alerts.dead(webhook)
    return visit.page(
        "webhook.html",
        standing=next(one for one in standings if one.webhook.id == webhook.id),
        sent=await visit.ctx.alerts.sent(webhook),
        dead=[alerts.shown(one) for one in reversed(dead[-_MOST_DEAD:])],
        tested=tested,
    )


async def test(visit: Visit, webhook_id: str) -> Response:
    """Send a test now, and show how it went."""
    return await _show(visit, webhook_id, await visit.ctx.alerts.test(webhook_id))


async def retry(visit: Visit, webhook_id: str) -> Response:
    """Let a webhook have its dead alerts after all, or the one that is named."""
    webhook = visit.ctx.alerts.find(webhook_id)
    await visit.ctx.alerts.retry(webhook, visit.given("alert"))
    return visit.redirect(f"/web/webhooks/{webhook.id}", "revived")
