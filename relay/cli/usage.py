"""`relay usage` and `relay report`: what was used, by whom, and what it cost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import a_day, json_flag, print_json, sentences, table, with_context
from relay.cli.reprice import reprice

if TYPE_CHECKING:
    from relay.context import Context
    from relay.usage import Report, Row, Verdict

BY = ("key", "owner", "account", "model", "client", "day", "hour", "month")
# So many differences are read by a person; a program gets more of them.
_MOST_SHOWN = 50


@click.group(invoke_without_command=True)
@click.option("--since", metavar="WHEN", help="2026-11-23, 2026-11, 2026-11-23T14:00, 7d, 12h or"
              " yesterday (UTC); today when left out.")  # fmt: skip
@click.option("--until", metavar="WHEN", help="The same; a day or month is taken whole. Now when"
              " left out.")  # fmt: skip
@click.option("--by", "by", multiple=True, type=click.Choice(BY),
              help="May be repeated; key and model when left out.")  # fmt: skip
@click.option("--key", "key_name", metavar="NAME", help="Only this key, by name or id.")
@click.option("--account", "account_name", metavar="NAME", help="Only this account.")
@click.option("--model", metavar="GLOB", default="", help="Only these models, * and ? allowed.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet.")
@click.option("--verify", "is_check", is_flag=True,
              help="Rebuild the counters from the records and compare.")  # fmt: skip
@json_flag
@click.pass_context
@sentences
def usage(
    context: click.Context,
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    key_name: str | None,
    account_name: str | None,
    model: str,
    as_csv: bool,
    is_check: bool,
    as_json: bool,
) -> None:
    """Show what was used, in any period, by any of its dimensions."""
    if context.invoked_subcommand is not None:
        return
    start, end = _moment(since, "--since"), _moment(until, "--until", is_end=True)
    if is_check:
        if by or key_name or account_name or model or as_csv:
            raise click.UsageError("--verify goes with --since, --until and --json alone.")
        _verify(start, end, as_json=as_json)
        return
    if as_csv and as_json:
        raise click.UsageError("Either --csv or --json.")

    async def ask(ctx: "Context") -> "Report":
        from relay.usage import Archive, Ask, report

        asked = Ask(
            start,
            end,
            by or ("key", "model"),
            await _key_id(ctx, key_name) if key_name else "",
            (await ctx.accounts.find(account_name)).id if account_name else "",
            model,
        )
        return await report(ctx.store, asked, Archive(ctx.settings.usage_folder))

    from relay.usage import spreadsheet

    found = with_context(ask)
    if as_csv:
        click.echo(spreadsheet.as_csv(found), nl=False)
    elif as_json:
        print_json(spreadsheet.as_json(found))
    else:
        _show(found)


usage.add_command(reprice)


def _moment(text: str | None, option: str, *, is_end: bool = False) -> datetime | None:
    from relay.usage import UsageProblem, moment

    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC), is_end=is_end)
    except UsageProblem as problem:
        raise click.BadParameter(str(problem), param_hint=option) from None


async def _key_id(ctx: "Context", name_or_id: str) -> str:
    """A key's id; that of one that was deleted is taken as it is."""
    from relay.keys import KeyProblem

    try:
        return (await ctx.keys.find(name_or_id)).id
    except KeyProblem:
        if name_or_id.startswith("key_"):
            return name_or_id
        raise


def _show(found: "Report") -> None:
    from relay.usage import dollars, spreadsheet

    fields = [name for name in spreadsheet.fields(found) if not name.endswith("_id")]
    has_refused = "refused" in found.total

    def cells(counters: Any) -> list[object]:
        writes = counters["cache_write_5m_tokens"] + counters["cache_write_1h_tokens"]
        refused = [counters["refused"]] if has_refused else []
        names = ("input_tokens", "output_tokens", "cache_read_tokens")
        tokens = [*(counters[name] for name in names), writes]
        cost = dollars(counters["cost_micros"])
        return [counters["requests"], counters["errors"], *refused, *tokens, cost]

    def line(row: "Row") -> list[object]:
        return [*((getattr(row, name) or "-") for name in fields), *cells(row.counters)]

    head = [name.removesuffix("_name").upper() for name in fields]
    head += ["REQUESTS", "ERRORS", *(["REFUSED"] if has_refused else []), "IN", "OUT",
             "CACHE READ", "CACHE WRITE", "COST"]  # fmt: skip
    click.echo(f"Usage from {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC")
    total = ["total", *("" for _ in fields[1:]), *cells(found.total)]
    table(head, [*(line(row) for row in found.rows), total])


def _verify(since: datetime | None, until: datetime | None, *, as_json: bool) -> None:
    async def compare(ctx: "Context") -> "Verdict":
        from relay.usage import Archive, verify

        return await verify(ctx.store, Archive(ctx.settings.usage_folder), since, until)

    found = with_context(compare)
    span = f"from {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    if as_json:
        print_json(found)
    elif not found.differences:
        click.echo(f"The counters agree with {found.records} records {span}.")
    else:
        _show_differences(found, span)
    if found.differences:
        raise click.exceptions.Exit(1)


def _show_differences(found: "Verdict", span: str) -> None:
    count = found.count
    click.echo(f"{count} counters differ from {found.records} records {span}:")
    rows: list[Sequence[object]] = [
        (one.period, one.key_id, one.account_id, one.model, one.counter, one.stored,
         one.of_records)
        for one in found.differences[:_MOST_SHOWN]
    ]  # fmt: skip
    table(("PERIOD", "KEY", "ACCOUNT", "MODEL", "COUNTER", "STORED", "OF RECORDS"), rows)
    if count > _MOST_SHOWN:
        click.echo(f"… and {count - _MOST_SHOWN} more; --json has up to 10000.")


@click.command()
@click.option("--date", "day", metavar="YYYY-MM-DD", help="A UTC day; yesterday when left out.")
@click.option("--list", "is_list", is_flag=True, help="Show the reports that were kept.")
@json_flag
@sentences
def report(day: str | None, is_list: bool, as_json: bool) -> None:
    """Show the report of a day. Each is made after its day has ended, and told as an alert."""
    from relay import usage as books

    if is_list:
        found = with_context(lambda ctx: books.kept_reports(ctx.store))
        if as_json:
            print_json(found)
        else:
            _show_reports(found)
        return
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    date = a_day(day, "--date") if day else yesterday

    async def make(ctx: "Context") -> dict[str, Any]:
        await ctx.tariff.follow()
        return await books.daily(ctx.store, ctx.prices, date)

    made = with_context(make)
    if as_json:
        print_json(made)
        return
    _show_reports([made])
    models = [(one["model"], one["requests"], one["tokens"], _usd(one["cost"]))
              for one in made["topModels"]]  # fmt: skip
    if models:
        click.echo("")
        table(("MODEL", "REQUESTS", "TOKENS", "COST"), models)
    unpriced = [
        (one["model"], one["bookedAs"], _usd(one["cost"])) for one in made["unpricedModels"]
    ]
    if unpriced:
        click.echo("")
        table(("MODEL WITHOUT A PRICE", "BOOKED AS", "COST"), unpriced)


def _show_reports(reports: Sequence[dict[str, Any]]) -> None:
    head = ("DATE", "REQUESTS", "TOKENS", "USERS", "ERRORS %", "COST")
    table(
        head,
        [
            (one["date"], one["totalRequests"], one["totalTokens"], one["uniqueUsers"],
             f"{one['errorRate']:.2f}", _usd(one["cost"]))
            for one in reports
        ],
    )  # fmt: skip


def _usd(amount: float) -> str:
    return f"${amount:.6f}"
