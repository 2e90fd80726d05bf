"""`relay why`: why a request went where it went."""

import json
from typing import Any

import click

from relay.cli.common import (
    json_flag,
    print_json,
    sentences,
    with_context,
)


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
    # What an older release recorded has none.
    for place in found.get("left_out", ()):
        click.echo(f"  left out of the request: {place}")
    for attempt in found["attempts"]:
        click.echo(
            f"  {attempt['account_name']}: {attempt['outcome']}, status {attempt['status']},"
            f" first byte {attempt['first_byte_ms']} ms, whole {attempt['duration_ms']} ms"
        )
        # What an older release recorded has neither.
        for part in attempt.get("parts", ()):
            click.echo(f"    billed as {_part_line(part)}")
        for remark in attempt.get("remarks", ()):
            click.echo(f"    {remark}")
        for model in attempt.get("unpriced", ()):
            click.echo(f"    {model} has no price of its own (table {found['prices']})")


def _part_line(part: dict[str, Any]) -> str:
    """A part of a bill in a line."""
    tokens = ", ".join(f"{count} {name}" for name, count in part["tokens"].items() if count)
    unknown = part["unknown_tokens"] + part["unknown_uses"]
    ways = [word for word, is_so in (("fast", part["is_fast"]), ("us", part["is_us"])) if is_so]
    words = [part["kind"], f"at {part['model']}", *ways]
    return f"{' '.join(words)}: {tokens or 'nothing'}{f', {unknown} unknown' if unknown else ''}"
