"""`relay account`: the upstreams whose credentials the relay holds."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    as_dict,
    budgets,
    json_flag,
    on_one,
    print_json,
    sentences,
    several,
    show,
    table,
    with_context,
)

if TYPE_CHECKING:
    from relay.accounts import Account
    from relay.context import Context


@click.group()
def account() -> None:
    """Accounts: the upstreams whose credentials the relay holds."""


def _settings(command: Any) -> Any:
    """The options that add and edit share; what is not given stays as it is."""
    options = (
        click.option("--base-url", help="The API's address; for api_key and federation that of"
                     " claude.baseUrl when left out."),
        click.option("--auth", type=click.Choice(["x-api-key", "bearer"]),
                     help="Header that carries an API key; x-api-key when left out."),
        click.option("--secret-file", type=click.File(),
                     help="File with the secret; - is standard input."),
        click.option("--email", help="Whose account it is."),
        click.option("--priority", type=int, help="Lower comes first; 50 when left out."),
        click.option("--weight", type=int, help="Its share among equals; 1 when left out."),
        click.option("--max-concurrency", type=int, help="Requests at one time; 0 is no limit."),
        click.option("--model", "models", multiple=True,
                     help="Model it serves, * and ? allowed; all when left out."),
        click.option("--map", "maps", multiple=True, metavar="NAME=UPSTREAM",
                     help="The upstream's own name of a model."),
        click.option("--group", "groups", multiple=True, help="Group of accounts it is in."),
        click.option("--inference-geo", type=click.Choice(["us", "global", ""]),
                     help="Where its workspace serves what names no place; strict budgets hold"
                     " 10 % less where every account is `global`."),
        click.option("--proxy", help="Outbound proxy, http://, https:// or socks5://; `direct`"
                     " whatever claude.proxy says."),
        click.option("--proxy-file", type=click.File(),
                     help="File with the proxy's address, for one with a password."),
        *(click.option(f"--budget-{period}", metavar="USD", help=f"What it may cost: {period}.")
          for period in ("daily", "weekly", "monthly", "total")),
        click.option("--budget-mode", type=click.Choice(["strict", "soft"]),
                     help="How its budgets hold; as with keys when left out."),
        click.option("--federation-rule-id", help="For federation: fdrl_…"),
        click.option("--organization-id", help="For federation: the organization's id."),
        click.option("--identity-token-file", help="For federation: file with the OIDC token."),
        click.option("--service-account-id", help="For federation: svac_…"),
        click.option("--workspace-id", help="For federation: wrkspc_… or default."),
        click.option("--note", help="Anything worth remembering."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


_FEDERATION = (
    "federation_rule_id", "organization_id", "identity_token_file", "service_account_id",
    "workspace_id",
)  # fmt: skip


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given, by the names that accounts know them by."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "models" in given:
        given["allowed_models"] = several(given.pop("models"))
    if "groups" in given:
        given["groups"] = several(given["groups"])
    if "maps" in given:
        given["model_map"] = dict(_pair(one) for one in several(given.pop("maps")))
    if "budget_mode" in given or any(name.startswith("budget_") for name in given):
        given["budgets"] = {**budgets(given), "mode": given.pop("budget_mode", "")}
    if federation := {name: given.pop(name) for name in _FEDERATION if name in given}:
        given["options"] = federation
    if secret_file := given.pop("secret_file", None):
        given["secret"] = secret_file.read().strip()
    if "@" in given.get("proxy", ""):
        raise click.BadParameter(
            "a proxy with a password goes by --proxy-file", param_hint="--proxy"
        )
    if proxy_file := given.pop("proxy_file", None):
        given["proxy"] = proxy_file.read().strip()
    return given


def _pair(text: str) -> tuple[str, str]:
    name, is_pair, upstream = text.partition("=")
    if not is_pair:
        raise click.BadParameter("use NAME=UPSTREAM", param_hint="--map")
    return name, upstream


@account.command("add")
@click.argument("name")
@click.option("--kind", type=click.Choice(["api_key", "oauth", "federation", "session_key"]),
              default="api_key", show_default=True)  # fmt: skip
@_settings
@json_flag
@sentences
def account_add(name: str, kind: str, as_json: bool, **options: Any) -> None:
    """Add an account. Without --secret-file its secret is asked for."""
    given = _given(options)
    takes_secret = kind in ("api_key", "session_key")
    if kind in ("oauth", "session_key") and "base_url" not in given:
        raise click.UsageError(
            f"An account of kind {kind} needs --base-url, an endpoint of your own."
        )
    if takes_secret and "secret" not in given:
        given["secret"] = click.prompt(f"Secret of {name}", hide_input=True).strip()
    if not takes_secret and "secret" in given:
        raise click.UsageError(f"An account of kind {kind} takes no secret.")

    async def add(ctx: "Context") -> object:
        given.setdefault("base_url", ctx.settings.base_url)
        return await ctx.accounts.add(name, kind=kind, **given)

    show(with_context(add), as_json)
    if kind == "oauth" and not as_json:
        click.echo(f"Now sign it in: relay oauth login {name}")


@account.command("edit")
@click.argument("name_or_id")
@click.option("--name", help="A new name.")
@click.option("--new-secret", is_flag=True, help="Ask for a new secret.")
@_settings
@json_flag
@sentences
def account_edit(name_or_id: str, new_secret: bool, as_json: bool, **options: Any) -> None:
    """Change an account in place; running requests end as they began.

    What is not named stays. An empty value (--group "") takes a list or a text away.
    """
    given = _given(options)
    if new_secret:
        given["secret"] = click.prompt(f"New secret of {name_or_id}", hide_input=True).strip()
    if not given:
        raise click.UsageError("Nothing to change was given.")
    show(with_context(lambda ctx: ctx.accounts.edit(name_or_id, **given)), as_json)


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
        ("ID", "NAME", "KIND", "PRIORITY", "WEIGHT", "STATE", "UNTIL", "REASON", "ORGANIZATION",
         "WORKSPACE", "BASE URL"),
        [
            (one.id, one.name, one.kind, one.priority, one.weight, _state(one), _moment(one.until),
             one.reason, one.organization, one.workspace, one.base_url)
            for one in accounts
        ],
    )  # fmt: skip


def _state(one: "Account") -> str:
    classes = [f"{state} for {name}" for name, state in one.class_states.items()]
    return ", ".join([one.state, *classes])


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}" if when else ""


@account.command("show")
@click.argument("name_or_id")
@json_flag
@sentences
def account_show(name_or_id: str, as_json: bool) -> None:
    """Show an account: its settings, its state and what to do about it, and its last changes."""

    async def read(ctx: "Context") -> tuple["Account", int, list[dict[str, str]]]:
        found = await ctx.accounts.find(name_or_id)
        open_batches = await ctx.store.batches.open_count(found.id)
        return found, open_batches, await ctx.store.accounts.state_changes(found.id, 10)

    found, open_batches, changes = with_context(read)
    if as_json:
        print_json({**as_dict(found), "open_batches": open_batches, "changes": changes})
        return
    show(found, as_json)
    if open_batches:
        click.echo(f"{open_batches} of its batches are not booked yet.")
    if changes:
        click.echo()
    for change in changes:
        when = datetime.fromtimestamp(int(change["at"]) / 1000, UTC)
        what = f"{change['class']}: " if change["class"] else ""
        reason = f" ({change['reason']})" if change["reason"] else ""
        click.echo(f"{_moment(when)}  {what}{change['before']} -> {change['state']}{reason}")


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


@account.command("remove")
@click.argument("name_or_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--patience", type=click.FloatRange(0), default=300.0, show_default=True,
              help="Seconds to wait for the requests that still run on it.")  # fmt: skip
@json_flag
@sentences
def account_remove(name_or_id: str, yes: bool, patience: float, as_json: bool) -> None:
    """Remove an account for good: it gets no new requests, and goes when the last has ended."""
    if not yes:
        click.confirm(f"Remove the account {name_or_id} for good?", abort=True)
    removed = with_context(lambda ctx: ctx.accounts.remove(name_or_id, patience_s=patience))
    show(removed, as_json)
