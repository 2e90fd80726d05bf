"""Slots that keys share: a free one goes to the waiting key that has the fewest, whatever another
key asks for, and nobody who has gone, or must not call any more, is waited for."""

import dataclasses
import itertools

import pytest

from relay.store import Admitted, Booking, Moved, Refused, RelayLimits, Rest, Store, Waiting, name

from .test_store import KEY, with_account

LIMITS = RelayLimits(most_waiting=6, wait_ms=5000, key_percent=90)
OF_RELAY = dataclasses.replace(LIMITS, concurrency=2)
STAYS = Rest()
ALICE, BOB, CAROL = "alice", "bob", "carol"


class Pool:
    """Calls of several keys: who has a slot, and in which line the others wait."""

    def __init__(self, store: Store, limits: RelayLimits = LIMITS) -> None:
        self.store, self.limits = store, limits
        self.keys: dict[str, str] = {}
        self.waiting: dict[str, str] = {}
        self._numbers = itertools.count()

    async def ask(
        self, key: str, lease: str = "", waited: str = "", **changes: str
    ) -> Admitted | Refused | Waiting:
        """One admission; the name of a new lease is its key's, with a number."""
        lease = lease or f"{key}{next(self._numbers)}"
        self.keys[lease] = key
        given = {"kind": "messages", "model": "claude-opus-5", **changes}
        answer = await self.store.leases.admit(
            lease, "p1", key, f"h_{key}", limits=self.limits, waited=waited, **given
        )
        self.waiting.pop(lease, None)
        if isinstance(answer, Waiting):
            self.waiting[lease] = answer.scope
        return answer

    async def flood(self, key: str, count: int, **changes: str) -> list[str]:
        """Ask so often; what became of each: admitted, accounts, relay, or why it is refused."""
        return [_outcome(await self.ask(key, **changes)) for _ in range(count)]

    async def end(self, lease: str) -> None:
        await self.store.leases.settle(Booking(lease, "settled"))

    async def ready(self) -> list[str]:
        """Whose turn it is among all that wait."""
        return sorted(await self.store.leases.wait(self.waiting, {}, self.limits))

    async def next(self) -> list[str]:
        """Let those whose turn it is ask again; the ones that are admitted."""
        came = [
            lease
            for lease in await self.ready()
            if isinstance(await self.ask(self.keys[lease], lease, "waits"), Admitted)
        ]
        return sorted(came)

    async def line(self, scope: str = "accounts") -> list[str]:
        line = await self.store._db.call("ZRANGE", name("waiting", scope), 0, -1)
        return [lease.decode() for lease in line]


def _outcome(answer: Admitted | Refused | Waiting) -> str:
    if isinstance(answer, Admitted):
        return "admitted"
    return answer.scope if isinstance(answer, Waiting) else answer.code


async def with_keys(store: Store, *keys: str, **changes: str) -> None:
    for key in keys:
        await store.keys.add(key, {**KEY, "name": key, "hash": f"h_{key}", **changes})


@pytest.fixture
async def pool(opened: Store) -> Pool:
    """An account with two slots, and three keys."""
    await with_account(opened, max_concurrency="2")
    await with_keys(opened, ALICE, BOB, CAROL)
    return Pool(opened)


async def test_a_free_slot_goes_to_the_key_that_has_the_fewest(pool: Pool):
    assert await pool.flood(ALICE, 4) == ["admitted", "admitted", "accounts", "accounts"]
    assert await pool.flood(BOB, 1) == ["accounts"]
    assert await pool.ready() == []
    await pool.end("alice0")
    assert await pool.next() == ["bob4"]
    assert await pool.line() == ["alice2", "alice3"]


async def test_a_newcomer_with_fewer_goes_before_those_that_wait(pool: Pool):
    await pool.flood(ALICE, 4)
    await pool.end("alice0")
    assert await pool.flood(BOB, 1) == ["admitted"]
    assert await pool.ready() == []


async def test_a_newcomer_of_a_waiting_key_stands_behind_its_own(pool: Pool):
    await pool.flood(ALICE, 3)
    await pool.end("alice0")
    assert await pool.flood(ALICE, 1) == ["accounts"]
    assert await pool.next() == ["alice2"]


async def test_keys_with_one_slot_take_turns_however_many_wait_of_each(opened: Store):
    await with_account(opened, max_concurrency="1")
    await with_keys(opened, ALICE, BOB, CAROL)
    pool = Pool(opened, dataclasses.replace(LIMITS, most_waiting=20))
    await pool.flood(ALICE, 6)
    await pool.flood(BOB, 2)
    await pool.flood(CAROL, 2)
    order, served = [], "alice0"
    while pool.waiting:
        await pool.end(served)
        (served,) = await pool.next()
        order.append(pool.keys[served])
    assert order == [BOB, CAROL, ALICE, BOB, CAROL, ALICE, ALICE, ALICE, ALICE]


async def test_slots_of_the_whole_relay_are_shared_as_well(opened: Store):
    await with_account(opened)
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened, OF_RELAY)
    assert await pool.flood(ALICE, 4) == ["admitted", "admitted", "relay", "relay"]
    assert await pool.flood(BOB, 2) == ["relay", "relay"]
    await pool.end("alice0")
    assert await pool.next() == ["bob4"]
    await pool.end("alice1")
    assert await pool.next() == ["alice2"]


@pytest.mark.parametrize("kind", ["count_tokens", "models", "files", "batch"])
async def test_every_kind_of_call_that_has_a_slot_of_the_relay_asks_for_it(
    opened: Store, kind: str
):
    await with_account(opened)
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened, OF_RELAY)
    assert await pool.flood(ALICE, 3, kind=kind) == ["admitted", "admitted", "relay"]


async def test_a_key_alone_has_every_slot(opened: Store):
    await with_account(opened, max_concurrency="20")
    await with_keys(opened, ALICE)
    assert await Pool(opened).flood(ALICE, 21) == ["admitted"] * 20 + ["accounts"]


@pytest.mark.parametrize(
    ("slots", "percent", "most"), [(60, 90, 54), (20, 90, 18), (9, 90, 9), (4, 75, 3), (1, 1, 1)]
)
async def test_one_of_several_keys_leaves_a_part_to_keys_that_come(
    opened: Store, slots: int, percent: int, most: int
):
    await with_account(opened, max_concurrency=str(slots))
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened, dataclasses.replace(LIMITS, key_percent=percent))
    assert await pool.flood(ALICE, most + 1) == ["admitted"] * most + ["accounts"]
    assert await pool.ready() == []
    left = slots - most
    assert await pool.flood(BOB, left + 1) == ["admitted"] * left + ["accounts"]


async def test_a_slot_of_one_account_is_no_turn_for_what_must_go_to_another(opened: Store):
    for account in ("acc_1", "acc_2"):
        await with_account(opened, account, max_concurrency="1")
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened)
    await pool.flood(ALICE, 1, bound="acc_1")
    await pool.flood(ALICE, 1, bound="acc_2")
    assert await pool.flood(BOB, 1, bound="acc_1") == ["accounts"]
    assert await pool.flood(ALICE, 1) == ["accounts"]
    await pool.end("alice1")
    assert await pool.ready() == ["alice3"]
    assert isinstance(await pool.ask(ALICE, "alice3", "waits"), Admitted)
    await pool.end("alice0")
    assert await pool.ready() == ["bob2"]


async def test_a_full_line_makes_room_for_a_key_with_fewer_calls_in_it(pool: Pool):
    await pool.flood(ALICE, 8)
    assert await pool.flood(ALICE, 1) == ["account_full"]
    assert await pool.flood(BOB, 1) == ["accounts"]
    # The last one of the fullest key is out: it asks once more, and hears that the line is full.
    assert await pool.line() == ["alice2", "alice3", "alice4", "alice5", "alice6", "bob9"]
    assert await pool.ready() == ["alice7"]
    assert await pool.ask(ALICE, "alice7", "waits") == Refused("account_full", "2")


async def test_no_place_is_taken_from_a_key_that_has_no_more_of_them(pool: Pool):
    await pool.flood(ALICE, 2)
    for key in (ALICE, BOB):
        await pool.flood(key, 3)
    assert await pool.flood(ALICE, 1) == ["account_full"]
    assert await pool.flood(BOB, 1) == ["account_full"]
    assert await pool.flood(CAROL, 2) == ["accounts", "accounts"]
    assert await pool.flood(CAROL, 1) == ["account_full"]


async def test_a_disabled_key_gives_up_its_turn(pool: Pool):
    await pool.flood(ALICE, 3)
    await pool.flood(BOB, 1)
    await pool.store.keys.change(BOB, {"enabled": "0"})
    await pool.end("alice0")
    assert await pool.ready() == ["bob3"]
    assert await pool.ask(BOB, "bob3", "waits") == Refused("disabled", "")
    assert await pool.next() == ["alice2"]


@pytest.mark.parametrize("when", [1, 1 << 52], ids=["long ago", "before the clock was set back"])
async def test_calls_of_a_dead_process_neither_take_a_turn_nor_leave_anything(
    pool: Pool, when: int
):
    await pool.flood(ALICE, 3)
    for dead in ("dead1", "dead2"):
        await pool.ask(BOB, dead)
        del pool.waiting[dead]
        await pool.store._db.call("ZADD", name("waiting_seen"), when, dead)
    await pool.end("alice0")
    assert await pool.next() == ["alice2"]
    assert await pool.line() == []
    for what in ("waiting_seen", "waiting_calls"):
        assert await pool.store._db.call("EXISTS", name(what)) == 0


async def test_what_a_dead_process_left_in_a_line_that_is_gone_is_forgotten(pool: Pool):
    await pool.flood(ALICE, 3)
    await pool.ask(BOB, "dead")
    del pool.waiting["dead"]
    await pool.store._db.call("ZREM", name("waiting", "accounts"), "dead")
    await pool.store._db.call("ZADD", name("waiting_seen"), 1, "dead")
    assert await pool.ready() == []
    assert await pool.store._db.call("HKEYS", name("waiting_calls")) == [b"alice2"]


@pytest.mark.parametrize("change", [{"max_concurrency": "0"}, {"max_concurrency": "3"}, None])
async def test_a_limit_that_is_raised_or_gone_lets_the_waiting_ask(pool: Pool, change: dict | None):
    await pool.flood(ALICE, 3)
    if change is None:
        await pool.store.accounts.remove("acc_1")
    else:
        await pool.store.accounts.change("acc_1", change)
    assert await pool.ready() == ["alice2"]


async def test_a_failed_attempt_waits_for_a_slot_of_another_account(opened: Store):
    for account in ("acc_1", "acc_2"):
        await with_account(opened, account, max_concurrency="1")
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened)
    await pool.ask(BOB, "runs", bound="acc_2")
    await pool.ask(ALICE, "fails")

    async def move_on(waited: str) -> object:
        return await opened.leases.move_on("fails", STAYS, ["acc_1"], limits=LIMITS, waited=waited)

    assert await move_on("") == Waiting("accounts", 5000)
    # It has given its slot back, and still is an open lease of the relay.
    assert await opened.accounts.open_leases("acc_1") == 0
    assert await opened.leases.count() == 2
    assert await move_on("waits") == Waiting("accounts", 5000)
    await pool.end("runs")
    assert await opened.leases.wait({"fails": "accounts"}, {}, LIMITS) == {"fails"}
    moved = await move_on("waits")
    assert isinstance(moved, Moved)
    assert moved.account_id == "acc_2"
    assert await pool.line() == []


@pytest.mark.parametrize(("waited", "most_waiting"), [("last", 6), ("", 0)])
async def test_a_failed_attempt_that_may_not_wait_is_over(
    opened: Store, waited: str, most_waiting: int
):
    for account in ("acc_1", "acc_2"):
        await with_account(opened, account, max_concurrency="1")
    await with_keys(opened, ALICE)
    pool = Pool(opened)
    await pool.ask(ALICE, "runs", bound="acc_2")
    await pool.ask(ALICE, "fails")
    limits = dataclasses.replace(LIMITS, most_waiting=most_waiting)
    assert (
        await opened.leases.move_on("fails", STAYS, ["acc_1"], limits=limits, waited=waited) is None
    )
    assert await pool.line() == []


async def test_a_call_goes_on_to_a_free_account_beside_a_full_one(opened: Store):
    await with_account(opened, "acc_1", max_concurrency="1", priority="1")
    await with_account(opened, "acc_2")
    await with_keys(opened, ALICE, BOB)
    pool = Pool(opened)
    await pool.flood(ALICE, 1)
    assert await pool.flood(BOB, 1, bound="acc_1") == ["accounts"]
    assert await pool.flood(ALICE, 3) == ["admitted"] * 3


async def test_leases_of_the_release_before_count_as_nobodys(pool: Pool):
    """It stored the time of an admission where the key's mark stands now."""
    inflight = name("inflight_account", "acc_1")
    await pool.flood(ALICE, 2)
    await pool.store._db.call("ZADD", inflight, 1_790_000_000_000, "alice0")
    assert await pool.flood(BOB, 1) == ["accounts"]
    await pool.end("alice0")
    assert await pool.next() == ["bob2"]
    await pool.end("alice1")
    await pool.end("bob2")
    assert await pool.store.accounts.open_leases("acc_1") == 0


async def test_calls_that_wait_at_a_process_of_the_release_before_have_their_turns(opened: Store):
    """It stores their order alone, not whose they are; such calls share as those of one key."""
    await with_account(opened)
    await with_keys(opened, ALICE)
    pool = Pool(opened, OF_RELAY)
    await pool.flood(ALICE, 3)
    for lease in ("old1", "old2"):
        await opened._db.call("ZADD", name("waiting", "relay"), 1, lease)
        pool.waiting[lease] = "relay"
    await pool.end("alice0")
    assert await pool.ready() == ["old1"]
    for lease in ("old1", "old2"):
        await opened._db.call("ZREM", name("waiting", "relay"), lease)
        del pool.waiting[lease]
    assert await pool.next() == ["alice2"]
