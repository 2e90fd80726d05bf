"""What the commands share: settings, the relay's parts, sentences for faults, tables and JSON."""

import contextlib
import dataclasses
import json
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from relay.context import Context
    from relay.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


def sentences(command: Callable[P, T]) -> Callable[P, T]:
    """Turn what can go wrong into one sentence on stderr and exit status 1."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except BaseException as error:  # noqa: ASYNC103  # outside of trio.run
            cause = _first_cause(error)
            if isinstance(cause, KeyboardInterrupt):
                raise click.exceptions.Exit(130) from None  # noqa: ASYNC104
            if isinstance(cause, click.ClickException):
                raise cause from None  # noqa: ASYNC104
            if isinstance(cause, _foreseen()):
                raise click.ClickException(str(cause)) from None  # noqa: ASYNC104
            raise

    return wrapped


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _foreseen() -> tuple[type[Exception], ...]:
    from relay.accounts import AccountProblem
    from relay.alerts import WebhookProblem
    from relay.backup import BackupProblem
    from relay.build import BuildError
    from relay.canary import CanaryFailed
    from relay.keys import KeyProblem
    from relay.listener import ListenError
    from relay.oauth import OAuthProblem
    from relay.owners import OwnerProblem
    from relay.pricing import PricesError
    from relay.reconcile import AdminKeyProblem, ReconcileProblem
    from relay.redis_child import RedisChildError
    from relay.settings import SettingsError
    from relay.store import RedisAway
    from relay.tariff import TariffProblem
    from relay.tokens import TokenProblem
    from relay.trial import TrialFailed
    from relay.upstream import UpstreamError
    from relay.usage import UsageProblem
    from relay.users import UserProblem
    from relay.vault import VaultError

    return (
        AccountProblem, AdminKeyProblem, BackupProblem, BuildError, CanaryFailed, KeyProblem,
        ListenError, OAuthProblem, OwnerProblem, PricesError, ReconcileProblem, RedisChildError,
        SettingsError, RedisAway, TariffProblem, TokenProblem, TrialFailed, UpstreamError,
        UsageProblem, UserProblem, VaultError, WebhookProblem,
    )  # fmt: skip


_whole: dict[str, str] = {}


def take_environment() -> None:
    """Keep the environment for environment(), and its secrets from everybody else."""
    from relay.settings import withhold

    _whole.clear()
    _whole.update(withhold(os.environ))


def environment() -> Mapping[str, str]:
    """The environment as it was at the start, for those who are handed it."""
    return dict(_whole)


def chosen_settings(**flags: object) -> "Settings":
    from relay import settings

    given = {name: str(value) for name, value in flags.items() if value is not None}
    return settings.load({**environment(), **given})


def with_context(do: "Callable[[Context], Awaitable[T]]") -> T:
    """Run `do` with the relay's parts, against the running relay's Redis where there is one."""
    import trio

    from relay import audit, log, server

    settings = chosen_settings()
    log.set_up("warning", None)

    async def run() -> T:
        async with server.context(settings) as ctx:
            with audit.acting(audit.Actor(f"cli:{person()}")):
                return await do(ctx)

    return trio.run(run)


def a_day(text: str, option: str) -> date:
    """A day that an option names.

    Raises:
        click.BadParameter: it is none.
    """
    from relay import usage

    try:
        return usage.a_day(text)
    except ValueError:
        raise click.BadParameter("use YYYY-MM-DD", param_hint=option) from None


def person() -> str:
    """Who types the command, as far as the system knows."""
    with contextlib.suppress(KeyError):
        return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())


def print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        # A program reads escapes as well, and a replacement would be another value.
        text = json.dumps(value, indent=2, default=_plain)
    click.echo(text)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from relay.log import clean

    lines = [list(head), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def as_dict(value: Any) -> dict[str, object]:
    """A value's fields, by the names that programs know them by."""
    if to_json := getattr(value, "to_json", None):
        return dict(to_json())
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def several(values: Sequence[str]) -> tuple[str, ...]:
    """Several values of an option; a single empty one stands for none."""
    return () if tuple(values) == ("",) else tuple(values)


def budgets(given: dict[str, Any]) -> dict[str, str]:
    """The --budget-PERIOD options, taken out of what was given; 0 and empty are no budget."""
    periods = ("daily", "weekly", "monthly", "total")
    named = {one: given.pop(f"budget_{one}") for one in periods if f"budget_{one}" in given}
    return {period: "" if amount == "0" else amount for period, amount in named.items()}


def moment(text: str) -> datetime:
    """A point in time from now on, of --expires: a distance such as 30d or 12h, or a UTC date."""
    units = {"d": timedelta(days=1), "h": timedelta(hours=1)}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            return datetime.now(UTC) + int(text[:-1]) * units[text[-1]]
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "use 30d, 12h or a date such as 2027-01-31", param_hint="--expires"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{text} is in the past", param_hint="--expires")
    return moment


def on_one(
    group: click.Group,
    name: str,
    summary: str,
    do: "Callable[[Context, str], Awaitable[Any]]",
    *,
    question: str = "",
) -> None:
    """Add a command that does something with one thing, named by name or id, and shows it.

    Args:
        question: asked first unless --yes is given; for what cannot be undone.
    """

    @sentences
    def command(name_or_id: str, as_json: bool, yes: bool = False) -> None:
        if question and not yes:
            click.confirm(question.format(name_or_id), abort=True)
        show(with_context(lambda ctx: do(ctx, name_or_id)), as_json)

    if question:
        command = click.option("--yes", is_flag=True, help="Do not ask.")(command)
    group.command(name, help=summary)(json_flag(click.argument("name_or_id")(command)))


def show(value: Any, as_json: bool) -> None:
    fields = as_dict(value)
    if as_json:
        print_json(fields)
        return
    table(("FIELD", "VALUE"), [(name, _in_words(cell)) for name, cell in fields.items()])


def _in_words(value: object) -> object:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "" if value is None else value
