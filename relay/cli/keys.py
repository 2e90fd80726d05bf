"""`relay key`: who may use the relay."""

from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    as_dict,
    budgets,
    json_flag,
    moment,
    on_one,
    print_json,
    sentences,
    several,
    show,
    table,
    with_context,
)

if TYPE_CHECKING:
    from relay.context import Context


@click.group()
def key() -> None:
    """Keys: who may use the relay."""


def _settings(command: Any) -> Any:
    """The options that create and edit share; what is not given stays as it is."""
    options = (
        click.option("--model", "models", multiple=True, help="Model it may use, * and ? allowed."),
        click.option("--expires", help="When it ends: 30d, 12h, 2027-01-31 or 2027-01-31T12:00"
                     " (UTC)."),
        click.option("--group", "groups", multiple=True,
                     help="Group of accounts that may serve it."),
        click.option("--show-account/--hide-account", "shows_account", default=None,
                     help="Answers name the account that served (x-relay-account)."),
        click.option("--rate", metavar="N/SECONDS",
                     help="Requests in a sliding window; rateLimit's when left out."),
        click.option("--daily-limit", "daily", type=int, help="Requests per UTC day."),
        click.option("--monthly-limit", "--limit", "monthly", type=int,
                     help="Requests per UTC month."),
        click.option("--concurrency", type=int, help="Requests at one time."),
        click.option("--wait", type=int, metavar="SECONDS",
                     help="How long a request waits for one of these, first come, first served."),
        click.option("--tokens-per-minute", type=int,
                     help="Input without cache reads, and output."),
        *(click.option(f"--budget-{period}", metavar="USD", help=f"{word} it may cost.")
          for period, word in (("daily", "What a UTC day"), ("weekly", "What a week"),
                               ("monthly", "What a month"), ("total", "What all of it"))),
        click.option("--budget-mode", type=click.Choice(["strict", "soft"]),
                     help="How budgets hold; strict for the total and soft for the others when"
                     " left out."),
        click.option("--client", "clients", multiple=True,
                     help="Client it may be used with: claude_code, gemini_cli (which cannot work"
                     " with the relay) or your own."),
        click.option("--ip", "networks", multiple=True,
                     help="Address or network it may be used from."),
        click.option("--owner", help="Whose it is; an owner may have budgets of their own."),
        click.option("--tag", "tags", multiple=True, help="A word to find it by."),
        click.option("--note", help="Anything worth remembering."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given, by the names that keys know them by."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    for name in ("models", "groups", "clients", "networks", "tags"):
        if name in given:
            given[name] = several(given[name])
    if "expires" in given:
        text = given.pop("expires")
        given["expires_at"] = moment(text) if text else None
    if found := budgets(given):
        given["budgets"] = found
    return given


@key.command("create")
@click.option("--name", required=True, help="Unique name of the person or program.")
@click.option("--prefix", help="How the key begins; sk-relay- when left out.")
@_settings
@json_flag
@sentences
def key_create(name: str, as_json: bool, **options: Any) -> None:
    """Make a key. It is shown this once and cannot be read again."""
    _create(name, _given(options), as_json)


def _create(name: str, given: dict[str, Any], as_json: bool) -> None:
    made, text = with_context(lambda ctx: ctx.keys.create(name, **given))
    if as_json:
        print_json({**as_dict(made), "key": text})
        return
    click.echo(f"Key for {made.name} ({made.id}), shown this once:")
    click.echo(text)


@key.command("edit")
@click.argument("name_or_id")
@click.option("--name", help="A new name.")
@_settings
@json_flag
@sentences
def key_edit(name_or_id: str, as_json: bool, **options: Any) -> None:
    """Change a key's settings from its next request on.

    What is not named stays. 0 or an empty value takes a limit away; budgets are given together:
    those that are not named again end.
    """
    given = _given(options)
    if not given:
        raise click.UsageError("Nothing to change was given.")

    show(with_context(lambda ctx: ctx.keys.edit(name_or_id, **given)), as_json)


@key.command("rotate")
@click.argument("name_or_id")
@click.option("--grace", type=click.FloatRange(0), default=24.0, show_default=True,
              help="Hours for which the key before still works.")  # fmt: skip
@json_flag
@sentences
def key_rotate(name_or_id: str, grace: float, as_json: bool) -> None:
    """Give a key a new secret text, shown this once; limits and usage stay."""
    made, text = with_context(lambda ctx: ctx.keys.rotate(name_or_id, grace * 3600))
    if as_json:
        print_json({**as_dict(made), "key": text})
        return
    click.echo(f"New key for {made.name}, shown this once; the one before works for {grace:g} h:")
    click.echo(text)


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


@key.command("show")
@click.argument("name_or_id")
@json_flag
@sentences
def key_show(name_or_id: str, as_json: bool) -> None:
    """Show one key's settings, and what is used of each limit."""

    async def look(ctx: "Context") -> tuple[Any, dict[str, Any]]:
        from relay.selfservice import limits_used

        found = await ctx.keys.find(name_or_id)
        return found, await limits_used(ctx, found.id)

    found, used = with_context(look)
    if as_json:
        print_json({**as_dict(found), "used": used})
        return
    show(found, as_json=False)
    rows = [(name, one["limit"], one["used"], one.get("resets_at", ""))
            for name, one in used["limits"].items()]  # fmt: skip
    rows += [(f"budget {one['whose']} {one['period']}", one["limit_usd"],
              f"{one['used_usd']} and {one['held_usd']} held", one["resets_at"] or "never")
             for one in used["budgets"]]  # fmt: skip
    if rows:
        click.echo()
        table(("LIMIT", "SIZE", "USED", "BEGINS ANEW"), rows)


@click.command("create-api-key")
@click.option("--name", required=True, help="Unique name of the person or program.")
@click.option("--limit", type=int, help="Requests per UTC month.")
@json_flag
@sentences
def create_api_key(name: str, limit: int | None, as_json: bool) -> None:
    """Make a key: `relay key create` with its commonest limit."""
    _create(name, {} if limit is None else {"monthly": limit}, as_json)


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
