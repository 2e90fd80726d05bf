"""For any order of calls, ends, failures, clients that go and processes that die: no slot is leaked
or given twice, none stays idle while a waiting call may use it, and everybody's turn comes."""

import itertools
import math
from dataclasses import dataclass, field

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import store
from relay.store import Admitted, Booking, Moved, RelayLimits, Rest, Store, Waiting, name

from .conftest import RedisProcess
from .test_fair_shares import with_keys
from .test_store import with_account

KEYS = ("alice", "bob", "carol")
SLOTS = {"acc_1": 1, "acc_2": 3}
LIMITS = RelayLimits(concurrency=4, most_waiting=8, wait_ms=5000, key_percent=70)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "bound", "end", "fail", "leave", "die", "turn"]),
        st.integers(0, 30),
    ),
    max_size=50,
)


@dataclass
class Call:
    """A call that runs or waits. `account`: where it has a slot; `failed`: it was there before."""

    key: str
    bound: str = ""
    account: str = ""
    failed: list[str] = field(default_factory=list)


class World:
    """What the lines and slots must be, beside what the scripts say."""

    def __init__(self, opened: Store) -> None:
        self.store = opened
        self.numbers = itertools.count()
        self.running: dict[str, Call] = {}
        self.waiting: dict[str, Call] = {}
        self.scopes: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.dead: set[str] = set()

    async def ask(self, lease: str, call: Call, waited: str) -> bool:
        """Ask for a slot, or for another account's; whether the call runs now."""
        if call.failed:
            answer = await self.store.leases.move_on(
                lease, Rest(), call.failed, limits=LIMITS, waited=waited
            )
        else:
            answer = await self.store.leases.admit(
                lease, "p1", call.key, f"h_{call.key}", kind="messages", model="claude-opus-5",
                bound=call.bound, limits=LIMITS, waited=waited,
            )  # fmt: skip
        for kept in (self.running, self.waiting, self.scopes):
            kept.pop(lease, None)
        if isinstance(answer, Waiting):
            self.waiting[lease], self.scopes[lease] = call, answer.scope
        elif isinstance(answer, Admitted | Moved):
            call.account = answer.account_id
            self.running[lease] = call
        elif call.failed:
            # There is no other account: its request has ended.
            await self.end(lease)
        return lease in self.running

    async def end(self, lease: str) -> None:
        self.running.pop(lease, None)
        assert await self.store.leases.settle(Booking(lease, "settled")) == 1

    async def fail(self, lease: str) -> None:
        call = self.running[lease]
        if call.bound:
            return
        call.failed.append(call.account)
        call.account = ""
        await self.ask(lease, call, "")

    async def gone(self, lease: str, *, in_peace: bool) -> None:
        """A waiting call's client goes away, or its process dies."""
        call = self.waiting.pop(lease)
        del self.scopes[lease]
        if in_peace:
            self.left[lease] = call.key
        else:
            self.dead.add(lease)
            await self.store._db.call("ZADD", name("waiting_seen"), 1, lease)
        if call.failed:
            # As a client's going does, or recovery after a death.
            await self.end(lease)

    async def turn(self) -> int:
        """Let those whose turn it is ask again; how many had one."""
        left, self.left = self.left, {}
        ready = await self.store.leases.wait(self.scopes, left, LIMITS)
        for lease in sorted(ready):
            await self.ask(lease, self.waiting[lease], "waits")
        return len(ready)

    async def settle_down(self) -> None:
        """Turns until nobody has one, which must not take for ever."""
        for _ in range(3 * (len(self.waiting) + 1)):
            if not await self.turn():
                return
        raise AssertionError("calls ask again and again, and nobody gets a slot")

    async def step(self, what: str, place: int) -> None:
        if what in ("ask", "bound"):
            bound = sorted(SLOTS)[place % len(SLOTS)] if what == "bound" else ""
            call = Call(KEYS[place % len(KEYS)], bound)
            await self.ask(f"r{next(self.numbers)}", call, "")
        elif what == "turn":
            await self.settle_down()
            self.no_slot_is_idle()
        elif what in ("end", "fail") and self.running:
            lease = sorted(self.running)[place % len(self.running)]
            await (self.end(lease) if what == "end" else self.fail(lease))
        elif what in ("leave", "die") and self.waiting:
            lease = sorted(self.waiting)[place % len(self.waiting)]
            await self.gone(lease, in_peace=what == "leave")

    def held(self, key: str, account: str = "") -> int:
        """Slots of a key: at an account, or of the relay with those that wait after a failure."""
        if account:
            return sum(call.key == key for call in self.running.values() if call.account == account)
        calls = [*self.running.values(), *(call for call in self.waiting.values() if call.failed)]
        return sum(call.key == key for call in calls)

    def no_slot_is_idle(self) -> None:
        free = LIMITS.concurrency - sum(self.held(key) for key in KEYS)
        for call in self.waiting.values():
            may = free > 0 and self.held(call.key) < most_of_key(LIMITS.concurrency)
            for account, slots in SLOTS.items():
                used = sum(self.held(key, account) for key in KEYS)
                is_meant = account not in call.failed and call.bound in ("", account)
                at = used < slots and self.held(call.key, account) < most_of_key(slots)
                assert not (is_meant and at and (may or call.failed)), (call, account)

    async def check(self) -> None:
        """The slots of the database are those of the calls, and no more than there are."""
        has_lease = set(self.running) | {k for k, call in self.waiting.items() if call.failed}
        assert await self.members("leases") == has_lease
        assert len(has_lease) <= LIMITS.concurrency
        for account, slots in SLOTS.items():
            at = {lease for lease, call in self.running.items() if call.account == account}
            assert await self.members("inflight_account", account) == at
            assert len(at) <= slots
        for key in KEYS:
            mine = {lease for lease in has_lease if (self.running | self.waiting)[lease].key == key}
            assert await self.members("inflight_key", key) == mine

    async def members(self, kind: str, *parts: str) -> set[str]:
        found = await self.store._db.call("ZRANGE", name(kind, *parts), 0, -1)
        return {lease.decode() for lease in found}

    async def everybody_is_served(self) -> None:
        """Whoever waits gets a slot while others end; nothing is left of it."""
        for _ in range(4 * (len(self.waiting) + len(self.running) + 1)):
            await self.settle_down()
            await self.check()
            if not self.running:
                break
            await self.end(min(self.running, key=lambda lease: int(lease[1:])))
        assert not self.waiting
        for what in ("waiting_seen", "waiting_calls"):
            assert await self.store._db.call("EXISTS", name(what)) == 0
        # A line where only dead processes' calls stood ends by itself.
        for scope in ("accounts", "relay"):
            assert await self.members("waiting", scope) <= self.dead
            assert await self.store._db.call("PTTL", name("waiting", scope)) != -1


def most_of_key(slots: int) -> int:
    return math.ceil(slots * LIMITS.key_percent / 100)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_slots_and_lines_are_right_after_every_step(
    redis_process: RedisProcess, steps: list[tuple[str, int]]
) -> None:
    async def run() -> None:
        async with store.opened(redis_process.url) as opened:
            for account, slots in SLOTS.items():
                await with_account(opened, account, max_concurrency=str(slots))
            await with_keys(opened, *KEYS)
            world = World(opened)
            for what, place in steps:
                await world.step(what, place)
                await world.check()
            await world.everybody_is_served()

    assert redis_process.command(b"FLUSHALL\r\n").startswith(b"+OK")
    trio.run(run)
