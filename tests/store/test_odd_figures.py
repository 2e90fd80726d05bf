"""Figures that nothing can have: no script stops halfway, and nothing is blocked by them."""

import json
import logging
import time
from datetime import UTC, datetime

import msgspec
import pytest

from relay import catalogue, errors
from relay.alerts import texts
from relay.store import Admitted, Booking, Estimate, RelayLimits, Store, name
from relay.usage import report

from .test_lease import CALL, Office
from .test_limits import MODEL, admit, scope, settle
from .test_store import with_account, with_key

HUGE = [2**53, 2**63 - 1, 2**63, 10**19, 10**25, 10**300]
SCOPES = ("key:key_1", "owner:team", "relay", "account:acc_1")


@pytest.fixture
async def budgeted(opened: Store) -> Store:
    """A key, its owner and an account with soft budgets; the relay's are given with each call."""
    budgets = "total soft 1000000000000000"
    await with_account(opened)
    await opened.accounts.change("acc_1", {"budgets": budgets})
    await opened._db.call("HSET", name("owner", "team"), "budgets", budgets)
    await with_key(opened, budgets=budgets, owner="team", tokens_per_minute="1000000000")
    return opened


RELAY = RelayLimits(budgets="total soft 1000000000000000")


async def slots(store: Store) -> list[int]:
    names = (name("leases"), name("inflight_key", "key_1"), name("inflight_account", "acc_1"))
    return [await store._db.call("ZCARD", one) for one in names]


@pytest.mark.parametrize("most", HUGE, ids=lambda number: f"{number:.0e}")
async def test_a_reservation_that_no_counter_can_hold_is_given_back(budgeted: Store, most: int):
    estimate = Estimate(most_micros=most, input_micros=7, input_tokens=7)
    answer = await admit(budgeted, "a", estimate, limits=RELAY)
    assert isinstance(answer, Admitted)
    await settle(budgeted, "a", 5, tokens=3)
    assert await slots(budgeted) == [0, 0, 0]
    for one in SCOPES:
        figures = await scope(budgeted, one)
        assert (figures["held_most"], figures["held_expected"], figures["total"]) == (0, 0, 5)


@pytest.mark.parametrize("amount", [*HUGE, -(10**25)], ids=lambda number: f"{number:.0e}")
async def test_a_settlement_of_any_figures_is_written_whole(budgeted: Store, amount: int):
    await admit(budgeted, "a", Estimate(10, 5, 5), limits=RELAY)
    counters = {("acc_1", MODEL, "requests"): 1, ("acc_1", MODEL, "cost_micros"): amount,
                ("acc_1", MODEL, "input_tokens"): amount}  # fmt: skip
    record = b'{"request_id":"a"}'
    booking = Booking("a", "settled", MODEL, counters, record, b"{}", tokens=amount)
    assert await budgeted.leases.settle(booking) == 1
    assert await slots(budgeted) == [0, 0, 0]
    assert not await budgeted._db.call("EXISTS", name("lease", "a"))
    assert await budgeted.usage.records(5) == [record]
    for one in SCOPES:
        assert (await scope(budgeted, one))["held_most"] == 0
    assert (await report(budgeted)).total["requests"] == 1


@pytest.mark.parametrize("stored", [str(2**63 - 1), str(-(2**63)), "1e25", "nan", "x", "0x1p3"])
async def test_a_counter_that_is_no_number_or_full_stops_nothing(budgeted: Store, stored: str):
    for one in SCOPES:
        fields = ("held_most", stored, "held_expected", stored, "total", stored)
        await budgeted._db.call("HSET", name("spend", one), *fields)
    await budgeted._db.call("HSET", name("tokens", "key_1"), "sum", stored)
    for one in ("owner:team", "account:acc_1"):
        kind, _, own = one.partition(":")
        await budgeted._db.call("HDEL", name(kind, own), "budgets")
    await budgeted.keys.change("key_1", {"budgets": "daily soft 1000", "tokens_per_minute": ""})
    await budgeted._db.call("HSET", name("spend", "key:key_1"), "held_expected", "0")
    assert isinstance(await admit(budgeted, "a", Estimate(10, 5, 5)), Admitted)
    await settle(budgeted, "a", 5)
    assert await slots(budgeted) == [0, 0, 0]


@pytest.fixture
async def ready(opened: Store) -> Store:
    await with_account(opened)
    await with_key(opened)
    return opened


@pytest.fixture
async def office(opened: Store) -> Office:
    one = Office(opened)
    await one.open()
    await one.leases.recover()
    return one


async def leave(office: Office, lease: str, **fields: object) -> None:
    """A lease whose process is dead, with some fields of its own; None takes one away."""
    one = await office.another_process()._admit(lease, office.ref, CALL)
    db = office.store._db
    await db.call("ZADD", name("leases"), 1, one.id)
    for field, value in fields.items():
        if value is None:
            await db.call("HDEL", name("lease", lease), field)
        else:
            await db.call("HSET", name("lease", lease), field, str(value))


BROKEN: list[dict[str, object]] = [
    {"started_at": None}, {"started_at": "soon"}, {"started_at": "1e3"}, {"started_at": 10**30},
    {"started_at": 10**18}, {"account": None}, {"model": None}, {"kind": None}, {"input": "many"},
    {"chars": "nan"}, {"lost": "no json\n"}, {"lost": '{"account_id":1}\n'}, {"kind": "unheard of"},
    {"most": "1e300", "holders": "key:key_1"}, {"most": "x", "holders": "relay"},
    {"input": 10**30}, {"chars": 10**30}, {"affinity": "x", "owner": None, "holders": None},
    {"tpm": "1", "counts": None, "held_account": "acc_gone",
     "lost_held": "acc_gone 99999999999999999999\n"},
]  # fmt: skip


@pytest.mark.parametrize("fields", BROKEN, ids=str)
async def test_a_lease_that_cannot_be_booked_delays_no_other(office: Office, fields: dict):
    for number in range(3):
        await leave(office, f"good_{number}")
        await leave(office, f"odd_{number}", **fields)
    await office.leases.recover()
    assert await office.store.leases.count() == 0
    for kind, own in [("inflight_key", office.ref.id)]:
        assert await office.store._db.call("ZCARD", name(kind, own)) == 0
    booked = {json.loads(record)["request_id"] for record in await office.store.usage.records(9)}
    assert {"good_0", "good_1", "good_2"} <= booked
    for one in ("relay", f"key:{office.ref.id}"):
        figures = await scope(office.store, one)
        assert figures.get("held_most", 0) == figures.get("held_expected", 0) == 0


async def test_a_lease_of_another_type_than_leases_have_delays_no_other(office: Office):
    await leave(office, "odd")
    await leave(office, "good")
    await office.store._db.call("SET", name("lease", "odd"), "a text")
    await office.leases.recover()
    assert await office.store.leases.count() == 0


async def test_a_lease_that_was_put_aside_is_reported_once(
    office: Office, caplog: pytest.LogCaptureFixture
):
    await leave(office, "odd", lost="no json\n")
    with caplog.at_level(logging.ERROR, "relay.lease"):
        await office.leases.recover()
        await office.leases.recover()
    assert [record.getMessage()[:15] for record in caplog.records] == ["request=odd can"]
    (aside,) = await office.store.leases.aside(0)
    assert (aside.lease, aside.why[:11]) == ("odd", "DecodeError")
    assert await office.store.leases.aside(await office.store.upkeep.now_ms() + 1000) == []


async def test_of_leases_that_were_put_aside_the_newest_hundred_are_remembered(opened: Store):
    for number in range(150):
        await opened._db.call("ZADD", name("leases"), 1, f"r{number}")
        assert await opened.leases.set_aside(f"r{number}", "odd")
    aside = await opened.leases.aside(0)
    assert [one.lease for one in aside] == [f"r{number}" for number in range(149, 49, -1)]


async def test_its_own_process_books_a_lease_that_was_put_aside(office: Office):
    alive = office.another_process()
    lease = await alive._admit("req_1", office.ref, CALL)
    await office.store.leases.set_aside("req_1", "odd")
    await alive.settle(lease)
    assert (await report(office.store)).total["requests"] == 1


@pytest.mark.parametrize("stored", ["253402300800000", "1e25", "abc", "9" * 30, "-9" * 9, "inf"])
async def test_an_account_with_a_time_that_no_calendar_has_is_listed(office: Office, stored: str):
    (account,) = await office.accounts.list()
    fields = ("state", "cooling", "state_until", stored, "state_since", stored)
    await office.store._db.call("HSET", name("account", account.id), *fields)
    (shown,) = await office.accounts.list()
    assert (shown.state, shown.until) == ("cooling", None)


@pytest.mark.parametrize("stored", [1e25, -1e300, 2.0**60, 5.0, 7])
async def test_counters_that_an_odd_figure_has_spoilt_are_read(office: Office, stored: float):
    async with office.leases.admit("req_1", office.ref, CALL):
        pass
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    bucket = name("count_day", day)
    (cell,) = await office.store._db.call("HKEYS", bucket)
    await office.store._db.call("HSET", bucket, cell, msgspec.msgpack.encode([stored, 1]))
    (counted,) = await office.store.usage.counted([day])
    (found,) = counted.cells
    expected = int(stored) if abs(stored) < 2**53 else 0
    assert sum(found.amounts.values()) in (expected + 1, expected)
    assert all(isinstance(amount, int) for amount in found.amounts.values())


@pytest.mark.parametrize("stored", ["1e25", "x", "inf", "nan", ""])
async def test_an_account_with_figures_that_are_none_is_listed(office: Office, stored: str):
    (account,) = await office.accounts.list()
    later = str(round((time.time() + 60) * 1000))
    fields = ("token_until", stored, "headroom", stored, "headroom_until", later)
    await office.store._db.call("HSET", name("account", account.id), *fields)
    (shown,) = await office.accounts.list()
    assert shown.headroom == 1.0


@pytest.mark.parametrize("stored", ["x", "inf", "nan", "", "1e25", "9" * 400])
async def test_a_token_until_a_time_that_is_none_stops_no_admission(ready: Store, stored: str):
    await ready._db.call("HSET", name("account", "acc_1"), "token_until", stored)
    assert isinstance(await admit(ready, "req_1"), Admitted)


async def test_a_cooldown_until_a_year_that_cannot_be_is_over(ready: Store):
    fields = ("state", "cooling", "state_until", "253402300800000")
    await ready._db.call("HSET", name("account", "acc_1"), *fields)
    assert isinstance(await admit(ready, "req_1"), Admitted)


@pytest.mark.parametrize("stored", ["253402300800000", "1e25"])
def test_an_alert_with_a_time_that_no_calendar_has_is_told(stored: str):
    fields = {"event": "account_error", "at": "0", "account": "a", "name": "main", "class": "",
              "before": "ok", "state": "cooling", "reason": "", "until": stored}  # fmt: skip
    assert "9999-12-31" in texts.told(fields).text
    assert str(texts.data(fields)["until"]).startswith("9999-12-31")


ODD_LISTS = [
    {"data": None}, {"data": 5}, {"data": [None, "x", 7]}, {"data": [{"id": None}, {"id": 5}, {}]},
    {"data": [{"id": "claude-opus-5", "created_at": 1e300}]}, {"id": 5}, {},
]  # fmt: skip


@pytest.mark.parametrize("answer", ODD_LISTS)
@pytest.mark.parametrize("allowed", [(), ("*",), ("claude-*",)])
def test_a_list_of_models_of_an_odd_shape_is_no_failure(answer: dict, allowed: tuple[str, ...]):
    body = json.dumps(answer).encode()
    listed = json.loads(catalogue._listed(body, allowed, {})) if "data" in answer else {"data": []}
    assert all(isinstance(entry["id"], str) for entry in listed["data"])
    try:
        only = json.loads(catalogue._only(allowed, body, "m"))
    except errors.NotFound:
        only = {"data": []}
    assert allowed == () or isinstance(only.get("data", []), list)
