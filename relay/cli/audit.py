"""`relay audit`: who changed what."""

import click

from relay.cli.common import as_dict, json_flag, print_json, sentences, table, with_context


@click.command()
@click.option("--count", type=click.IntRange(1, 10_000), default=50, show_default=True,
              help="So many of the newest changes.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Check that no entry was altered or taken out.")
@json_flag
@sentences
def audit(count: int, verify: bool, as_json: bool) -> None:
    """Show who changed what, when and from where, newest first."""
    if verify:
        sound, fault = with_context(lambda ctx: ctx.audit.verify())
        if as_json:
            print_json({"entries": sound, "fault": fault or None})
        elif not fault:
            click.echo(f"{sound} entries, none altered and none missing.")
        if fault:
            raise click.ClickException(fault)
        return
    entries = with_context(lambda ctx: ctx.audit.newest(count))
    if as_json:
        print_json([as_dict(one) for one in entries])
        return
    table(
        ("NUMBER", "TIME", "WHO", "FROM", "WHAT", "WHOM", "BEFORE", "AFTER"),
        [
            (one.number, one.time, one.actor, one.address, one.action, one.subject,
             _short(one.before), _short(one.after))
            for one in entries
        ],
    )  # fmt: skip


def _short(fields: object) -> str:
    pairs = dict(fields).items() if isinstance(fields, dict) else ()
    text = ", ".join(f"{name}={value}" for name, value in pairs if value not in ("", [], {}, None))
    return text if len(text) <= 60 else text[:59] + "…"
