"""`relay owner`: budgets over all keys of a person or team."""

from typing import Any

import click

from relay.cli.common import (
    as_dict,
    budgets,
    json_flag,
    print_json,
    sentences,
    show,
    table,
    with_context,
)


@click.group()
def owner() -> None:
    """Owners: people or teams with budgets over all of their keys."""


@owner.command("set")
@click.argument("name")
@click.option("--budget-daily", metavar="USD")
@click.option("--budget-weekly", metavar="USD")
@click.option("--budget-monthly", metavar="USD")
@click.option("--budget-total", metavar="USD")
@click.option("--budget-mode", type=click.Choice(["strict", "soft"]))
@json_flag
@sentences
def owner_set(name: str, budget_mode: str | None, as_json: bool, **options: Any) -> None:
    """Give an owner budgets instead of those before; keys join by `key create --owner NAME`."""
    amounts = budgets({key: value for key, value in options.items() if value is not None})
    show(with_context(lambda ctx: ctx.owners.set(name, amounts, budget_mode or "")), as_json)


@owner.command("list")
@json_flag
@sentences
def owner_list(as_json: bool) -> None:
    """List the owners who have budgets."""
    owners = with_context(lambda ctx: ctx.owners.list())
    if as_json:
        print_json([as_dict(one) for one in owners])
        return
    rows = [(one.name, ", ".join(f"{k} ${v}" for k, v in one.budgets.items())) for one in owners]
    table(("NAME", "BUDGETS"), rows)
