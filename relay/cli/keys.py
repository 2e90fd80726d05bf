"""`relay key`: who may use the relay."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from relay.cli.common import as_dict, json_flag, on_one, print_json, sentences, table, with_context


@click.group()
def key() -> None:
    """Keys: who may use the relay."""


@key.command("create")
@click.option("--name", required=True, help="Unique name of the person or program.")
@click.option("--model", "models", multiple=True, help="Model it may use, * and ? allowed.")
@click.option("--expires", help="When it ends: 30d, 12h, 2027-01-31 or 2027-01-31T12:00 (UTC).")
@click.option("--group", "groups", multiple=True, help="Group of accounts that may serve it.")
@click.option("--show-account", "shows_account", is_flag=True,
              help="Answers name the account that served (x-relay-account).")  # fmt: skip
@click.option("--note", default="", help="Anything worth remembering.")
@json_flag
@sentences
def key_create(name: str, expires: str | None, as_json: bool, **chosen: Any) -> None:
    """Make a key. It is shown this once and cannot be read again."""
    expires_at = _moment(expires) if expires else None
    made, text = with_context(lambda ctx: ctx.keys.create(name, expires_at=expires_at, **chosen))
    if as_json:
        print_json({**as_dict(made), "key": text})
        return
    click.echo(f"Key for {made.name} ({made.id}), shown this once:")
    click.echo(text)


def _moment(text: str) -> datetime:
    """A point in time from now on: a distance such as 30d or 12h, or a UTC date."""
    units = {"d": timedelta(days=1), "h": timedelta(hours=1)}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            return datetime.now(UTC) + int(text[:-1]) * units[text[-1]]
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "use 30d, 12h or a date such as 2027-01-31", param_hint="--expires"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{text} is in the past", param_hint="--expires")
    return moment


@key.command("list")
@json_flag
@sentences
def key_list(as_json: bool) -> None:
    """List all keys."""
    keys = with_context(lambda ctx: ctx.keys.list())
    if as_json:
        print_json([as_dict(one) for one in keys])
        return
    table(
        ("ID", "NAME", "KEY", "STATE", "EXPIRES", "MODELS"),
        [
            (
                one.id,
                one.name,
                one.hint + "…",
                "enabled" if one.enabled else "disabled",
                f"{one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at else "never",
                ", ".join(one.models) or "all",
            )
            for one in keys
        ],
    )


on_one(key, "show", "Show one key's settings.", lambda ctx, one: ctx.keys.find(one))
on_one(
    key,
    "disable",
    "Refuse a key from its next request on.",
    lambda ctx, one: ctx.keys.set_enabled(one, enabled=False),
)
on_one(
    key,
    "enable",
    "Let a disabled key in again.",
    lambda ctx, one: ctx.keys.set_enabled(one, enabled=True),
)
on_one(
    key,
    "delete",
    "Delete a key for good. Its usage stays on the books.",
    lambda ctx, one: ctx.keys.delete(one),
    question="Delete the key {} for good?",
)
