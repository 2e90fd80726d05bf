"""What was used and why: usage, why, prices."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    as_dict,
    chosen_settings,
    json_flag,
    print_json,
    sentences,
    table,
    with_context,
)

if TYPE_CHECKING:
    from relay.usage import Report


@click.command()
@click.option("--day", help="UTC day, YYYY-MM-DD; today when left out.")
@json_flag
@sentences
def usage(day: str | None, as_json: bool) -> None:
    """Show a day's usage by key and model."""
    from relay import usage as reports

    if day is not None:
        _check_day(day)
    report = with_context(lambda ctx: reports.report(ctx.store, day))
    if as_json:
        print_json(report)
    else:
        _show_report(report)


def _check_day(day: str) -> None:
    try:
        datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise click.BadParameter("use YYYY-MM-DD", param_hint="--day") from None


def _show_report(report: "Report") -> None:
    from relay.usage import dollars

    def cells(counters: Any) -> list[object]:
        names = ("requests", "errors", "input_tokens", "output_tokens", "cache_read_tokens")
        writes = counters["cache_write_5m_tokens"] + counters["cache_write_1h_tokens"]
        return [*(counters[name] for name in names), writes, dollars(counters["cost_micros"])]

    head = ("KEY", "MODEL", "REQUESTS", "ERRORS", "IN", "OUT", "CACHE READ", "CACHE WRITE", "COST")
    rows: list[list[object]] = [
        [row.key_name, row.model, *cells(row.counters)] for row in report.rows
    ]
    click.echo(f"Usage on {report.day} (UTC)")
    table(head, [*rows, ["total", "", *cells(report.total)]])


@click.command()
@click.argument("request_id")
@json_flag
@sentences
def why(request_id: str, as_json: bool) -> None:
    """Tell why a request went where it went, and what came of it."""
    decision = with_context(lambda ctx: ctx.store.usage.decision(request_id))
    if decision is None:
        raise click.ClickException(f"Nothing is kept of {request_id}; decisions live seven days.")
    found = json.loads(decision)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['request_id']}: {found['key_name']} asked for {found['model']}")
    click.echo(f"chosen {found['chosen']}: {found['reason']} ({found['candidates']} candidates)")
    for reason, names in found["skipped"].items():
        click.echo(f"  could not serve, {reason}: {', '.join(names)}")
    for attempt in found["attempts"]:
        click.echo(
            f"  {attempt['account_name']}: {attempt['outcome']}, status {attempt['status']},"
            f" first byte {attempt['first_byte_ms']} ms, whole {attempt['duration_ms']} ms"
        )


@click.command()
@json_flag
@sentences
def prices(as_json: bool) -> None:
    """List the prices by which requests are booked, USD per million tokens."""
    from relay.pricing import Prices

    settings = chosen_settings()
    rows = Prices.load(settings.prices_file, settings.price_multiplier).rows()
    if as_json:
        print_json([as_dict(row) for row in rows])
        return
    names = [field.name for field in dataclasses.fields(rows[0])]
    table(
        [name.upper() for name in names], [[getattr(row, name) for name in names] for row in rows]
    )
