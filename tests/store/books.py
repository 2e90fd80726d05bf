"""A model of the books: what Redis must say after any order of events, faults among them.

Money is in micro-dollars, time in whole seconds of Redis' clock.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

KEY, OWNER, ACCOUNTS = "key_1", "team", ("acc_1", "acc_2")
SLOTS, RATE, WINDOW_S = 4, 5, 61
DEAD_AFTER_S, GAP_S = 10, 5
# Each scope's strict budgets, so that each is the first to be reached now and then.
BUDGETS = {
    f"key:{KEY}": {"total": 1500, "daily": 900},
    f"owner:{OWNER}": {"monthly": 1400},
    "relay": {"total": 1700},
    "account:acc_1": {"total": 800},
    "account:acc_2": {"total": 800},
}
SHARED = [scope for scope in BUDGETS if not scope.startswith("account:")]


def day_of(now_s: int) -> str:
    return datetime.fromtimestamp(now_s, UTC).date().isoformat()


@dataclass
class Running:
    """An open lease. `process` is None when its process is gone."""

    process: int | None
    account: str
    most: int
    day: str
    heard_at: int
    attempt: int = 0
    lost: list[tuple[str, int]] = field(default_factory=list)

    @property
    def tried(self) -> list[str]:
        return [*(account for account, _ in self.lost), self.account]


@dataclass
class Ended:
    """A booked lease; an estimate may still be replaced."""

    day: str
    costs: list[tuple[str, int]]
    lost: list[tuple[str, int]]
    account: str
    is_estimate: bool
    at: int

    @property
    def cost(self) -> int:
        return sum(cost for _, cost in self.costs)


@dataclass
class Books:
    """What the relay must know. Methods answer what it must answer, and note what follows."""

    now: int
    latest: int
    seen_at: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    window: dict[str, int] = field(default_factory=dict)
    window_ends_at: int = 0

    def step(self, seconds: int) -> None:
        self.now += seconds
        self.latest = max(self.latest, self.now)
        if self.now >= self.window_ends_at:
            self.window.clear()

    def bookings(self, scope: str) -> Iterator[tuple[str, int]]:
        """Day and micro-dollars of everything that is booked at a scope."""
        for one in self.ended.values():
            for account, cost in one.costs:
                if scope in SHARED or scope == f"account:{account}":
                    yield one.day, cost

    def days(self, scope: str) -> Counter[str]:
        """Micro-dollars by day; days that came to nothing are left out."""
        days: Counter[str] = Counter()
        for day, cost in self.bookings(scope):
            days[day] += cost
        return +days

    def spent(self, scope: str, period: str) -> int:
        today = day_of(self.now)
        begins = {"total": "", "daily": today, "monthly": today[:8]}[period]
        till = "9" if period == "total" else today
        return sum(cost for day, cost in self.bookings(scope) if begins <= day <= till)

    def held(self, scope: str) -> int:
        total = 0
        for one in self.running.values():
            for account, amount in [(one.account, one.most), *one.lost]:
                if scope in SHARED or scope == f"account:{account}":
                    total += amount
        return total

    def has_room(self, scope: str, amount: int) -> bool:
        return all(
            self.spent(scope, period) + self.held(scope) + amount <= limit
            for period, limit in BUDGETS[scope].items()
        )

    def able(self, amount: int, tried: list[str]) -> list[str]:
        """The accounts that may serve a call of this size."""
        return [
            one for one in ACCOUNTS if one not in tried and self.has_room(f"account:{one}", amount)
        ]

    def may_admit(self, amount: int) -> list[str]:
        """The accounts that a new call may get; none when it must be refused."""
        if sum(at > self.now - WINDOW_S for at in self.window.values()) >= RATE:
            if sorted(self.window.values())[-RATE] > self.now:
                self.window = {one: min(at, self.now) for one, at in self.window.items()}
            return []
        if len(self.running) >= SLOTS or not all(self.has_room(one, amount) for one in SHARED):
            return []
        return self.able(amount, [])

    def admit(self, lease: str, process: int, account: str, amount: int) -> None:
        day = day_of(self.now)
        self.running[lease] = Running(process, account, amount, day, self.now)
        self.window = {one: at for one, at in self.window.items() if at > self.now - WINDOW_S}
        self.window[lease] = self.now
        self.window_ends_at = self.now + WINDOW_S

    def may_move(self, lease: str, lost: int) -> list[str]:
        """The accounts that a lease may go on at after it has lost so much."""
        one = self.running[lease]
        if lost and not all(self.has_room(scope, lost) for scope in SHARED):
            return []
        return self.able(one.most, one.tried)

    def orphans(self) -> list[str]:
        """The leases that whoever looks now must find; the others may get a fresh start."""
        gap, self.seen_at = abs(self.now - self.seen_at), self.now
        if gap > GAP_S:
            for one in self.running.values():
                one.heard_at = self.now
            return []
        last = self.now - DEAD_AFTER_S
        return [lease for lease, one in self.running.items() if one.heard_at <= last]

    def end(self, lease: str, cost: int, *, is_estimate: bool = False) -> Ended:
        one = self.running.pop(lease)
        costs = [*one.lost, (one.account, cost)]
        ended = Ended(one.day, costs, one.lost, one.account, is_estimate, self.now)
        self.ended[lease] = ended
        return ended
