"""The scripts and the typed access over them, against a real Redis."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import trio

from relay.store import Admitted, Booking, Cell, Refused, ReplyError, Store, name
from relay.store import opened as open_store

KEY = {"name": "alice", "hash": "h1", "enabled": "1", "expires_at": "", "models": ""}
ACCOUNT = {"name": "main", "enabled": "1"}
NOW_MS = 1_800_000_000_000


async def with_key(store: Store, **changes: str) -> None:
    await store.keys.add("key_1", {**KEY, **changes})


async def with_account(store: Store, account_id: str = "acc_1", **changes: str) -> None:
    # No two accounts have one name.
    own = {} if account_id == "acc_1" else {"name": account_id}
    await store.accounts.add(account_id, {**ACCOUNT, **own, **changes})


async def admit(store: Store, lease: str = "req_1", **changes: str) -> Admitted | Refused:
    given = {
        "process": "p1",
        "key_id": "key_1",
        "key_hash": "h1",
        "model": "claude-opus-5",
        "kind": "messages",
        **changes,
    }
    return await store.leases.admit(lease, **given)


def booking(lease: str = "req_1", state: str = "settled", cost: int = 7) -> Booking:
    counters = {
        ("acc_1", "claude-opus-5", "requests"): 1,
        ("acc_1", "claude-opus-5", "cost_micros"): cost,
    }
    return Booking(lease, state, "claude-opus-5", counters, b'{"id":1}', b'{"why":1}')


async def day_sums(store: Store) -> dict[str, int]:
    """All counters of the day, by name alone, whatever day Redis has."""
    sums: dict[str, int] = {}
    for cell in await cells_of(store, 10):
        for counter, amount in cell.amounts.items():
            sums[counter] = sums.get(counter, 0) + amount
    return sums


async def cells_of(store: Store, length: int) -> Sequence[Cell]:
    """The cells of Redis' present day (10) or hour (13)."""
    seconds, _ = await store._db.call("TIME")
    now = datetime.fromtimestamp(int(seconds), UTC)
    (counted,) = await store.usage.counted([f"{now:%Y-%m-%dT%H}"[:length]])
    return counted.cells


async def test_an_admission_names_the_account_and_holds_a_slot(opened: Store):
    await with_key(opened)
    await with_account(opened)
    answer = await admit(opened)
    assert answer == Admitted("acc_1", "1", "main", "alice", (), False, 1)
    assert await opened.leases.count() == 1
    assert await opened.accounts.open_leases("acc_1") == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"enabled": "0"}, "disabled"),
        ({"expires_at": "1000"}, "key_expired"),
        ({"models": "claude-haiku-*\nclaude-sonnet-5"}, "key_model"),
        ({"hash": "another"}, "unknown"),
    ],
)
async def test_a_refusal_says_why_and_changes_nothing(
    opened: Store, changes: dict[str, str], code: str
):
    await with_key(opened, **changes)
    await with_account(opened)
    answer = await admit(opened)
    assert isinstance(answer, Refused)
    assert answer.code == code
    assert await opened.leases.count() == 0


async def test_a_key_that_was_deleted_is_unknown(opened: Store):
    await with_key(opened)
    await opened.keys.remove("key_1", ["h1"])
    answer = await admit(opened)
    assert isinstance(answer, Refused)
    assert answer.code == "unknown"


@pytest.mark.parametrize(
    ("globs", "model", "is_allowed"),
    [
        ("claude-*", "claude-opus-5", True),
        ("claude-opus-?", "claude-opus-5", True),
        ("claude-opus-?", "claude-opus-55", False),
        ("claude.opus", "claude-opus", False),
        ("a\nclaude-opus-5", "claude-opus-5", True),
        ("claude-(opus)+[5]%a", "claude-(opus)+[5]%a", True),
        ("opus", "claude-opus-5", False),
    ],
)
async def test_model_globs_match_whole_names(
    opened: Store, globs: str, model: str, is_allowed: bool
):
    await with_key(opened, models=globs)
    await with_account(opened)
    answer = await admit(opened, model=model)
    assert isinstance(answer, Admitted) is is_allowed


async def test_without_accounts_that_can_serve_the_refusal_tells_why(opened: Store):
    await with_key(opened)
    assert await admit(opened) == Refused("no_account", "")
    await with_account(opened, enabled="0")
    assert await admit(opened) == Refused("account_disabled", "claude-opus-5")


async def test_the_least_busy_account_is_chosen_and_among_equals_the_one_that_rested(
    opened: Store,
):
    await with_key(opened)
    await with_account(opened, "acc_1")
    await with_account(opened, "acc_2")
    chosen = [await admit(opened, f"req_{number}") for number in range(4)]
    ids = [answer.account_id for answer in chosen if isinstance(answer, Admitted)]
    assert sorted(ids[:2]) == sorted(ids[2:]) == ["acc_1", "acc_2"]


async def test_a_call_bound_to_an_account_goes_nowhere_else(opened: Store):
    await with_key(opened)
    await with_account(opened, "acc_1")
    await with_account(opened, "acc_2", enabled="0")
    assert isinstance(await admit(opened, bound="acc_2"), Refused)
    answer = await admit(opened, bound="acc_1")
    assert isinstance(answer, Admitted)
    assert answer.account_id == "acc_1"


async def test_an_accounts_version_changes_with_each_edit(opened: Store):
    await with_account(opened)
    await opened.accounts.change("acc_1", {"note": "edited"})
    assert (await opened.accounts.read("acc_1"))["version"] == "2"


async def test_settling_frees_the_slot_books_and_keeps_record_and_decision(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    assert await opened.leases.settle(booking()) == 1
    assert await opened.leases.count() == 0
    assert await opened.accounts.open_leases("acc_1") == 0
    assert await day_sums(opened) == {"requests": 1, "cost_micros": 7}
    assert await opened.usage.records(10) == [b'{"id":1}']
    assert await opened.usage.decision("req_1") == b'{"why":1}'


async def test_a_lease_is_booked_once_however_often_it_is_settled(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    assert [await opened.leases.settle(booking()) for _ in range(3)] == [1, 0, 0]
    assert await day_sums(opened) == {"requests": 1, "cost_micros": 7}


async def test_a_late_settlement_replaces_the_estimate(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    assert await opened.leases.settle(booking(state="recovered", cost=3)) == 1
    assert await opened.leases.settle(booking(state="recovered", cost=3)) == 0
    assert await day_sums(opened) == {"requests": 1, "cost_micros": 3}
    assert await opened.leases.settle(booking(cost=10)) == 2
    for length in (10, 13):
        assert [cell.amounts for cell in await cells_of(opened, length)] == [
            {"requests": 1, "cost_micros": 10}
        ]


async def test_a_lease_without_heartbeat_becomes_an_orphan(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    await opened.leases.orphans()
    await opened.leases.heartbeat([("req_1", 0, 12, 34)])
    assert await opened.leases.orphans() == []
    await opened._db.call("ZADD", name("leases"), 1, "req_1")
    (orphan,) = await opened.leases.orphans()
    assert (orphan.lease, orphan.key_id, orphan.account_id) == ("req_1", "key_1", "acc_1")
    assert (orphan.input_tokens, orphan.output_chars) == (12, 34)


async def test_after_a_time_in_which_nobody_looked_leases_get_a_fresh_start(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    await opened._db.call("ZADD", name("leases"), 1, "req_1")
    assert await opened.leases.orphans() == []
    assert await opened.leases.orphans() == []


async def test_a_heartbeat_does_not_bring_a_settled_lease_back(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await admit(opened)
    await opened.leases.settle(booking())
    assert await opened.leases.heartbeat([("req_1", 0, 1, 1)]) == 0
    assert await opened.leases.count() == 0


async def test_scripts_are_loaded_again_when_redis_lost_them(opened: Store):
    await with_key(opened)
    await with_account(opened)
    await opened._db.call("SCRIPT", "FLUSH")
    assert isinstance(await admit(opened), Admitted)


async def test_two_hundred_concurrent_admissions_take_two_hundred_slots(opened: Store):
    await with_key(opened)
    await with_account(opened)
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(admit, opened, f"req_{number}")
    assert await opened.leases.count() == 200
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(opened.leases.settle, booking(f"req_{number}"))
    assert await opened.leases.count() == 0
    assert await day_sums(opened) == {"requests": 200, "cost_micros": 1400}


async def test_days_are_those_of_the_utc_calendar(opened: Store, redis_url: str):
    script = opened._db._scripts["admit"].text.split("-- Decides")[0]
    for text in ("1970-01-01", "2000-02-29", "2026-12-31", "2028-02-29", "2100-03-01"):
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        for seconds in (0, 86399):
            ms = int((moment.timestamp() + seconds) * 1000)
            day = await opened._db.call("EVAL", script + "return day_of(tonumber(ARGV[1]))", 0, ms)
            assert day.decode() == text


async def test_objects_are_listed_newest_first_per_key(opened: Store):
    for number in range(3):
        await opened.objects.remember(f"file_{number}", "file", "key_1", "acc_1", NOW_MS + number)
    await opened.objects.remember("file_x", "file", "key_2", "acc_1", NOW_MS)
    assert await opened.objects.ids("key_1", "file") == ["file_2", "file_1", "file_0"]
    await opened.objects.forget("file_1", "key_1", "file")
    assert await opened.objects.ids("key_1", "file") == ["file_2", "file_0"]
    assert await opened.objects.read("file_1") == {}


async def test_an_error_of_redis_is_told_by_its_code(opened: Store):
    with pytest.raises(ReplyError) as caught:
        await opened._db.call("HGET", name("accounts"))
    assert caught.value.code == "ERR"


async def test_data_of_another_schema_is_not_touched(opened: Store, redis_url: str):
    await opened._db.call("SET", name("schema"), "99")
    async with open_store(redis_url) as other:
        with pytest.raises(Exception, match="schema 99"):
            await other.ping()
