"""What the overview shows: read once for all who look at it, however many they are."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import trio

from relay import usage
from relay.accounts import Account
from relay.context import Context
from relay.selfservice import limits_used

FRESH_S = 1.5
# Budgets cost one question for each key that has any: so long does each of them count.
_FRESH_S_A_BUDGET = 0.05
_MOST_KEYS = 500
_NEAR = 0.75


@dataclass(frozen=True, slots=True)
class NearBudget:
    """A budget of which at least three quarters are used; `share` is up to 1 and beyond."""

    key_id: str
    key_name: str
    budget: Mapping[str, Any]
    share: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the relay at one moment. `total` are today's counters (UTC)."""

    at: datetime
    total: Mapping[str, int]
    open_requests: int
    accounts: Sequence[Account]
    keys: int
    near: Sequence[NearBudget]

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
        self._near: tuple[float, Sequence[NearBudget]] | None = None

    async def snapshot(self) -> Snapshot:
        """The state now, or of a moment ago."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_S:
                self._last = (time.monotonic(), await self._read())
            return self._last[1]

    async def _read(self) -> Snapshot:
        ctx = self._ctx
        keys = await ctx.keys.list()
        limited = [key for key in keys if key.limits.budgets or key.owner][:_MOST_KEYS]
        fresh_s = len(limited) * _FRESH_S_A_BUDGET
        if self._near is None or time.monotonic() - self._near[0] > fresh_s:
            found = [near for key in limited for near in await self._near_of(key.id, key.name)]
            found.sort(key=lambda one: -one.share)
            self._near = (time.monotonic(), found)
        return Snapshot(
            at=datetime.now(UTC),
            total=(await usage.report(ctx.store)).total,
            open_requests=await ctx.store.leases.count(),
            accounts=await ctx.accounts.list(),
            keys=len(keys),
            near=self._near[1],
        )

    async def _near_of(self, key_id: str, key_name: str) -> list[NearBudget]:
        used = await limits_used(self._ctx, key_id)
        found = []
        for budget in used["budgets"]:
            share = float(budget["used_usd"]) / float(budget["limit_usd"])
            if share >= _NEAR:
                found.append(NearBudget(key_id, key_name, budget, share))
        return found
