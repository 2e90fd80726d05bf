"""For any order of admissions, settlements, losses and late returns the sums are exact."""

import uuid
from dataclasses import dataclass, field

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import store
from relay.store import Admitted, Booking, Estimate, Store, name

BUDGET, SLOTS, RATE = 1000, 4, 12
MODEL = "claude-opus-5"

# What happens next: to which lease (by its place among the known ones), and with which cost.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "settle", "settle", "void", "recover", "again"]),
        st.integers(0, 30),
        st.integers(0, 300),
    ),
    max_size=40,
)


@dataclass
class Expected:
    """What the books must say."""

    key: str
    open: dict[str, int] = field(default_factory=dict)
    recovered: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    admitted: int = 0

    @property
    def spent(self) -> int:
        return sum(self.ended.values()) + sum(self.recovered.values())


async def booked(opened: Store, lease: str, state: str, cost: int) -> int:
    counters = {("acc_1", MODEL, "requests"): 1, ("acc_1", MODEL, "cost_micros"): cost}
    return await opened.leases.settle(Booking(lease, state, MODEL, counters))


async def step(opened: Store, books: Expected, what: str, place: int, amount: int) -> None:
    if what == "admit":
        lease = f"req_{uuid.uuid4().hex}"
        answer = await opened.leases.admit(
            lease, "p", books.key, books.key, kind="messages", model=MODEL,
            estimate=Estimate(most_micros=amount),
        )  # fmt: skip
        held = sum(books.open.values())
        fits = books.spent + held + amount <= BUDGET
        may = fits and len(books.open) < SLOTS and books.admitted < RATE
        assert isinstance(answer, Admitted) == may
        if may:
            books.open[lease] = amount
            books.admitted += 1
        return
    known = {"again": books.recovered | books.ended}.get(what, books.open)
    if not known:
        return
    lease = list(known)[place % len(known)]
    if what == "again":
        # A late settlement replaces an estimate once; after that nothing is left to settle.
        answer = await booked(opened, lease, "settled", amount)
        assert answer == (2 if lease in books.recovered else 0)
        if books.recovered.pop(lease, None) is not None:
            books.ended[lease] = amount
        return
    cost = min(amount, books.open[lease])
    del books.open[lease]
    if what == "void":
        assert await opened.leases.settle(Booking(lease, "void")) == 1
        books.admitted -= 1
        return
    assert await booked(opened, lease, "settled" if what == "settle" else "recovered", cost) == 1
    (books.ended if what == "settle" else books.recovered)[lease] = cost


async def check(opened: Store, books: Expected) -> None:
    figures = await opened._db.hash(name("spend", f"key:{books.key}"))
    held, total = int(figures.get("held_most", 0)), int(figures.get("total", 0))
    assert held == sum(books.open.values())
    assert total == books.spent
    assert int(await opened._db.call("ZCARD", name("inflight_key", books.key))) == len(books.open)
    days = [int(value) for day, value in figures.items() if day[:2] == "20" and ":" not in day]
    assert sum(days) == total
    window = name("window", "requests", books.key)
    assert int(await opened._db.call("ZCARD", window)) == books.admitted


# Each example has a key of its own.
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS)
def test_the_books_are_exact_after_every_step(
    redis_url: str, steps: list[tuple[str, int, int]]
) -> None:
    async def run() -> None:
        async with store.opened(redis_url) as opened:
            books = Expected(f"key_{uuid.uuid4().hex}")
            if "acc_1" not in await opened.accounts.ids():
                await opened.accounts.add("acc_1", {"name": "main", "enabled": "1"})
            fields = {
                "name": books.key, "hash": books.key, "enabled": "1", "expires_at": "",
                "models": "",
                "concurrency": str(SLOTS), "rate_max": str(RATE), "rate_ms": "600000",
                "budgets": f"total strict {BUDGET}",
            }  # fmt: skip
            await opened.keys.add(books.key, fields)
            for what, place, amount in steps:
                await step(opened, books, what, place, amount)
                await check(opened, books)

    trio.run(run)
