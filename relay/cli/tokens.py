"""`relay token`: programs that may use the admin API."""

from datetime import datetime

import click

from relay.cli.common import (
    as_dict,
    json_flag,
    moment,
    on_one,
    print_json,
    sentences,
    table,
    with_context,
)

_USUAL_LIFE = "90d"


@click.group()
def token() -> None:
    """Admin tokens: programs that may use the admin API, and what they may do there."""


@token.command("create")
@click.option("--name", required=True, help="Unique word for the program; the audit names it.")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="viewer",
              show_default=True, help="What it may do, as with users.")  # fmt: skip
@click.option("--expires", default=_USUAL_LIFE, show_default=True,
              help="When it ends: 30d, 12h, 2027-01-31T12:00 (UTC), or never.")  # fmt: skip
@json_flag
@sentences
def token_create(name: str, role: str, expires: str, as_json: bool) -> None:
    """Make an admin token. It is shown this once and cannot be read again."""
    ends = None if expires == "never" else moment(expires)
    made, text = with_context(lambda ctx: ctx.tokens.create(name, role, ends))
    if as_json:
        print_json({**as_dict(made), "token": text})
        return
    click.echo(f"Admin token {made.name} ({made.role}, ends {_moment(made.expires_at)}),"
               " shown this once:")  # fmt: skip
    click.echo(text)


@token.command("list")
@json_flag
@sentences
def token_list(as_json: bool) -> None:
    """List all admin tokens."""
    tokens = with_context(lambda ctx: ctx.tokens.list())
    if as_json:
        print_json([as_dict(one) for one in tokens])
        return
    table(
        ("ID", "NAME", "ROLE", "TOKEN", "EXPIRES", "LAST USED"),
        [
            (one.id, one.name, one.role, one.hint + "…", _moment(one.expires_at),
             _moment(one.used_at))
            for one in tokens
        ],
    )  # fmt: skip


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if when else "never"


on_one(
    token,
    "delete",
    "Delete an admin token for good, from its next request on.",
    lambda ctx, one: ctx.tokens.delete(one),
    question="Delete the admin token {} for good?",
)
