"""How much of their budgets keys, owners, accounts and the whole relay have used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay import limits
from relay.settings import Settings
from relay.store import Store

RELAY = "relay"
# A script holds Redis up for as long as it runs: about 10 µs for each of these.
_SCOPES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget and what is used of it, in micro-dollars.

    Args:
        whose: key, owner, account or relay; `id` tells which one, an owner by the name.
        held_micros: what is held for requests that run.
        till: when it begins anew (UTC); None for the one that never does.
    """

    whose: str
    id: str
    period: str
    mode: str
    limit_micros: int
    used_micros: int
    held_micros: int
    till: datetime | None

    @property
    def scope(self) -> str:
        """Whose it is, as used() takes it."""
        return f"{self.whose}:{self.id}" if self.id else self.whose

    @property
    def share(self) -> float:
        """Which part is used: 1 is all of it."""
        return self.used_micros / self.limit_micros


def of_key(key_id: str) -> str:
    """A key as used() takes it."""
    return f"key:{key_id}"


def of_owner(name: str) -> str:
    """An owner as used() takes it."""
    return f"owner:{name}"


def of_account(account_id: str) -> str:
    """An account as used() takes it."""
    return f"account:{account_id}"


async def used(store: Store, settings: Settings, scopes: Iterable[str]) -> Sequence[Budget]:
    """Every budget of some scopes: RELAY, and what of_key() and the like make."""
    relay = limits.budgets(dict(settings.budgets), settings.budget_mode)
    wanted, found = list(scopes), []
    for start in range(0, len(wanted), _SCOPES_AT_ONCE):
        part = wanted[start : start + _SCOPES_AT_ONCE]
        for row in await store.usage.budgets_used(relay, part):
            whose, _, own_id = str(row["scope"]).partition(":")
            till = datetime.fromtimestamp(row["till"] / 1000, UTC) if row.get("till") else None
            limit, now, held = (int(row[name]) for name in ("limit", "used", "held"))
            one = Budget(whose, own_id, row["period"], row["mode"], limit, now, held, till)
            found.append(one)
    return found
