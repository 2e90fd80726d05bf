"""The checks of Redis and of the relay's own state: each a function over a look."""

import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta

from relay.accounts import Account
from relay.alerts import Standing
from relay.monitor.findings import CRITICAL, OK, UNSEEN, WARNING, Finding, by_amount
from relay.monitor.seen import Look
from relay.monitor.site import REDIS, Site
from relay.settings import Settings
from relay.usage import dollars

_AWAY = "Redis cannot be read."
# Errors of Relay's own that come from its code, and how many kinds of them are named.
_BROKEN = ("internal_error", "status_500")
_MOST_LISTED = 4
# States of an account that pass by themselves.
_PASSING = ("cooling", "overloaded", "failing")


def configuration(problem: str) -> Finding:
    """Whether the relay would start with the settings as they are."""
    if not problem:
        return Finding("settings", OK, "They can be read.")
    text = f"The relay would not start with them: {problem}"
    return Finding("settings", CRITICAL, text, "mend what the sentence names, then `relay doctor`")


def redis(look: Look, site: Site, _: Settings) -> Iterator[Finding]:
    """Whether Redis answers us and takes what is new."""
    unit = (look.units or {}).get(REDIS)
    if look.stored is None:
        yield Finding("redis", UNSEEN, "Redis was not asked.")
    elif look.stored.is_refused:
        text = f"{look.stored.problem}."
        yield Finding("redis", CRITICAL, text, _how_to_be_let_in(site))
    elif look.stored.is_lost:
        mend = "relay restore FILE, or relay accept-database to go on with what Redis holds now"
        yield Finding("redis", CRITICAL, look.stored.problem, mend)
    elif look.stored.is_loading:
        text = "It reads its data after a start, and serves nobody until it has."
        yield Finding("redis", CRITICAL, text, "wait", settles=True)
    elif look.stored.problem and unit is not None and not unit.is_active:
        yield Finding("redis", UNSEEN, "Its service does not run.")
    elif look.stored.problem:
        see = f"journalctl --unit {REDIS} --lines 50" if site.is_appliance else "relay serve"
        yield Finding("redis", CRITICAL, f"{look.stored.problem}.", see)
    elif look.stored.unwritable:
        text = f"It takes nothing new: {look.stored.unwritable}"
        yield Finding("redis", CRITICAL, text, "relay doctor names full disks and memory")
    else:
        version = look.stored.figures.get("redis_version", "?")
        yield Finding("redis", OK, f"It answers and takes what is new (version {version}).")


def _how_to_be_let_in(site: Site) -> str:
    if not site.is_appliance:
        return "correct the password in REDIS_URL or redis.password"
    return (
        "let REDIS_URL and REDIS_PASSWORD in /etc/relay/secrets.env have the password of"
        " requirepass in /etc/relay/redis-machine.conf"
    )


def redis_memory(look: Look, _: Site, settings: Settings) -> Iterator[Finding]:
    """Whether Redis has room, and never forgets to make some."""
    if not look.redis_answers or look.stored is None:
        yield Finding("redis memory", UNSEEN, _AWAY)
        return
    told = look.stored.figures
    policy = told.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}, which forgets keys and accounts when it is full."
        yield Finding("redis memory", CRITICAL, text, "set maxmemory-policy noeviction")
        return
    used, most = int(told["used_memory"]), int(told["maxmemory"])
    if not most:
        yield Finding("redis memory", OK, f"{used // 2**20} MiB are used; it has no limit.")
        return
    percent = 100 * used / most
    level = by_amount(percent, settings.monitor_redis_warning, settings.monitor_redis_critical)
    text = f"{percent:.0f} % of {most // 2**20} MiB are used."
    if level != OK:
        text += " When it is full the relay answers 503."
    mend = "install.sh --redis-memory SIZE, or a lower usage.maxMemory" if level != OK else ""
    yield Finding("redis memory", level, text, mend)


def redis_file(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether what Redis takes reaches the disk."""
    if not look.redis_answers or look.stored is None:
        yield Finding("redis file", UNSEEN, _AWAY)
        return
    told = look.stored.figures
    if told.get("aof_enabled") != "1":
        text = "Its append-only file is off: a crash loses what came since the last snapshot."
        yield Finding("redis file", WARNING, text, "set appendonly yes")
    elif told.get("aof_last_write_status", "ok") != "ok":
        text = "Its last write to the disk failed."
        yield Finding("redis file", CRITICAL, text, "see the disk of its data, and its log")
    elif told.get("aof_last_bgrewrite_status", "ok") != "ok":
        text = "Its append-only file could not be written anew, and grows."
        yield Finding("redis file", WARNING, text, "see the disk of its data, and its log")
    else:
        yield Finding("redis file", OK, "What it takes is written to the disk.")


def account(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether accounts serve, and which need somebody."""
    if not look.redis_answers or look.stored is None:
        yield Finding("account", UNSEEN, _AWAY)
        return
    if look.stored.accounts is None:
        text = f"They cannot be read: {look.stored.accounts_problem}"
        yield Finding("account", UNSEEN, text)
        return
    meant = [one for one in look.stored.accounts if one.enabled]
    for one in meant:
        yield _account(one, look.stored.sealed.get(one.name, ""))
    serving = sum(one.state == "ok" for one in meant)
    if meant and not serving:
        text = f"None of {len(meant)} can serve: every request is refused."
        yield Finding("accounts", CRITICAL, text, "relay account list")
    else:
        yield Finding("accounts", OK, f"{serving} of {len(meant)} serve.")


def _account(one: Account, sealed: str) -> Finding:
    show = f"relay account show {shlex.quote(one.name)}"
    if sealed:
        text = f"Its secret cannot be used: {sealed}"
        return Finding("account", CRITICAL, text, "give the ENCRYPT_KEY of before", one.name)
    if one.state == "ok":
        return Finding("account", OK, "It serves.", subject=one.name)
    reason = f": {one.reason}" if one.reason else ""
    text = f"It does not serve, it is {one.state}{reason}."
    return Finding("account", WARNING, text, one.advice or show, one.name, one.state in _PASSING)


def errors(look: Look, _: Site, settings: Settings) -> Iterator[Finding]:
    """How many of the last five minutes' requests failed through no fault of their clients."""
    if not look.redis_answers or look.stored is None:
        yield Finding("errors", UNSEEN, _AWAY)
        return
    total, failed = look.stored.requests, look.stored.failures
    text = f"{failed} of {total} requests of the last five minutes failed."
    if total < settings.monitor_errors_least:
        yield Finding("errors", OK, text)
        return
    limits = (settings.monitor_errors_warning, settings.monitor_errors_critical)
    level = by_amount(100 * failed / total, *limits)
    yield Finding("errors", level, text, "relay usage, relay account list" if level != OK else "")


def own_errors(look: Look, site: Site, settings: Settings) -> Iterator[Finding]:
    """Whether Relay itself failed requests of the last five minutes of which no record tells."""
    if not look.redis_answers or look.stored is None:
        yield Finding("own errors", UNSEEN, _AWAY)
        return
    counts = look.stored.own_errors
    failed = sum(counts.values())
    if failed < settings.monitor_own_errors_least:
        text = f"{failed} requests of the last five minutes failed in Relay without a record."
        yield Finding("own errors", OK, text)
        return
    percent = 100 * failed / (failed + look.stored.requests)
    level = CRITICAL if percent >= settings.monitor_errors_critical else WARNING
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    listed = ", ".join(f"{count} {what}" for what, count in ranked[:_MOST_LISTED])
    text = f"{failed} requests of the last five minutes failed in Relay without a record: {listed}."
    log = "journalctl --unit 'relay@*' --since -10min" if site.is_appliance else "see Relay's log"
    # A Redis that restarts is back in a moment; an exception in the code stays.
    settles = not any(what.startswith(_BROKEN) for what in counts)
    yield Finding("own errors", level, text, log, settles=settles)


def booking(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether every request of a process that died could be booked."""
    if not look.redis_answers or look.stored is None:
        yield Finding("booking", UNSEEN, _AWAY)
        return
    aside = look.stored.aside
    if not aside:
        text = "Every request of the last day was booked, also those of processes that died."
        yield Finding("booking", OK, text)
        return
    text = f"{len(aside)} requests of the last day could not be booked; the newest is"
    text += f" {aside[0].lease}: {aside[0].why}"
    yield Finding("booking", WARNING, text, "report it with the relay's log; nothing is blocked")


def price(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether every model that was used has a row in the price table."""
    if not look.redis_answers or look.stored is None:
        yield Finding("price", UNSEEN, _AWAY)
        return
    for one in look.stored.unpriced:
        text = (
            f"It has no price of its own since {one.since}: it is booked as {one.booked_as},"
            f" {dollars(one.cost_micros)} so far."
        )
        mend = (
            "relay prices update FILE, a row in pricing.file, or relay upgrade; see docs/prices.md"
        )
        yield Finding("price", WARNING, text, mend, one.model)
    if not look.stored.unpriced:
        yield Finding("price", OK, "Every model that was used has a price of its own.")


def books(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether the ledger equals Anthropic's books, of each organisation that has an admin key."""
    if not look.redis_answers or look.stored is None:
        yield Finding("books", UNSEEN, _AWAY)
        return
    for standing in look.stored.books:
        key = standing.key
        if key.error:
            text = f"They could not be compared with Anthropic's: {key.error}"
            yield Finding(
                "books", WARNING, text, "relay reconcile; see docs/reconcile.md", key.name
            )
        elif standing.differing:
            text = (
                f"They differ from Anthropic's by {dollars(standing.difference)} since"
                f" {standing.differing[0].day}."
            )
            mend = f"relay reconcile {key.name} --stored names the models; see docs/reconcile.md"
            yield Finding("books", WARNING, text, mend, key.name)
        else:
            yield Finding(
                "books", OK, "They equal Anthropic's, or no day is over yet.", "", key.name
            )


def webhook(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether those who are to be told are reached."""
    if not look.redis_answers or look.stored is None:
        yield Finding("webhook", UNSEEN, _AWAY)
        return
    for one in look.stored.webhooks:
        yield _webhook(one)
    if not look.stored.webhooks:
        yield Finding("webhook", OK, "None is set, so nobody is told of problems.")


def _webhook(one: Standing) -> Finding:
    name = one.webhook.name
    if one.dead:
        text = f"{one.dead} alerts were given up. {one.error}".strip()
        mend = f"relay webhook test {name}, then relay webhook retry {name}"
        return Finding("webhook", WARNING, text, mend, name)
    if one.failures > 1:
        text = f"The last {one.failures} deliveries failed: {one.error}"
        return Finding("webhook", WARNING, text, f"relay webhook test {name}", name, settles=True)
    return Finding("webhook", OK, "It is reached, or nothing was sent to it yet.", subject=name)


def backups(look: Look, settings: Settings, since: datetime) -> Iterator[Finding]:
    """Whether the newest backup, and the last drill of one, are recent."""
    if not look.redis_answers or look.stored is None:
        yield Finding("backup", UNSEEN, _AWAY)
        yield Finding("drill", UNSEEN, _AWAY)
        return
    told = look.stored.backups
    most = timedelta(hours=settings.monitor_backup_hours)
    yield _aged("backup", told.get("made"), look.at, since, most, "relay backup")
    most = timedelta(days=settings.monitor_drill_days)
    yield _aged("drill", told.get("drilled"), look.at, since, most, "relay backup --drill")


def _aged(
    check: str, when: str | None, now: datetime, since: datetime, most: timedelta, mend: str
) -> Finding:
    """What an age says; twice what it may be is critical for a backup."""
    what = {"backup": "backup was made", "drill": "backup was tried out"}[check]
    age = now - (datetime.fromisoformat(when) if when else since)
    last = f"The last {what} on {when[:16].replace('T', ' ')} UTC" if when else f"No {what} yet"
    if age <= most:
        return Finding(check, OK, f"{last}.")
    is_bad = check == "backup" and age > 2 * most
    text = f"{last}; one was due {_in_words(age - most)} ago."
    return Finding(check, CRITICAL if is_bad else WARNING, text, mend)


def _in_words(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
