"""`relay usage reprice`: days booked anew once a model has a row in the price table."""

from datetime import date
from typing import TYPE_CHECKING

import click

from relay.cli.common import a_day, json_flag, print_json, sentences, table, with_context

if TYPE_CHECKING:
    from relay.context import Context
    from relay.usage import Plan

_MOST_SHOWN = 100


@click.command()
@click.option("--from", "since", metavar="YYYY-MM-DD", required=True, help="The first day (UTC).")
@click.option("--older", is_flag=True, help="Also what was booked by another price table, not only"
              " what had no row in it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_flag
@sentences
def reprice(since: str, older: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Book anew, by the price table in force, what was booked without a row in it.

    What changes is shown first, by day, key and model. Each request is corrected once, however
    often this runs.
    """
    day = a_day(since, "--from")
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json goes with --dry-run or --yes.")
    found = _run(day, older=older, dry_run=True)
    if not as_json:
        _show(found)
    if not dry_run and found.corrections:
        if not yes:
            click.confirm("Book this?", abort=True)
        found = _run(day, older=older, dry_run=False)
        if not as_json:
            click.echo(f"Booked: {len(found.corrections)} requests are corrected.")
    elif not dry_run:
        # The reports of the days may be left from a run that was interrupted.
        found = _run(day, older=older, dry_run=False)
    if as_json:
        print_json(found.to_json())


def _run(since: date, *, older: bool, dry_run: bool) -> "Plan":
    async def run(ctx: "Context") -> "Plan":
        from relay.repricing import Repricing
        from relay.usage import Archive

        await ctx.tariff.follow()
        archive = Archive(ctx.settings.usage_folder)
        repricing = Repricing(ctx.store, archive, ctx.prices, ctx.audit)
        return await repricing.run(since, older=older, dry_run=dry_run)

    return with_context(run)


def _show(found: "Plan") -> None:
    from relay.usage import dollars

    for day, why in found.refused.items():
        click.echo(f"{day} cannot be booked anew: {why}.")
    for why, count in found.skipped.items():
        click.echo(f"{count} records are left as they are: {why}.")
    if not found.lines:
        click.echo(f"Nothing changes by the price table {found.version}.")
        return
    rows = [
        (one.day, one.key_name or one.key_id, one.model, one.records,
         *(dollars(micros) for micros in (one.before_micros, one.after_micros,
                                          one.after_micros - one.before_micros)))
        for one in found.lines[:_MOST_SHOWN]
    ]  # fmt: skip
    table(("DAY", "KEY", "MODEL", "REQUESTS", "BOOKED", "RIGHT", "DIFFERENCE"), rows)
    if len(found.lines) > _MOST_SHOWN:
        click.echo(f"… and {len(found.lines) - _MOST_SHOWN} more lines; --json has all.")
    click.echo(
        f"By the price table {found.version}: {dollars(found.before_micros)} becomes"
        f" {dollars(found.after_micros)}."
    )
    if found.is_cut:
        click.echo("There is more than one run does: run it again for the rest.")
