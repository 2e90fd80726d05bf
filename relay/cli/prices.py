"""`relay prices`: the price table in force, and a newer one instead of it."""

import dataclasses
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.common import a_day, as_dict, json_flag, print_json, sentences, table, with_context

if TYPE_CHECKING:
    from relay.context import Context
    from relay.pricing import PriceRow
    from relay.tariff import Updated


@click.group(invoke_without_command=True)
@json_flag
@click.pass_context
@sentences
def prices(context: click.Context, as_json: bool) -> None:
    """Show the prices by which requests are booked, USD per million tokens."""
    if context.invoked_subcommand is None:
        _show(None, as_json=as_json)


@prices.command()
@click.option("--at", "day", metavar="YYYY-MM-DD", help="Only the rows that hold on a day (UTC).")
@json_flag
@sentences
def show(day: str | None, as_json: bool) -> None:
    """Show the price table in force, or that of a day."""
    _show(a_day(day, "--at") if day is not None else None, as_json=as_json)


def _show(day: date | None, *, as_json: bool) -> None:
    from relay.pricing import days_since_epoch
    from relay.tariff import stored_table

    async def read(ctx: "Context") -> "tuple[list[PriceRow], str, dict[str, str]]":
        await ctx.tariff.follow()
        rows = ctx.prices.rows(None if day is None else days_since_epoch(day))
        return rows, ctx.prices.version, await stored_table(ctx.store, ctx.prices)

    rows, version, stored = with_context(read)
    if as_json:
        print_json([as_dict(row) for row in rows])
        return
    names = list(rows[0].__dataclass_fields__) if rows else []
    lines = [[getattr(row, name) for name in names] for row in rows]
    table([name.upper() for name in names], lines)
    source = "built in"
    if stored:
        signed = "signed" if stored["signed"] else "NOT SIGNED"
        source = f"{signed}, taken by {stored['by']} at {stored['at']}"
    click.echo(f"Table {version}, {source}.")


@prices.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--unsigned", is_flag=True, help="Take it without a signature.")
@click.option("--drop", "dropped", multiple=True, metavar="MODEL",
              help="A model that may lose its row; may be repeated.")  # fmt: skip
@json_flag
@sentences
def update(file: Path, unsigned: bool, dropped: tuple[str, ...], as_json: bool) -> None:
    """Let a newer price table count, for every process within seconds.

    FILE.sig holds its Ed25519 signature by the key of pricing.publicKey.
    """
    try:
        text = file.read_bytes().decode()
        given = file.with_name(f"{file.name}.sig")
        signature = given.read_bytes() if given.exists() else b""
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}.") from None
    if unsigned:
        click.secho(
            "WARNING: nobody vouches for this price table. It is taken without a signature, and"
            " the audit and `relay prices show` say so.",
            err=True,
            bold=True,
        )

    async def take(ctx: "Context") -> "Updated":
        return await ctx.tariff.update(text, signature, unsigned=unsigned, dropped=dropped)

    done = with_context(take)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    click.echo(f"The price table {done.version} takes the place of {done.before}.")
    for model, day in done.priced.items():
        click.echo(
            f"{model} has a row now; it was booked without one since {day}:"
            f" relay usage reprice --from {day} --dry-run"
        )
