"""For any order of events the books are exact: crashes, late returns and jumps of the clock too."""

import json
import uuid
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import store
from relay.store import Admitted, Booking, Estimate, Moved, RelayLimits, Rest, Store, name

from .books import (
    ACCOUNTS,
    BUDGETS,
    KEY,
    OWNER,
    RATE,
    SHARED,
    SLOTS,
    WINDOW_S,
    Books,
    Ended,
)  # fmt: skip
from .conftest import ClockedRedis

# tests/run --all installs libfaketime.
pytestmark = [pytest.mark.root, pytest.mark.slow]

MODEL = "claude-opus-5"
CORRECTABLE_S = 24 * 3600
EXAMPLES = 60

# Multiples of three seconds never meet the edge of a window, of a death or of a gap, where a
# server's own look at the clock (once in a millisecond) would decide.
TICKS_S = (3, 3, 3, 6, 9, 60)
JUMPS_S = (-86_400, -3600, -12, 12, 3600, 43_200)
KINDS = (
    "admit", "admit", "admit", "settle", "settle", "void", "move", "move", "beat", "look", "crash",
    "late", "late", "late void", "again", "tick", "jump", "watch", "watch",
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 30), st.integers(0, 300)),
    min_size=20,
    max_size=80,
)


def lines(scope: str) -> str:
    return "\n".join(f"{period} strict {most}" for period, most in BUDGETS[scope].items())


class Play:
    """Plays events against a Redis and the model at once."""

    def __init__(self, server: ClockedRedis, opened: Store) -> None:
        self.server = server
        self.table = opened.leases
        self.store = opened
        self.books = Books(server.now_s, server.now_s)

    async def set_up(self) -> None:
        await self.store._db.call("FLUSHALL")
        for account in ACCOUNTS:
            fields = {"name": account, "enabled": "1", "budgets": lines(f"account:{account}")}
            await self.store.accounts.add(account, fields)
        await self.store.owners.add(OWNER)
        await self.store.owners.change(OWNER, {"budgets": lines(f"owner:{OWNER}")})
        fields = {
            "name": "alice", "hash": "h", "enabled": "1", "expires_at": "", "models": "",
            "concurrency": str(SLOTS), "rate_max": str(RATE), "rate_ms": str(WINDOW_S * 1000),
            "budgets": lines(f"key:{KEY}"), "owner": OWNER,
        }  # fmt: skip
        await self.store.keys.add(KEY, fields)

    async def play(self, what: str, place: int, amount: int) -> None:
        known = {
            "late": [one for one, ended in self.books.ended.items() if self.may_correct(ended)],
            "again": [one for one, ended in self.books.ended.items() if not ended.is_estimate],
        }.get(what.partition(" ")[0], list(self.books.running))
        lease = known[place % len(known)] if known else ""
        match what:
            case "admit":
                await self.admit(place % 2, amount)
            case "tick" | "jump":
                by = (TICKS_S if what == "tick" else JUMPS_S)[place % 6]
                self.server.step(by)
                self.books.step(by)
            case "beat":
                await self.beat(place % 2)
            case "crash":
                for one in self.books.running.values():
                    one.process = None if one.process == place % 2 else one.process
            case "look":
                await self.look(amount)
            case "watch":
                await self.watch(1 + place % 6, amount % 4, amount)
            case _ if lease:
                await getattr(self, what.replace(" ", "_"))(lease, amount)

    def may_correct(self, ended: Ended) -> bool:
        return ended.is_estimate and self.books.latest < ended.at + CORRECTABLE_S

    async def admit(self, process: int, amount: int) -> None:
        lease = f"req_{uuid.uuid4().hex}"
        able = self.books.may_admit(amount)
        answer = await self.table.admit(
            lease, f"p{process}", KEY, "h", kind="messages", model=MODEL,
            estimate=Estimate(most_micros=amount), limits=RelayLimits(budgets=lines("relay")),
        )  # fmt: skip
        assert isinstance(answer, Admitted) == bool(able), answer
        if isinstance(answer, Admitted):
            assert answer.account_id in able
            self.books.admit(lease, process, answer.account_id, amount)

    async def move(self, lease: str, amount: int) -> None:
        one = self.books.running[lease]
        lost = min(amount, one.most)
        able = self.books.may_move(lease, lost)
        text = f"{one.account} {lost}".encode()
        moved = await self.table.move_on(lease, Rest(), one.tried, lost_micros=lost, lost=text)
        assert isinstance(moved, Moved) == bool(able)
        if isinstance(moved, Moved):
            assert moved.account_id in able
            one.lost.append((one.account, lost))
            one.account = moved.account_id
            one.attempt += 1

    async def beat(self, process: int) -> None:
        own = {id_: one for id_, one in self.books.running.items() if one.process == process}
        rows = [(lease, one.attempt, 1, 1) for lease, one in own.items()]
        assert await self.table.heartbeat(rows) == len(own)
        for one in own.values():
            one.heard_at = self.books.now

    async def watch(self, rounds: int, alive: int, amount: int) -> None:
        """Time goes by; some processes (by bits) send heartbeats, and somebody looks."""
        for _ in range(rounds):
            self.server.step(3)
            self.books.step(3)
            for process in (0, 1):
                if alive >> process & 1:
                    await self.beat(process)
            await self.look(amount)

    async def look(self, amount: int) -> None:
        found = {one.lease: one for one in await self.table.orphans()}
        assert sorted(found) == sorted(self.books.orphans())
        for lease, orphan in found.items():
            one = self.books.running[lease]
            assert orphan.account_id == one.account
            assert list(orphan.lost) == [f"{account} {lost}" for account, lost in one.lost]
            ended = self.books.end(lease, min(amount, one.most), is_estimate=True)
            assert await self.book(lease, "recovered", ended) == 1

    async def book(self, lease: str, state: str, ended: Ended) -> int:
        counters: Counter[tuple[str, str, str]] = Counter({(ended.account, MODEL, "requests"): 1})
        for account, cost in ended.costs:
            counters[account, MODEL, "cost_micros"] += cost
        record = json.dumps({"id": lease, "cost": ended.cost}).encode()
        return await self.table.settle(Booking(lease, state, MODEL, counters, record))

    async def settle(self, lease: str, amount: int) -> None:
        ended = self.books.end(lease, min(amount, self.books.running[lease].most))
        assert await self.book(lease, "settled", ended) == 1

    async def again(self, lease: str, amount: int) -> None:
        """The answer to a settlement was lost, so it comes once more; or a void comes after it."""
        ended = self.books.ended[lease]
        assert await self.book(lease, "settled" if amount % 2 else "recovered", ended) == 0

    async def void(self, lease: str, amount: int) -> None:
        assert await self.table.settle(Booking(lease, "void")) == 1
        del self.books.running[lease]
        self.books.window.pop(lease, None)

    async def late(self, lease: str, amount: int) -> None:
        """A process that was taken for dead settles after all."""
        ended = self.books.ended[lease]
        ended.costs = [*ended.lost, (ended.account, amount)]
        ended.is_estimate = False
        assert await self.book(lease, "settled", ended) == 2

    async def late_void(self, lease: str, amount: int) -> None:
        assert await self.table.settle(Booking(lease, "void")) == 2
        del self.books.ended[lease]

    async def check(self) -> None:
        for scope in BUDGETS:
            await self.check_scope(scope)
        call = self.store._db.call
        open_count = len(self.books.running)
        assert await call("ZCARD", name("inflight_key", KEY)) == open_count <= SLOTS
        assert await self.table.count() == open_count
        assert await call("ZCARD", name("window", "requests", KEY)) == len(self.books.window)
        kept = [json.loads(one) for one in await self.store.usage.records(100)]
        assert sorted((one["id"], one["cost"]) for one in kept) == sorted(
            (lease, one.cost) for lease, one in self.books.ended.items()
        )
        assert await self.counted() == self.books.days("relay")

    async def check_scope(self, scope: str) -> None:
        fields = await self.store._db.hash(name("spend", scope))
        figures = {field: int(value) for field, value in fields.items()}
        held = self.books.held(scope)
        assert figures.get("held_most", 0) == held
        assert figures.get("total", 0) == self.books.spent(scope, "total")
        days = {day: sum_ for day, sum_ in figures.items() if day[:2] == "20" and ":" not in day}
        assert +Counter(days) == self.books.days(scope)
        assert min(days.values(), default=0) >= 0

    async def counted(self) -> Counter[str]:
        """Micro-dollars by day as the counters have them."""
        days: dict[str, int] = defaultdict(int)
        for day in {one.day for one in self.books.ended.values()}:
            (counted,) = await self.store.usage.counted([day])
            days[day] = sum(cell.amounts.get("cost_micros", 0) for cell in counted.cells)
        return +Counter(days)


def test_the_books_are_exact_after_every_event(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="relay-") as folder:
        server = ClockedRedis(Path(folder))
        server.start()

        @settings(max_examples=EXAMPLES, deadline=None)
        @given(STEPS)
        def holds(steps: list[tuple[str, int, int]]) -> None:
            async def run() -> None:
                async with store.opened(server.url) as opened:
                    play = Play(server, opened)
                    await play.set_up()
                    for what, place, amount in steps:
                        await play.play(what, place, amount)
                        await play.check()
                    for lease in list(play.books.running):
                        await play.settle(lease, 1)
                    await play.check()
                    assert all(play.books.held(scope) == 0 for scope in SHARED)

            trio.run(run)

        try:
            holds()
        finally:
            server.kill()
