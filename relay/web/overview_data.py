"""What the overview shows: read once for all who look at it, however many they are."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import trio

from relay import budgets, retirements, usage
from relay.accounts import Account
from relay.budgets import Budget
from relay.context import Context
from relay.keys import Key
from relay.reconcile import Standing
from relay.retirements import Retirement
from relay.usage import Row, Speed, Unpriced

FRESH_S = 1.5
# What is read from many keys or records is read less often.
_SLOW_FRESH_S = 5.0
# A week of counters is read for what changes from day to day.
_RARE_FRESH_S = 60.0
_SPEED_OF_LAST = timedelta(minutes=15)
_NEAR = 0.75
_MOST_NEAR = 20


@dataclass(frozen=True, slots=True)
class NearBudget:
    """A budget of which at least three quarters are used, and what its owner is called."""

    name: str
    budget: Budget


class MonitorFinding(msgspec.Struct, frozen=True):
    """What the monitor found of one thing: `level` is ok, unseen, warning or critical."""

    check: str = ""
    subject: str = ""
    level: str = ""
    text: str = ""
    mend: str = ""


class MonitorRun(msgspec.Struct, frozen=True):
    """The monitor's last run, as it kept it: how bad all of it is, and when (ISO)."""

    level: str
    time: str
    findings: tuple[MonitorFinding, ...] = ()

    @property
    def problems(self) -> Sequence[MonitorFinding]:
        return [
            one
            for one in self.findings
            if one.level in ("warning", "critical") and one.check not in ("price", "books")
        ]

    @property
    def certificates(self) -> Sequence[MonitorFinding]:
        return [one for one in self.findings if one.check == "certificate"]


@dataclass(frozen=True, slots=True)
class Slow:
    """What is read every five seconds.

    Args:
        speed: of the last quarter of an hour.
        backup: when one was made and drilled, ISO; see UpkeepTable.note_backup().
        monitor: None where no monitor has run.
        unpriced: models without a row in the price table.
        books: how Anthropic's books compare, by organisation.
        retiring: models that keys use and that retire soon, as of the last minute.
    """

    near: Sequence[NearBudget]
    speed: Speed
    backup: Mapping[str, str]
    monitor: MonitorRun | None
    unpriced: Sequence[Unpriced]
    books: Sequence[Standing]
    retiring: Sequence[Retirement]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the relay at one moment.

    Args:
        total: today's counters (UTC).
        saved_micros: what the cache saved today.
        by_key, by_model: today's figures, the dearest first.
    """

    at: datetime
    total: Mapping[str, int]
    saved_micros: int
    by_key: Sequence[Row]
    by_model: Sequence[Row]
    open_requests: int
    accounts: Sequence[Account]
    keys: int
    slow: Slow

    @property
    def troubled(self) -> Sequence[Account]:
        """Accounts that do not serve, though nobody disabled them."""
        return [one for one in self.accounts if one.state not in ("ok", "disabled")]

    @property
    def serving(self) -> int:
        return sum(1 for one in self.accounts if one.state == "ok")


class Live:
    """Snapshots for everybody who looks; one look at Redis serves them all."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._lock = trio.Lock()
        self._last: tuple[float, Snapshot] | None = None
        self._slow: tuple[float, Slow] | None = None
        self._retiring: tuple[float, Sequence[Retirement]] | None = None

    async def snapshot(self) -> Snapshot:
        """The state now, or of a moment ago."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_S:
                self._last = (time.monotonic(), await self._read())
            return self._last[1]

    async def _read(self) -> Snapshot:
        ctx = self._ctx
        keys, accounts = await ctx.keys.list(), await ctx.accounts.list()
        if self._slow is None or time.monotonic() - self._slow[0] > _SLOW_FRESH_S:
            self._slow = (time.monotonic(), await self._read_slow(keys, accounts))
        by_key = await usage.report(ctx.store, usage.Ask(by=("key",)))
        by_model = await usage.report(ctx.store, usage.Ask(by=("model",)))
        return Snapshot(
            at=datetime.now(UTC),
            total=by_key.total,
            saved_micros=usage.saved_by_cache(by_model, ctx.prices),
            by_key=_spending(by_key.rows),
            by_model=_spending(by_model.rows),
            open_requests=await ctx.store.leases.count(),
            accounts=accounts,
            keys=len(keys),
            slow=self._slow[1],
        )

    async def _read_slow(self, keys: Sequence[Key], accounts: Sequence[Account]) -> Slow:
        ctx = self._ctx
        names = {budgets.RELAY: ""}
        names |= {budgets.of_owner(one.name): one.name for one in await ctx.owners.list()}
        names |= {budgets.of_account(one.id): one.name for one in accounts if one.budgets}
        names |= {budgets.of_key(one.id): one.name for one in keys if one.limits.budgets}
        used = await budgets.used(ctx.store, ctx.settings, names)
        near = [NearBudget(names[one.scope], one) for one in used if one.share >= _NEAR]
        near.sort(key=lambda one: -one.budget.share)
        return Slow(
            near=near[:_MOST_NEAR],
            speed=await usage.speed(ctx.store, _SPEED_OF_LAST),
            backup=await ctx.store.upkeep.backup_notes(),
            monitor=_monitor_run((await ctx.store.upkeep.monitor_notes()).get("last", "")),
            unpriced=await usage.unpriced(ctx.store, ctx.prices),
            books=await ctx.reconciler.standings(),
            retiring=await self._read_retiring(),
        )

    async def _read_retiring(self) -> Sequence[Retirement]:
        if self._retiring is None or time.monotonic() - self._retiring[0] > _RARE_FRESH_S:
            found = await retirements.near(self._ctx.store, self._ctx.models)
            self._retiring = (time.monotonic(), found)
        return self._retiring[1]


def _monitor_run(kept: str) -> MonitorRun | None:
    """The last run of a text that another version may have kept."""
    try:
        return msgspec.json.decode(kept, type=MonitorRun)
    except msgspec.DecodeError:
        return None


def _spending(rows: Sequence[Row]) -> Sequence[Row]:
    return [row for row in rows if row.counters["requests"] or row.counters["cost_micros"]]
