"""A lease from admission to settlement, whatever happens between."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from relay import errors, leases, store
from relay.accounts import Accounts, kinds
from relay.call import CHARS_PER_TOKEN, Call
from relay.keys import KeyRef, Keys
from relay.leases import Leases
from relay.pricing import Bill, Part, Prices, Tokens
from relay.store import Store, name
from relay.usage import report
from relay.vault import Vault

from .conftest import RedisProcess

VAULT = Vault("e" * 32, "j" * 32)
CALL = Call("messages", "POST", b"/v1/messages", b"x" * 400, model="claude-opus-5")


class Office:
    """The parts of one process over a store, with an account and a key."""

    def __init__(self, opened: Store) -> None:
        self.store = opened
        self.keys = Keys(opened, VAULT)
        self.accounts = Accounts(opened, VAULT, kinds.table(None))
        self.leases = self.another_process()
        self.ref = KeyRef("", "")

    def another_process(self) -> Leases:
        return Leases(self.store, self.keys, self.accounts, Prices.load())

    async def open(self) -> None:
        await self.accounts.add("main", secret="s", base_url="http://127.0.0.1:1")
        key, text = await self.keys.create("alice")
        self.ref = KeyRef(key.id, VAULT.key_hash(text))

    async def total(self) -> dict[str, int]:
        return dict((await report(self.store)).total)


@pytest.fixture
async def office(opened: Store) -> Office:
    one = Office(opened)
    await one.open()
    return one


@asynccontextmanager
async def office_at(url: str) -> AsyncIterator[Office]:
    async with store.opened(url) as opened:
        one = Office(opened)
        await one.open()
        yield one


class FakeMeter:
    """An answer that was seen so far."""

    def __init__(self, tokens: Tokens | None, chars: int, *, is_complete: bool) -> None:
        self.tokens = tokens
        self.has_usage = tokens is not None
        self.chars = chars
        self.is_complete = is_complete
        self.model = self.stop_reason = ""
        self.has_begun = self.has_ended = self.at_boundary = True
        self.made = ()

    def bill(self, requested: str, *, writes_long: bool) -> Bill:
        own = Part(requested, self.tokens or Tokens())
        least = 0 if self.is_complete else self.chars // CHARS_PER_TOKEN
        return Bill((own,)).with_output(least)

    def feed(self, data: bytes) -> None:
        raise AssertionError("nobody feeds this")

    def finish(self) -> None:
        raise AssertionError("nobody finishes this")


async def test_a_lease_is_settled_when_its_block_ends(office: Office):
    async with office.leases.admit("req_1", office.ref, CALL) as one:
        one.was_sent, one.status = True, 200
        one.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
        assert office.leases.open_count == await office.store.leases.count() == 1
    assert office.leases.open_count == await office.store.leases.count() == 0
    assert (await office.total())["cost_micros"] == 10 * 5 + 5 * 25


async def test_a_lease_is_settled_when_its_block_raises(office: Office):
    with pytest.raises(RuntimeError, match="on purpose"):
        async with office.leases.admit("req_1", office.ref, CALL):
            raise RuntimeError("on purpose")
    assert await office.store.leases.count() == 0
    assert (await office.total())["requests"] == 1


async def test_a_lease_is_settled_when_its_block_is_cancelled(office: Office):
    with trio.CancelScope() as scope:
        async with office.leases.admit("req_1", office.ref, CALL):
            scope.cancel()
            await trio.sleep_forever()
    assert await office.store.leases.count() == 0


async def test_a_cancel_while_redis_admits_leaks_nothing(office: Office):
    for number in range(50):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with office.leases.admit(f"req_{number}", office.ref, CALL):
                await trio.lowlevel.checkpoint()
    assert office.leases.open_count == await office.store.leases.count() == 0


async def test_settling_early_and_again_at_the_end_books_once(office: Office):
    async with office.leases.admit("req_1", office.ref, CALL) as one:
        await office.leases.settle(one)
        await office.leases.settle(one)
    assert (await office.total())["requests"] == 1


@pytest.mark.parametrize(
    ("was_sent", "status", "meter", "tokens", "is_estimated"),
    [
        (False, None, None, Tokens(), False),
        (True, 429, None, Tokens(), False),
        (True, None, None, Tokens(input=100), True),
        (True, 200, FakeMeter(None, 0, is_complete=False), Tokens(input=100), True),
        (True, 200, FakeMeter(Tokens(7, 1), 41, is_complete=False), Tokens(7, 10), True),
        (True, 200, FakeMeter(Tokens(7, 30), 41, is_complete=False), Tokens(7, 30), True),
        (True, 200, FakeMeter(Tokens(7, 30), 9999, is_complete=True), Tokens(7, 30), False),
    ],
)
async def test_what_is_booked_is_what_is_known_and_else_the_floor(
    office: Office,
    was_sent: bool,
    status: int | None,
    meter: FakeMeter | None,
    tokens: Tokens,
    is_estimated: bool,
):
    async with office.leases.admit("req_1", office.ref, CALL) as one:
        one.was_sent, one.status, one.meter = was_sent, status, meter
        bill, is_estimate = one.used()
        assert (bill.tokens, is_estimate) == (tokens, is_estimated)


async def test_calls_that_cost_nothing_leave_no_record(office: Office):
    call = Call("count_tokens", "POST", b"/v1/messages/count_tokens", model="claude-opus-5")
    async with office.leases.admit("req_1", office.ref, call):
        assert await office.store.leases.count() == 1
    assert await office.store.usage.records(5) == []
    assert (await office.total())["requests"] == 0


async def test_the_survivors_settle_what_a_dead_process_left(office: Office):
    dead = office.another_process()
    lost = await dead._admit("req_1", office.ref, CALL)
    lost.was_sent, lost.meter = True, FakeMeter(Tokens(input=8), 40, is_complete=False)
    dead._open[lost.id] = lost
    await office.leases.recover()
    await dead.beat()
    await office.store._db.call("ZADD", name("leases"), 1, "req_1")
    await office.leases.recover()
    assert await office.store.leases.count() == 0
    total = await office.total()
    assert (total["input_tokens"], total["output_tokens"], total["estimated"]) == (8, 10, 1)
    record = json.loads((await office.store.usage.records(1))[0])
    assert (record["error"], record["attempts"][0]["is_estimated"]) == ("process_died", True)


async def test_a_process_taken_for_dead_settles_after_all_with_its_own_figures(office: Office):
    async with office.leases.admit("req_1", office.ref, CALL) as one:
        one.was_sent, one.status = True, 200
        survivor = office.another_process()
        await survivor.recover()
        await office.store._db.call("ZADD", name("leases"), 1, "req_1")
        await survivor.recover()
        assert (await office.total())["estimated"] == 1
        one.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
    total = await office.total()
    assert (total["requests"], total["estimated"], total["cost_micros"]) == (1, 0, 175)


async def test_settlements_wait_while_redis_is_away_and_are_written_on_its_return(
    own_redis: RedisProcess,
):
    async with office_at(own_redis.url) as office:
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            one.was_sent = True
            own_redis.kill()
        assert office.leases.open_count == 0
        own_redis.start()
        await office.leases.settlements.write_all()
        assert await office.store.leases.count() == 0
        assert (await office.total())["requests"] == 1


async def test_a_cancelled_request_is_booked_all_the_same(office: Office):
    with trio.CancelScope() as scope:
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            one.was_sent = True
            scope.cancel()
    assert scope.cancel_called
    assert await office.store.leases.count() == 0
    assert (await office.total())["requests"] == 1


async def test_no_admission_while_redis_stalls_and_none_is_left_behind(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases, "ADMIT_DEADLINE_S", 0.1)
    assert own_redis.process is not None
    async with office_at(own_redis.url) as office:
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.Unavailable, match="Nothing was sent"):
                async with office.leases.admit("req_1", office.ref, CALL):
                    raise AssertionError("nobody may be admitted")
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        await office.leases.settlements.write_all()
        assert await office.store.leases.count() == 0
