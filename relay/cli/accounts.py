"""`relay account`: the upstreams whose credentials the relay holds."""

import sys
from typing import Any

import click

from relay.cli.common import (
    as_dict,
    json_flag,
    on_one,
    print_json,
    sentences,
    show,
    table,
    with_context,
)


@click.group()
def account() -> None:
    """Accounts: the upstreams whose credentials the relay holds."""


@account.command("add")
@click.argument("name")
@click.option("--kind", type=click.Choice(["api_key"]), default="api_key", show_default=True)
@click.option("--base-url", help="The API's address (claude.baseUrl, https://api.anthropic.com).")
@click.option("--auth", type=click.Choice(["x-api-key", "bearer"]), default="x-api-key",
              show_default=True, help="Header that carries the secret.")  # fmt: skip
@click.option("--secret-file", type=click.File(), help="File with the secret; - is standard input.")
@click.option("--note", default="", help="Anything worth remembering.")
@json_flag
@sentences
def account_add(
    name: str,
    kind: str,
    base_url: str | None,
    auth: str,
    secret_file: Any,
    note: str,
    as_json: bool,
) -> None:
    """Add an account. Without --secret-file its secret is asked for."""
    if secret_file is not None:
        secret = secret_file.read().strip()
    else:
        secret = click.prompt(f"Secret of {name}", hide_input=True).strip()
    added = with_context(
        lambda ctx: ctx.accounts.add(
            name,
            kind=kind,
            secret=secret,
            base_url=base_url or ctx.settings.base_url,
            auth=auth,
            note=note,
        )
    )
    show(added, as_json)


@account.command("list")
@json_flag
@sentences
def account_list(as_json: bool) -> None:
    """List all accounts."""
    accounts = with_context(lambda ctx: ctx.accounts.list())
    if as_json:
        print_json([as_dict(one) for one in accounts])
        return
    table(
        ("ID", "NAME", "KIND", "STATE", "RESTS UNTIL", "BASE URL"),
        [
            (
                one.id,
                one.name,
                one.kind,
                one.state if one.enabled else "disabled",
                f"{one.rests_until:%Y-%m-%d %H:%M:%S}" if one.rests_until else "",
                one.base_url,
            )
            for one in accounts
        ],
    )


@account.command("test")
@click.argument("name_or_id")
@json_flag
@sentences
def account_test(name_or_id: str, as_json: bool) -> None:
    """Ask the account's API for its models: free, and shows whether the secret is good."""
    result = with_context(lambda ctx: ctx.accounts.test(name_or_id, ctx.upstreams))
    if as_json:
        print_json(as_dict(result))
    else:
        click.echo(result.message)
    if not result.ok:
        sys.exit(1)


on_one(
    account,
    "enable",
    "Give a disabled account requests again.",
    lambda ctx, one: ctx.accounts.set_enabled(one, enabled=True),
)
on_one(
    account,
    "disable",
    "Give an account no new requests; running ones end in peace.",
    lambda ctx, one: ctx.accounts.set_enabled(one, enabled=False),
)
on_one(
    account,
    "reset",
    "Forget an account's failures: it may serve again at once.",
    lambda ctx, one: ctx.accounts.reset(one),
)
on_one(
    account,
    "remove",
    "Remove an account for good, once no request runs on it.",
    lambda ctx, one: ctx.accounts.remove(one),
    question="Remove the account {} for good?",
)
