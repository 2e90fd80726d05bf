"""`relay reconcile` and `relay admin-key`: does the ledger equal Anthropic's books?"""

from datetime import date
from typing import IO, TYPE_CHECKING

import click

from relay.cli.common import (
    a_day,
    as_dict,
    json_flag,
    on_one,
    print_json,
    sentences,
    show,
    table,
    with_context,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.context import Context
    from relay.reconcile import Result, Standing

_MOST_SHOWN = 100


@click.command()
@click.argument("name_or_id", required=False)
@click.option("--from", "since", metavar="YYYY-MM-DD", help="The first day (UTC).")
@click.option("--to", "until", metavar="YYYY-MM-DD", help="The last day (UTC).")
@click.option("--stored", is_flag=True, help="Show what the last comparisons came to; ask nobody.")
@json_flag
@sentences
def reconcile(
    name_or_id: str | None, since: str | None, until: str | None, stored: bool, as_json: bool
) -> None:
    """Compare the ledger with Anthropic's books, day by day; exit status 1 where they differ.

    By the Usage & Cost Admin API, with the admin key NAME_OR_ID or with each. The last seven whole
    days, or those that are given, of the last sixty. Container and session hours, which only the
    cost report knows, are booked to the account on the way, each once.
    """
    first = a_day(since, "--from") if since else None
    last = a_day(until, "--to") if until else None
    found = with_context(lambda ctx: _compared(ctx, name_or_id, first, last, stored=stored))
    if as_json:
        print_json([_as_json(one, results) for one, results, _ in found])
    for one, results, problem in found:
        if problem:
            click.echo(f"Error: {one.key.name}: {problem}", err=True)
        elif not as_json:
            _show(one, results)
    if any(problem or any(day.differs for day in days) for _, days, problem in found):
        raise click.exceptions.Exit(1)


async def _compared(
    ctx: "Context", name_or_id: str | None, since: date | None, until: date | None, *, stored: bool
) -> "Sequence[tuple[Standing, Sequence[Result], str]]":
    """Each organisation, with the days that were compared, oldest first, or what went wrong."""
    from relay.reconcile import ReconcileProblem

    await ctx.tariff.follow()
    keys = [await ctx.admin_keys.find(name_or_id)] if name_or_id else await ctx.admin_keys.list()
    if not keys:
        raise click.ClickException("There is no admin key; `relay admin-key add` adds one.")
    found = []
    for key in keys:
        results: Sequence[Result] = []
        problem = ""
        try:
            if not stored:
                results = await ctx.reconciler.run(key.id, since, until)
        except ReconcileProblem as error:
            problem = str(error)
        standing = await ctx.reconciler.standing(key.id)
        found.append((standing, standing.results[::-1] if stored else results, problem))
    return found


def _as_json(one: "Standing", results: "Sequence[Result]") -> dict[str, object]:
    return {
        "name": one.key.name,
        "organizationId": one.key.organization_id,
        "error": one.key.error,
        "equalUntil": one.equal_until or None,
        "differenceMicros": one.difference,
        "days": [
            {
                "day": result.day,
                "differs": result.differs,
                "oursMicros": result.ours,
                "theirsMicros": result.theirs,
                "hoursMicros": result.hours,
                "lines": result.lines,
            }
            for result in results
        ],
    }


def _show(one: "Standing", results: "Sequence[Result]") -> None:
    from relay.usage import dollars

    click.echo(f"{one.key.name}: {_in_words(one, results)}")
    if not results:
        return
    table(
        ("DAY", "HERE", "ANTHROPIC", "DIFFERENCE", "HOURS", "STATE"),
        [
            (result.day, dollars(result.ours), dollars(result.theirs),
             dollars(result.theirs - result.ours), dollars(result.hours),
             "differs" if result.differs else "equal")
            for result in results
        ],
    )  # fmt: skip
    lines = [(result.day, line) for result in results for line in result.lines]
    if not lines:
        return
    click.echo("")
    table(
        ("DAY", "WORKSPACE", "ACCOUNT", "MODEL", "HERE", "ANTHROPIC", "CLASS", "TOKENS HERE",
         "TOKENS THERE", "BECAUSE"),
        [
            (day, line["workspace"] or "default", line["account"] or "several",
             line["model"], dollars(int(str(line["oursMicros"]))),
             dollars(int(str(line["theirsMicros"]))), line["tokenClass"], line["ourTokens"],
             line["theirTokens"], line["because"])
            for day, line in lines[:_MOST_SHOWN]
        ],
    )  # fmt: skip


def _in_words(one: "Standing", results: "Sequence[Result]") -> str:
    from relay.usage import dollars

    if one.differing:
        return (
            f"differs from Anthropic's books by {dollars(one.difference)} since"
            f" {one.differing[0].day}"
        )
    if one.equal_until:
        return f"equals Anthropic's books up to {one.equal_until}"
    return "nothing was compared yet: there was no request before today (UTC)"


@click.group("admin-key")
def admin_key() -> None:
    """Admin keys of organisations: they read Anthropic's books, and never serve."""


@admin_key.command("add")
@click.argument("name")
@click.option("--secret-file", type=click.File(),
              help="File with the admin key, sk-ant-admin…; - is standard input.")  # fmt: skip
@click.option("--base-url", default="", help="Of its API; the usual one when left out.")
@json_flag
@sentences
def admin_key_add(name: str, secret_file: IO[str] | None, base_url: str, as_json: bool) -> None:
    """Add an organisation's admin key. Without --secret-file it is asked for."""
    if secret_file is not None:
        secret = secret_file.read().strip()
    else:
        secret = click.prompt(f"Admin key of {name}", hide_input=True).strip()
    show(with_context(lambda ctx: ctx.admin_keys.add(name, secret, base_url)), as_json)


@admin_key.command("list")
@json_flag
@sentences
def admin_key_list(as_json: bool) -> None:
    """List all admin keys."""
    keys = with_context(lambda ctx: ctx.admin_keys.list())
    if as_json:
        print_json([as_dict(key) for key in keys])
        return
    table(
        ("ID", "NAME", "ADMIN KEY", "ORGANISATION", "ACCOUNTS", "LAST COMPARED", "PROBLEM"),
        [
            (key.id, key.name, key.hint + "…", key.organization_name or key.organization_id,
             len({**key.found, **key.links}),
             f"{key.checked_at:%Y-%m-%d %H:%M}" if key.checked_at else "never", key.error)
            for key in keys
        ],
    )  # fmt: skip


@admin_key.command("link")
@click.argument("name_or_id")
@click.argument("account")
@click.option("--workspace", required=True,
              help="wrkspc_… or default; empty takes the link away.")  # fmt: skip
@click.option("--api-key-id", default="",
              help="apikey_… of the account, where a workspace has several.")  # fmt: skip
@json_flag
@sentences
def admin_key_link(
    name_or_id: str, account: str, workspace: str, api_key_id: str, as_json: bool
) -> None:
    """Say where an account stands in the organisation's reports, where that is not found out."""
    show(
        with_context(lambda ctx: ctx.admin_keys.link(name_or_id, account, workspace, api_key_id)),
        as_json,
    )


on_one(
    admin_key,
    "remove",
    "Remove an admin key. What was booked by it stays booked.",
    lambda ctx, one: ctx.admin_keys.remove(one),
    question="Remove the admin key {}?",
)
