"""Lines for a slot: first come, first served, and nobody who has gone holds up the others."""

import pytest

from relay.store import Admitted, Booking, Refused, RelayLimits, Store, Waiting, name

from .test_limits import admit
from .test_store import with_account, with_key

LIMITS = RelayLimits(most_waiting=2, wait_ms=5000)


@pytest.fixture
async def busy(opened: Store) -> Store:
    """A key with one slot, which `first` has."""
    await with_account(opened)
    await with_key(opened, concurrency="1", concurrency_wait="7000")
    assert isinstance(await admit(opened, "first", limits=LIMITS), Admitted)
    return opened


async def line(store: Store, scope: str = "key:key_1") -> list[bytes]:
    return await store._db.call("ZRANGE", name("waiting", scope), 0, -1)


async def end(store: Store, lease: str) -> None:
    await store.leases.settle(Booking(lease, "settled"))


async def test_a_call_without_a_slot_stands_in_its_keys_line(busy: Store):
    assert await admit(busy, "a", limits=LIMITS) == Waiting("key:key_1", 7000)
    assert await line(busy) == [b"a"]
    assert await busy.leases.count() == 1


async def test_the_first_in_line_gets_the_free_slot_and_a_newcomer_does_not(busy: Store):
    for lease in ("a", "b"):
        await admit(busy, lease, limits=LIMITS)
    await end(busy, "first")
    assert await admit(busy, "new", limits=RelayLimits()) == Refused("concurrency", "1")
    assert isinstance(await admit(busy, "b", limits=LIMITS, waited="waits"), Waiting)
    waiting = {"b": "key:key_1", "a": "key:key_1"}
    assert await busy.leases.wait(waiting, {}, LIMITS) == {"a"}
    assert isinstance(await admit(busy, "a", limits=LIMITS, waited="waits"), Admitted)
    assert await line(busy) == [b"b"]


async def test_calls_of_one_moment_keep_their_order(busy: Store):
    most = RelayLimits(most_waiting=20)
    names = [f"w{number:02}" for number in range(20, 0, -1)]
    for lease in names:
        await admit(busy, lease, limits=most)
    assert [lease.decode() for lease in await line(busy)] == names


async def test_a_full_line_refuses_at_once(busy: Store):
    for lease in ("a", "b"):
        await admit(busy, lease, limits=LIMITS)
    assert await admit(busy, "c", limits=LIMITS) == Refused("concurrency", "1")
    assert await line(busy) == [b"a", b"b"]


async def test_whose_patience_ends_is_refused_and_leaves_the_line(busy: Store):
    await admit(busy, "a", limits=LIMITS)
    assert await admit(busy, "a", limits=LIMITS, waited="last") == Refused("concurrency", "1")
    assert await line(busy) == []


async def test_a_call_that_is_refused_for_something_else_leaves_the_line(busy: Store):
    await admit(busy, "a", limits=LIMITS)
    await busy.keys.change("key_1", {"enabled": "0"})
    assert await admit(busy, "a", limits=LIMITS, waited="waits") == Refused("disabled", "")
    assert await line(busy) == []


async def test_the_waiting_of_a_dead_process_are_passed_over(busy: Store):
    for lease in ("dead", "alive"):
        await admit(busy, lease, limits=LIMITS)
    await end(busy, "first")
    await busy._db.call("ZADD", name("waiting_seen"), 1, "dead")
    assert await busy.leases.wait({"alive": "key:key_1"}, {}, LIMITS) == {"alive"}
    assert await line(busy) == [b"alive"]


async def test_who_leaves_makes_room_in_the_line(busy: Store):
    for lease in ("a", "b"):
        await admit(busy, lease, limits=LIMITS)
    await end(busy, "first")
    assert await busy.leases.wait({"b": "key:key_1"}, {"a": "key_1"}, LIMITS) == {"b"}


async def test_who_lost_its_place_asks_for_another(busy: Store):
    await admit(busy, "a", limits=LIMITS)
    await busy._db.call("DEL", name("waiting", "key:key_1"))
    assert await busy.leases.wait({"a": "key:key_1"}, {}, LIMITS) == {"a"}
    assert isinstance(await admit(busy, "a", limits=LIMITS, waited="waits"), Waiting)


async def test_the_relays_line_comes_after_the_keys(opened: Store):
    await with_account(opened)
    await with_key(opened, concurrency="2", concurrency_wait="7000")
    one = RelayLimits(concurrency=1, most_waiting=2, wait_ms=5000)
    assert isinstance(await admit(opened, "first", limits=one), Admitted)
    assert await admit(opened, "a", limits=one) == Waiting("relay", 5000)
    assert await opened.leases.wait({"a": "relay"}, {}, one) == set()
    await end(opened, "first")
    assert await opened.leases.wait({"a": "relay"}, {}, one) == {"a"}
    assert isinstance(await admit(opened, "a", limits=one, waited="waits"), Admitted)
    assert await line(opened, "relay") == []


async def test_without_a_wait_a_key_refuses_at_once(opened: Store):
    await with_account(opened)
    await with_key(opened, concurrency="1")
    await admit(opened, "first", limits=LIMITS)
    assert await admit(opened, "a", limits=LIMITS) == Refused("concurrency", "1")
