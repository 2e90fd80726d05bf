"""`relay webhook`: who is told of alerts, whether they get them, and what they did not get."""

from typing import TYPE_CHECKING

import click

from relay.cli.common import as_dict, json_flag, print_json, sentences, table, with_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.alerts import Delivered, Standing
    from relay.context import Context
    from relay.settings import Webhook


@click.group()
def webhook() -> None:
    """Webhooks of relay.toml: who is told of alerts, and whether they get them."""


@webhook.command("list")
@json_flag
@sentences
def webhook_list(as_json: bool) -> None:
    """List the webhooks and how they fare."""
    standings = with_context(lambda ctx: ctx.alerts.standings())
    if as_json:
        print_json([as_dict(one) for one in standings])
        return
    rows = [
        (one.webhook.name, one.webhook.shown, one.webhook.format, ", ".join(one.webhook.events),
         _thresholds(one.webhook), one.waiting, one.dead, _fares(one))
        for one in standings
    ]  # fmt: skip
    table(("NAME", "URL", "FORMAT", "EVENTS", "AT", "WAITING", "DEAD", "FARES"), rows)


def _thresholds(one: "Webhook") -> str:
    return ", ".join(f"{mark / 10:g} %" for mark in one.marks)


def _fares(one: "Standing") -> str:
    if one.failures:
        until = (
            f" It rests until {one.rests_until:%Y-%m-%d %H:%M:%S} UTC." if one.rests_until else ""
        )
        return f"{one.failures} failures: {one.error}{until}"
    return f"delivered {one.delivered_at:%Y-%m-%d %H:%M:%S} UTC" if one.delivered_at else "new"


@webhook.command("test")
@click.argument("name_or_id", required=False)
@json_flag
@sentences
def webhook_test(name_or_id: str | None, as_json: bool) -> None:
    """Send a test to one webhook, or to each, and tell how it went."""

    async def test(ctx: "Context") -> "Sequence[Delivered]":
        return [await ctx.alerts.test(one.id) for one in _chosen(ctx, name_or_id)]

    outcomes = with_context(test)
    if as_json:
        print_json([as_dict(one) for one in outcomes])
    else:
        rows = [
            (one.name, "delivered" if one.ok else one.error, one.status or "", one.duration_ms)
            for one in outcomes
        ]
        table(("NAME", "OUTCOME", "STATUS", "MS"), rows)
    if not all(one.ok for one in outcomes):
        raise click.exceptions.Exit(1)


@webhook.command("dead")
@click.argument("name_or_id", required=False)
@json_flag
@sentences
def webhook_dead(name_or_id: str | None, as_json: bool) -> None:
    """Show the alerts that were given up."""

    from relay import alerts

    async def read(ctx: "Context") -> list[dict[str, object]]:
        return [
            {"webhook": one.name, **alerts.shown(dead)}
            for one in _chosen(ctx, name_or_id)
            for dead in await ctx.alerts.dead(one)
        ]

    rows = with_context(read)
    if as_json:
        print_json(rows)
        return
    columns = ("webhook", "id", "time", "title", "tries", "error", "diedAt")
    table(
        ("WEBHOOK", "ID", "TIME", "ALERT", "TRIES", "WHY", "GIVEN UP"),
        [[row[column] for column in columns] for row in rows],
    )


@webhook.command("retry")
@click.argument("name_or_id", required=False)
@click.option("--id", "alert_id", default="", help="Only this alert; `webhook dead` shows its id.")
@json_flag
@sentences
def webhook_retry(name_or_id: str | None, alert_id: str, as_json: bool) -> None:
    """Let the running relay deliver alerts that were given up."""

    async def retry(ctx: "Context") -> list[dict[str, object]]:
        return [
            {"webhook": one.name, "count": await ctx.alerts.retry(one, alert_id)}
            for one in _chosen(ctx, name_or_id)
        ]

    rows = with_context(retry)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['webhook']}: {row['count']} alerts wait to be delivered again.")


def _chosen(ctx: "Context", name_or_id: str | None) -> "Sequence[Webhook]":
    """The webhook that is named, or all."""
    return [ctx.alerts.find(name_or_id)] if name_or_id else ctx.alerts.webhooks
