"""The relay as a whole: its state, settings, prices, webhooks, audit and backups."""

import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta

import relay
from relay import alerts, backup, errors, usage
from relay.admin.fields import Moment, must_exist
from relay.admin.keys import BudgetUsed
from relay.admin.routing import LINES, Call, File, In, Out, Page, PageQuery, page
from relay.admin.spent import counters
from relay.alerts import Standing
from relay.backup import BackupProblem, Made
from relay.settings import Webhook, shown

_MOST_DOWNLOADED = 10_000
# A backup or its trial is given up after so long.
BACKUP_S = 900.0


class AccountState(Out):
    """Whether an account serves, and what to do if not."""

    id: str
    name: str
    state: str
    reason: str
    until: Moment | None
    advice: str


class NearBudget(Out):
    """A budget of which at least three quarters are used; `share` is 1 when all of it is."""

    name: str
    share: float
    budget: BudgetUsed


class Speed(Out):
    """Milliseconds to the first byte of the last quarter of an hour's requests."""

    count: int
    p50_ms: int | None
    p99_ms: int | None


class Finding(Out):
    """What the monitor found of one thing; `level` is ok, unseen, warning or critical."""

    check: str
    subject: str
    level: str
    text: str
    mend: str


class MonitorRun(Out):
    """The monitor's last run: how bad all of it is, and when it ran."""

    level: str
    time: str
    findings: list[Finding]


class Unpriced(Out):
    """A model without a row, since when (a UTC day), and what was booked for it meanwhile."""

    model: str
    since: str
    booked_as: str
    cost_micros: int


class Retiring(Out):
    """A model that retires within 30 days, and the keys that used it in the last seven."""

    model: str
    retires_at: Moment
    keys: list[str]


class Status(Out):
    """How the relay is: `today` are counters of this UTC day, `backup` when one was made last.

    `monitor` is null where none has run. `unpriced` are models without a row in the price table,
    `retiring` those that keys use and that retire soon.
    """

    version: str
    at: Moment
    open_requests: int
    keys: int
    accounts_serving: int
    accounts: list[AccountState]
    today: dict[str, int]
    saved_micros: int
    near_budgets: list[NearBudget]
    speed: Speed
    backup: dict[str, str]
    monitor: MonitorRun | None
    unpriced: list[Unpriced]
    retiring: list[Retiring]


class Setting(Out):
    """A setting in force; `where` it is given, empty for the default. A secret is ***."""

    name: str
    env: str
    help: str
    value: Any
    where: str


class Client(Out):
    """A program that keys can be held to, by the pattern of its User-Agent."""

    id: str
    pattern: str


class Hook(Out):
    """A webhook and how it fares; `url` is without what may be secret."""

    id: str
    name: str
    url: str
    format: str
    signed: bool
    events: list[str]
    thresholds: list[float]
    allow_private: bool
    waiting: int
    dead: int
    failures: int
    error: str
    delivered_at: Moment | None
    failed_at: Moment | None
    rests_until: Moment | None


class Delivered(Out):
    """How a test of a webhook ended."""

    name: str
    ok: bool
    status: int | None
    error: str
    duration_ms: int


class Delivery(Out):
    """A delivery that was tried; `error` is empty when it was taken."""

    id: str
    event: str
    title: str
    at: Moment
    tries: int
    status: int | None
    error: str
    duration_ms: int


class DeadAlert(Out):
    """An alert that was given up."""

    id: str
    event: str
    time: str
    title: str
    tries: int
    error: str
    died_at: str


class Retry(In):
    """Which alert is to be delivered after all; all that were given up when left out."""

    id: Annotated[str, Meta(max_length=100)] = ""


class Retried(Out):
    """How many alerts wait to be delivered again."""

    count: int


class Entry(Out):
    """A change: who did what to whom, from where; of both states what differs, never a secret."""

    id: str
    number: int
    time: str
    actor: str
    address: str
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]


class Sound(Out):
    """How many entries of the audit are sound, and what is wrong with the next one."""

    entries: int
    fault: str | None


class Backup(Out):
    """A backup; what it holds is told when it is made or tried out."""

    file: str
    size: int
    time: Moment
    keys: int | None
    accounts: int | None


async def status(call: Call) -> Status:
    now = await call.shared.live.snapshot()
    speed = now.slow.speed
    return Status(
        version=relay.__version__,
        at=now.at,
        open_requests=now.open_requests,
        keys=now.keys,
        accounts_serving=now.serving,
        accounts=[msgspec.convert(one, AccountState, from_attributes=True) for one in now.accounts],
        today=counters(now.total),
        saved_micros=now.saved_micros,
        near_budgets=[
            NearBudget(
                name=one.name,
                share=round(one.budget.share, 4),
                budget=BudgetUsed(
                    whose=one.budget.whose,
                    period=one.budget.period,
                    mode=one.budget.mode,
                    limit_micros=one.budget.limit_micros,
                    used_micros=one.budget.used_micros,
                    held_micros=one.budget.held_micros,
                    resets_at=one.budget.till,
                ),
            )
            for one in now.slow.near
        ],
        speed=Speed(count=speed.count, p50_ms=speed.p50_ms, p99_ms=speed.p99_ms),
        backup={name: note for name, note in now.slow.backup.items() if name != "kept"},
        monitor=msgspec.convert(now.slow.monitor, MonitorRun | None, from_attributes=True),
        unpriced=[
            msgspec.convert(one, Unpriced, from_attributes=True) for one in now.slow.unpriced
        ],
        retiring=[
            Retiring(model=one.model, retires_at=one.retires_at, keys=list(one.keys))
            for one in now.slow.retiring
        ],
    )


async def settings(call: Call) -> Page[Setting]:
    query: PageQuery = call.query
    found = [
        Setting(name=one.name, env=one.env, help=one.help, value=_plain(one.value), where=one.where)
        for one in shown(call.ctx.settings)
    ]
    return page(found, query, lambda one: one.name)


def _plain(value: object) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


async def clients(call: Call) -> Page[Client]:
    patterns = call.ctx.clients.patterns
    return Page(data=[Client(id=name, pattern=text) for name, text in patterns.items()], next=None)


# Webhooks.


def _hook(standing: Standing) -> Hook:
    return msgspec.convert(standing.to_json(), Hook)


def _webhook(call: Call, webhook: str) -> Webhook:
    with must_exist():
        return call.ctx.alerts.find(webhook)


async def webhooks(call: Call) -> Page[Hook]:
    query: PageQuery = call.query
    found = [_hook(one) for one in await call.ctx.alerts.standings()]
    return page(found, query, lambda one: one.id)


async def test_webhook(call: Call, webhook: str) -> Delivered:
    told = await call.ctx.alerts.test(_webhook(call, webhook).id)
    return msgspec.convert(told, Delivered, from_attributes=True)


async def deliveries(call: Call, webhook: str) -> Page[Delivery]:
    found = await call.ctx.alerts.sent(_webhook(call, webhook))
    told = [msgspec.convert(one, Delivery, from_attributes=True) for one in found]
    return Page(data=told, next=None)


async def dead(call: Call, webhook: str) -> Page[DeadAlert]:
    found = await call.ctx.alerts.dead(_webhook(call, webhook))
    query: PageQuery = call.query
    told = [msgspec.convert(alerts.shown(one), DeadAlert) for one in found]
    return page(told, query, lambda one: one.id)


async def retry(call: Call, webhook: str) -> Retried:
    body: Retry = call.body
    count = await call.ctx.alerts.retry(_webhook(call, webhook), body.id)
    return Retried(count=count)


# The audit.


async def audit(call: Call) -> Page[Entry]:
    query: PageQuery = call.query
    if query.after and (not usage.is_place(query.after) or not query.after.strip("0-")):
        raise errors.BadField("This is not the `next` of a page before.", "after")
    found = await call.ctx.audit.newest(query.limit, query.after)
    told = [msgspec.convert(asdict(one), Entry) for one in found]
    return Page(data=told, next=found[-1].id if len(found) == query.limit else None)


async def verify_audit(call: Call) -> Sound:
    entries, fault = await call.ctx.audit.verify()
    return Sound(entries=entries, fault=fault or None)


async def download_audit(call: Call) -> File:
    """The newest entries, one JSON object a line."""
    found = await call.ctx.audit.newest(_MOST_DOWNLOADED)
    lines = (json.dumps(asdict(one), ensure_ascii=False) for one in found)
    return File(LINES, "".join(f"{line}\n" for line in lines).encode(), "relay-audit.jsonl")


# Backups.


def _backup(made: Made, *, is_known: bool = True) -> Backup:
    return Backup(
        file=str(made.file),
        size=made.size,
        time=made.time,
        keys=made.keys if is_known else None,
        accounts=made.accounts if is_known else None,
    )


async def backups(call: Call) -> Page[Backup]:
    query: PageQuery = call.query
    notes = await call.ctx.store.upkeep.backup_notes()
    _, made = await trio.to_thread.run_sync(backup.listed, call.ctx.settings, notes)
    found = [_backup(one, is_known=False) for one in made]
    return page(found, query, lambda one: one.file)


async def make_backup(call: Call) -> Backup:
    return await _made(call.ctx.backups.make(patience_s=BACKUP_S))


async def drill_backup(call: Call) -> Backup:
    return await _made(call.ctx.backups.drill(patience_s=BACKUP_S))


async def _made(made: Awaitable[Made]) -> Backup:
    try:
        return _backup(await made)
    except BackupProblem as problem:
        raise errors.Conflict(str(problem)) from None
