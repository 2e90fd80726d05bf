"""`relay doctor`: the monitor's checks for a person, and those that are too dear for every run.

It changes nothing, starts nothing and tells nobody.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import trio

import relay
from relay import retirements, server, store
from relay.accounts import Account, AccountProblem
from relay.alerts import Alerts, post
from relay.context import Context
from relay.known_models import KnownModels
from relay.monitor import checks, installed
from relay.monitor.findings import CRITICAL, OK, UNSEEN, WARNING, Finding
from relay.monitor.look import take
from relay.monitor.notes import Notes, Place
from relay.monitor.report import Report
from relay.monitor.run import read_settings
from relay.monitor.seen import Look
from relay.monitor.site import Site, site
from relay.pricing import PricesError
from relay.settings import Settings, SettingsError
from relay.store import RedisAway, Store
from relay.upstream import UpstreamError
from relay.vault import VaultError

_ACCOUNT_DEADLINE_S = 20.0
# cron's five minutes twice, and the time that a run takes.
_MONITOR_EVERY = timedelta(minutes=11)


async def examine(environ: Mapping[str, str]) -> Report:
    """Everything that can be found out.

    Args:
        environ: the environment, which names the settings and the machine's values.
    """
    try:
        settings, problem = read_settings(environ)
    except SettingsError as error:
        return Report(datetime.now(UTC), [Finding("settings", CRITICAL, str(error))])
    here = site(settings, environ)
    async with store.opened(here.redis_url, settings.home) as opened:
        alerts = Alerts(opened, settings.webhooks, "", post)
        look = await take(here, settings, opened, alerts)
        notes = await Place(settings.home, opened if look.redis_answers else None).read()
        twins = await shared_names(opened) if look.redis_answers else ()
        retiring = await models_retiring(opened) if look.redis_answers else ()
    since = datetime.fromtimestamp(notes.since, UTC) if notes.since else look.at
    findings = [
        *checks.judged(look, here, settings, problem, since),
        *twins,
        *retiring,
        *await _admissions(look, here, settings),
        *_installed(look, here, environ),
        *(_watchman(look, notes) if here.is_appliance else ()),
    ]
    return Report(look.at, findings)


async def shared_names(opened: Store) -> Sequence[Finding]:
    """Names of several records of one kind, which only earlier releases let be made."""
    tables = {"key": opened.keys, "account": opened.accounts, "token": opened.tokens}
    found = [
        Finding(
            "names", WARNING, f"Several {kind}s are named {twin}; all of them work.",
            f"relay {kind} list --json shows their ids; rename or delete all but one", twin,
        )
        for kind, table in tables.items()
        for twin in await table.twins()
    ]  # fmt: skip
    return found or [Finding("names", OK, "No two keys, accounts or tokens share a name.")]


async def models_retiring(opened: Store) -> Sequence[Finding]:
    """Models that keys use and that retire soon, by what the relay has read of the upstreams."""
    known = KnownModels(opened)
    await known.follow()
    if not any(known.everywhere()):
        text = "No upstream's list of models was read yet."
        return [Finding("retirement", UNSEEN, text)]
    found = [
        Finding(
            "retirement", WARNING, retirements.sentence(one), retirements.what_helps(one.model),
            one.model,
        )
        for one in await retirements.near(opened, known)
    ]  # fmt: skip
    text = f"No key used a model of late that retires within {retirements.WITHIN_DAYS} days."
    return found or [Finding("retirement", OK, text)]


def _watchman(look: Look, notes: Notes) -> Sequence[Finding]:
    """Whether cron runs the monitor."""
    last = datetime.fromtimestamp(notes.last, UTC)
    if look.at - last <= _MONITOR_EVERY:
        return [Finding("monitor", OK, f"It ran at {last:%H:%M} UTC.")]
    text = f"It last ran on {last:%Y-%m-%d %H:%M} UTC." if notes.last else "It never ran."
    mend = "systemctl status cron; journalctl -t relay-monitor"
    return [Finding("monitor", WARNING, text, mend)]


def _installed(look: Look, here: Site, environ: Mapping[str, str]) -> Sequence[Finding]:
    if not here.is_appliance:
        text = "install.sh did not make this machine, so systemd and its files are not looked at."
        return [Finding("appliance", UNSEEN, text)]
    running = {port: door.version for port, door in (look.doors or {}).items()}
    return [
        *installed.files(environ),
        *installed.secrets(),
        *installed.packages(is_changing=bool(look.is_changing)),
        *installed.release(relay.__version__, running),
    ]


async def _admissions(look: Look, here: Site, settings: Settings) -> Sequence[Finding]:
    """Whether each account's own API lets us in."""
    if not look.redis_answers:
        return [Finding("admission", UNSEEN, "Redis cannot be read, so no account was tried.")]
    # With its address named, no Redis of the relay's own is started.
    known = dataclasses.replace(settings, redis_url=here.redis_url)
    found: list[Finding] = []
    problem = ""
    try:
        async with server.context(known) as ctx, trio.open_nursery() as nursery:
            accounts = [one for one in await ctx.accounts.list() if one.enabled]
            for one in accounts:
                nursery.start_soon(_try, ctx, one, found)
                nursery.start_soon(_reach, ctx, one, found)
    except* (VaultError, PricesError, RedisAway) as group:
        problem = f"No account was tried: {group.exceptions[0]}"
    if problem:
        return [Finding("admission", UNSEEN, problem)]
    if not found:
        text = "There is no account yet, so nothing can be served."
        return [Finding("admission", WARNING, text, "relay account add NAME")]
    return sorted(found, key=lambda one: (one.check, one.subject))


async def _try(ctx: Context, one: Account, found: list[Finding]) -> None:
    """Ask an account's API for its models."""
    advice = f"relay account show {one.name}"
    level, text = WARNING, f"Its API does not answer within {_ACCOUNT_DEADLINE_S:.0f} s."
    with trio.move_on_after(_ACCOUNT_DEADLINE_S):
        try:
            result = await ctx.accounts.test(one.id, ctx.upstreams)
        except (UpstreamError, AccountProblem, VaultError) as error:
            level, text = CRITICAL, str(error)
        else:
            level = OK if result.ok else CRITICAL if result.is_refused else WARNING
            text = result.message
    found.append(Finding("admission", level, text, "" if level == OK else advice, one.name))


async def _reach(ctx: Context, one: Account, found: list[Finding]) -> None:
    """Say where an account leads that no role could make it lead today."""
    # Whether it can be read at all is said with its admission.
    with trio.move_on_after(_ACCOUNT_DEADLINE_S), contextlib.suppress(AccountProblem, VaultError):
        for text, needs_look in await ctx.accounts.doubts(one.id):
            advice = "allow it by that setting if it is meant; else change the account"
            level = WARNING if needs_look else OK
            found.append(Finding("reach", level, text, advice if needs_look else "", one.name))
