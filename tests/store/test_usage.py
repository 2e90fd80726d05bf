"""What was used: counters by hour and day, sums over any period, refusals, the daily report."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from relay import store, usage
from relay.call import Call
from relay.errors import RelayError
from relay.own_errors import OwnErrors
from relay.pricing import Prices, Tokens
from relay.store import RedisAway, Store, name
from relay.usage import Archive, Ask, Row, UsageProblem, report

from .conftest import RedisProcess
from .ledger import HAIKU, OPUS, Ledger
from .test_lease import Office, office_at

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
YESTERDAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
PRICES = Prices.load()


@pytest.fixture
async def office(opened: Store) -> Office:
    one = Office(opened)
    await one.open()
    return one


async def cells(store: Store, period: str) -> dict[tuple[str, str, str], Mapping[str, int]]:
    """What a day or an hour holds, by key, account and model."""
    (counted,) = await store.usage.counted([period])
    return {(one.key_id, one.account_id, one.model): one.amounts for one in counted.cells}


def told(row: Row, *names: str) -> tuple[object, ...]:
    return tuple(row.counters.get(one, getattr(row, one, None)) for one in names)


async def test_a_request_counts_in_the_hour_and_the_day_of_its_admission(ledger: Ledger):
    await ledger.used(at=YESTERDAY + timedelta(hours=23, minutes=59, seconds=59))
    expected = {
        ("key_1", "acc_1", OPUS): {
            "requests": 1, "input_tokens": 10, "output_tokens": 5, "cost_micros": 100,
        }
    }  # fmt: skip
    assert await cells(ledger.store, f"{YESTERDAY:%Y-%m-%dT23}") == expected
    assert await cells(ledger.store, f"{YESTERDAY:%Y-%m-%d}") == expected
    assert await cells(ledger.store, f"{YESTERDAY + DAY:%Y-%m-%d}") == {}


async def test_every_counter_adds_up_in_its_own_place(ledger: Ledger):
    tokens = Tokens(1, 2, 3, 4, 5, 6)
    for _ in range(3):
        await ledger.used(at=YESTERDAY, tokens=tokens, cost=2**40, error="cut", affinity="moved")
    (amounts,) = (await cells(ledger.store, f"{YESTERDAY:%Y-%m-%d}")).values()
    assert amounts == {
        "requests": 3, "errors": 3, "affinity_moves": 3, "cost_micros": 3 * 2**40,
        "input_tokens": 3, "output_tokens": 6, "cache_read_tokens": 9,
        "cache_write_5m_tokens": 12, "cache_write_1h_tokens": 15, "web_searches": 18,
    }  # fmt: skip


async def test_a_failed_over_request_counts_where_it_ended_and_its_tokens_at_each_account(
    ledger: Ledger,
):
    await ledger.used("acc_1", "acc_2", at=YESTERDAY)
    found = await cells(ledger.store, f"{YESTERDAY:%Y-%m-%d}")
    assert found["key_1", "acc_1", OPUS].get("requests") is None
    assert found["key_1", "acc_2", OPUS]["requests"] == 1
    assert [amounts["cost_micros"] for amounts in found.values()] == [100, 100]


async def test_a_models_name_may_hold_a_bar(ledger: Ledger):
    await ledger.used(at=YESTERDAY, model="a|b")
    assert list(await cells(ledger.store, f"{YESTERDAY:%Y-%m-%d}")) == [("key_1", "acc_1", "a|b")]


async def test_a_late_settlement_corrects_the_hour_and_the_day_of_its_admission(ledger: Ledger):
    lease = await ledger.admit(at=YESTERDAY + HOUR)
    await ledger.settle(lease, state="recovered", cost=3)
    await ledger.settle(lease, "acc_2", model=HAIKU, cost=10)
    for period in (f"{YESTERDAY:%Y-%m-%d}", f"{YESTERDAY:%Y-%m-%dT01}"):
        found = await cells(ledger.store, period)
        assert found["key_1", "acc_1", OPUS] == {}
        assert found["key_1", "acc_2", HAIKU]["cost_micros"] == 10
        assert found["key_1", "acc_2", HAIKU].get("estimated") is None
    (row,) = (await report(ledger.store, Ask(YESTERDAY, YESTERDAY + DAY))).rows
    assert told(row, "model", "requests", "cost_micros") == (HAIKU, 1, 10)


async def test_counters_go_after_thirteen_months_and_their_names_no_sooner(ledger: Ledger):
    await ledger.used(at=YESTERDAY)
    lives = [
        await ledger.store._db.call("TTL", key)
        for key in (
            name("count_day", f"{YESTERDAY:%Y-%m-%d}"),
            name("count_hour", f"{YESTERDAY:%Y-%m-%dT00}"),
            name("series", f"{YESTERDAY:%Y-%m}"),
        )
    ]
    assert 396 * 86_400 < lives[0] <= lives[1] <= 400 * 86_400
    assert lives[2] > 400 * 86_400 + 31 * 86_400


async def test_today_by_key_and_model_is_what_is_told_when_nothing_is_asked(ledger: Ledger):
    await ledger.used(cost=5)
    await ledger.used(model=HAIKU, key="key_2", cost=7)
    await ledger.used(at=YESTERDAY)
    found = await report(ledger.store)
    rows = [told(row, "key_name", "model", "cost_micros") for row in found.rows]
    assert rows == [("2", HAIKU, 7), ("1", OPUS, 5)]
    assert (found.total["requests"], found.total["cost_micros"]) == (2, 12)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("key",), [("1", 30), ("2", 4)]),
        (("owner",), [("team", 30), ("", 4)]),
        (("account",), [("acc_1", 24), ("acc_2", 10)]),
        (("model",), [(OPUS, 24), (HAIKU, 10)]),
        (("client",), [("claude-cli", 24), ("Anthropic/Python", 10)]),
    ],
)
async def test_sums_are_told_by_any_dimension_dearest_first(
    ledger: Ledger, tmp_path: Path, by: tuple[str, ...], expected: list[tuple[str, int]]
):
    await ledger.store.keys.change("key_1", {"owner": "team"})
    await ledger.used(cost=20, at=YESTERDAY)
    await ledger.used("acc_2", model=HAIKU, client="Anthropic/Python 2.12.0", cost=10, at=YESTERDAY)
    await ledger.used(key="key_2", cost=4, at=YESTERDAY)
    ask = Ask(YESTERDAY, YESTERDAY + DAY, by)
    found = await report(ledger.store, ask, Archive(tmp_path))
    names = {"key": "key_name", "account": "account_name"}
    assert [told(row, names.get(by[0], by[0]), "cost_micros") for row in found.rows] == expected


async def test_sums_by_time_are_in_its_order(ledger: Ledger):
    first = YESTERDAY.replace(day=1) - DAY
    for at, cost in ((YESTERDAY + HOUR, 2), (YESTERDAY, 1), (first, 4)):
        await ledger.used(at=at, cost=cost)
    by_hour = await report(ledger.store, Ask(YESTERDAY, YESTERDAY + DAY, ("hour",)))
    assert [told(row, "hour", "cost_micros") for row in by_hour.rows] == [
        (f"{YESTERDAY:%Y-%m-%dT00}", 1),
        (f"{YESTERDAY:%Y-%m-%dT01}", 2),
    ]
    by_month = await report(ledger.store, Ask(first - DAY, None, ("month", "day")))
    assert [told(row, "month", "day", "cost_micros") for row in by_month.rows] == [
        (f"{first:%Y-%m}", f"{first:%Y-%m-%d}", 4),
        (f"{YESTERDAY:%Y-%m}", f"{YESTERDAY:%Y-%m-%d}", 3),
    ]


async def test_a_period_may_begin_and_end_within_a_day(ledger: Ledger):
    for hour in range(5):
        await ledger.used(at=YESTERDAY + hour * HOUR, cost=10**hour)
    found = await report(ledger.store, Ask(YESTERDAY + HOUR, YESTERDAY + 3 * HOUR))
    assert found.total["cost_micros"] == 110


async def test_a_part_can_be_asked_for(ledger: Ledger):
    await ledger.used(cost=1)
    await ledger.used("acc_2", model=HAIKU, cost=10)
    await ledger.used(key="key_2", cost=100)
    asks = (Ask(key_id="key_1"), Ask(account_id="acc_1"), Ask(model="claude-h*"))
    sums = [(await report(ledger.store, ask)).total["cost_micros"] for ask in asks]
    assert sums == [11, 101, 10]


async def test_a_period_off_the_hour_is_answered_from_the_records(ledger: Ledger, tmp_path: Path):
    for minute, cost in ((9, 1), (10, 2), (29, 4), (30, 8)):
        await ledger.used(at=YESTERDAY + timedelta(minutes=minute), cost=cost)
    ask = Ask(YESTERDAY + timedelta(minutes=10), YESTERDAY + timedelta(minutes=30))
    (row,) = (await report(ledger.store, ask, Archive(tmp_path))).rows
    assert told(row, "requests", "cost_micros", "input_tokens") == (2, 6, 20)
    assert "refused" not in row.counters


async def test_where_no_records_are_kept_what_needs_them_is_refused(ledger: Ledger, tmp_path: Path):
    await ledger.store.usage.trim(int(YESTERDAY.timestamp() * 1000))
    ask = Ask(YESTERDAY - DAY, YESTERDAY, ("client",))
    with pytest.raises(UsageProblem, match="Records go back to"):
        await report(ledger.store, ask, Archive(tmp_path))
    later = Ask(YESTERDAY, None, ("client",))
    assert (await report(ledger.store, later, Archive(tmp_path))).rows == ()


async def test_a_replaced_estimate_is_not_counted_for_its_client(ledger: Ledger, tmp_path: Path):
    lease = await ledger.admit()
    await ledger.settle(lease, state="recovered", client="", cost=3)
    await ledger.settle(lease, cost=10)
    await ledger.settle(await ledger.admit(), state="recovered", client="", cost=5)
    found = await report(ledger.store, Ask(by=("client",)), Archive(tmp_path))
    rows = [told(row, "client", "requests", "cost_micros") for row in found.rows]
    assert rows == [("claude-cli", 1, 10), ("unknown", 1, 5)]


async def test_a_key_that_was_deleted_is_told_by_its_id(ledger: Ledger):
    await ledger.used()
    await ledger.store.keys.remove("key_1", ["hkey_1"])
    (row,) = (await report(ledger.store)).rows
    assert row.key_name == "key_1 (deleted)"


async def test_a_key_learns_of_its_own_usage_today_and_this_month(ledger: Ledger):
    now = datetime.now(UTC)
    await ledger.used(cost=1)
    await ledger.used(at=now.replace(day=1, hour=0), model=HAIKU, cost=10)
    await ledger.used(at=now.replace(day=1) - DAY, cost=100)
    await ledger.used(key="key_2", cost=1000)
    found = await usage.of_key(ledger.store, "key_1")
    month = {model: counters["cost_micros"] for model, counters in found.month.items()}
    assert month == {OPUS: 1, HAIKU: 10}
    assert found.today[OPUS]["requests"] == 1
    stranger = await usage.of_key(ledger.store, "key_3")
    assert (stranger.today, stranger.month) == ({}, {})


async def refused(office: Office, model: str = OPUS) -> None:
    call = Call("messages", "POST", b"/v1/messages", b"", model=model)
    with pytest.raises(RelayError):
        async with office.leases.admit("req_1", office.ref, call):
            raise AssertionError("nothing may run")


async def test_refusals_are_counted_by_reason_with_the_next_heartbeat(office: Office):
    await office.keys.edit("alice", models=["claude-haiku-*"])
    await refused(office)
    await refused(office, "made-up")
    await office.keys.set_enabled("alice", enabled=False)
    await refused(office)
    assert (await report(office.store)).rows == ()
    await office.leases.refusals.write()
    await office.leases.refusals.write()
    rows = {row.model: row for row in (await report(office.store)).rows}
    # By reason, not by model: a client can invent those.
    assert list(rows) == ["unknown"]
    assert rows["unknown"].refusals == {"refused_disabled": 1, "refused_key_model": 2}
    assert told(rows["unknown"], "key_name", "refused", "requests") == ("alice", 3, 0)
    assert await office.store.usage.records(5) == []


async def test_refusals_that_redis_did_not_take_are_counted_later(own_redis: RedisProcess):
    async with office_at(own_redis.url) as office:
        await office.keys.set_enabled("alice", enabled=False)
        await refused(office)
        own_redis.kill()
        with pytest.raises(RedisAway):
            await office.leases.refusals.write()
        own_redis.start()
        await office.leases.refusals.write()
        assert (await report(office.store)).total["refused"] == 1


async def test_the_report_of_a_day_has_the_names_and_figures_that_were_agreed(ledger: Ledger):
    await ledger.used(at=YESTERDAY, tokens=Tokens(1, 2, 3, 4, 5), cost=1_500_000)
    await ledger.used(at=YESTERDAY, key="key_2", tokens=Tokens(10, 20), cost=250_000, error="cut")
    await ledger.used(at=YESTERDAY, model=HAIKU, tokens=Tokens(100, 0), cost=1)
    await ledger.used(cost=1)
    assert await usage.daily(ledger.store, PRICES, YESTERDAY.date()) == {
        "date": f"{YESTERDAY:%Y-%m-%d}",
        "totalRequests": 3,
        "totalTokens": 145,
        "uniqueUsers": 2,
        "errorRate": 33.33,
        "cost": 1.750001,
        "topModels": [
            {"model": OPUS, "requests": 2, "tokens": 45, "cost": 1.75},
            {"model": HAIKU, "requests": 1, "tokens": 100, "cost": 0.000001},
        ],
        "unpricedModels": [],
    }


async def test_the_report_of_an_empty_day_has_no_error_rate_but_zero(ledger: Ledger):
    made = await usage.daily(ledger.store, PRICES, YESTERDAY.date())
    assert (made["totalRequests"], made["errorRate"], made["topModels"]) == (0, 0.0, [])


@pytest.mark.parametrize("days", [-1, 500])
async def test_there_is_no_report_of_a_day_to_come_or_long_ago(ledger: Ledger, days: int):
    with pytest.raises(UsageProblem, match="no report"):
        await usage.daily(ledger.store, PRICES, datetime.now(UTC).date() - timedelta(days=days))


def at(day: date, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)


async def test_a_days_report_is_kept_and_told_once_five_minutes_after_its_end(ledger: Ledger):
    today = YESTERDAY.date() + DAY
    await ledger.used(at=YESTERDAY, cost=250_000)
    await usage.save_due(ledger.store, PRICES, at(today, "00:04:59"))
    assert await usage.kept_reports(ledger.store) == []
    for _ in range(2):
        await usage.save_due(ledger.store, PRICES, at(today, "00:05:00"))
    (kept,) = await usage.kept_reports(ledger.store)
    assert (kept["date"], kept["cost"]) == (f"{YESTERDAY:%Y-%m-%d}", 0.25)
    (alert,) = await ledger.store.alerts.newest(5)
    assert (alert["event"], alert["date"], alert["totalRequests"]) == ("report", kept["date"], "1")
    assert json.loads(alert["topModels"]) == kept["topModels"]
    assert alert["text"] == (
        "1 requests with 1 keys, 15 tokens, $0.25; 0.00 % failed."
        "\nclaude-opus-5: 1 requests, 15 tokens, $0.25"
    )


async def test_reports_of_days_without_a_relay_are_made_up_for(ledger: Ledger):
    today = YESTERDAY.date() + DAY
    await ledger.used(at=YESTERDAY - 3 * DAY)
    await usage.save_due(ledger.store, PRICES, at(today - 3 * DAY, "00:05:00"))
    await ledger.used(at=YESTERDAY - 2 * DAY)
    await usage.save_due(ledger.store, PRICES, at(today, "09:00:00"))
    days = [one["date"] for one in await usage.kept_reports(ledger.store)]
    assert days == [f"{YESTERDAY - back * DAY:%Y-%m-%d}" for back in range(4)]
    alerts = [alert["date"] for alert in await ledger.store.alerts.newest(9)]
    assert alerts == [days[0], days[2], days[3]]


async def test_a_relay_without_any_request_yet_makes_no_report(ledger: Ledger):
    await usage.save_due(ledger.store, PRICES)
    assert await usage.kept_reports(ledger.store) == await ledger.store.alerts.newest(1) == []


async def test_spending_by_day_and_reports_go_with_the_counters_of_their_days(ledger: Ledger):
    await ledger.used(cost=5)
    now = datetime.now(UTC)
    old, young = (f"{now - timedelta(days=days):%Y-%m-%d}" for days in (401, 399))
    fields = (old, 1, f"{old}:requests", 2, young, 3)
    await ledger.store._db.call("HSET", name("spend", "key:key_1"), *fields)
    for day in (old, young):
        await ledger.store.usage.keep_report(day, "{}", {})
    await usage.prune(ledger.store)
    left = await ledger.store._db.hash(name("spend", "key:key_1"))
    assert old not in left
    assert f"{old}:requests" not in left
    assert (left[young], left["total"], left[f"{now:%Y-%m-%d}"]) == ("3", "5", "5")
    assert list(await ledger.store.usage.reports()) == [young]


async def test_own_errors_are_counted_by_minute_and_forgotten_after_an_hour(opened: Store):
    await opened.usage.count_own_errors({(0, "a (api)"): 2, (3, "a (api)"): 1, (9, "b (api)"): 5})
    await opened.usage.count_own_errors({(0, "a (api)"): 1})
    now_ms = await opened.upkeep.now_ms()

    assert await opened.usage.own_errors(now_ms - 300_000, now_ms) == {"a (api)": 4}
    places = await opened._db.call("KEYS", name("own_errors", "*"))
    assert len(places) == 3
    for place in places:
        assert 0 < await opened._db.call("TTL", place) <= 3600


async def test_own_errors_wait_for_redis_as_long_as_they_would_stand_there(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
):
    minute = 1000
    monkeypatch.setattr("relay.own_errors._minute", lambda: minute)
    async with store.opened(own_redis.url) as opened:
        counts = OwnErrors(opened)
        counts.count("api", "internal_error")
        own_redis.kill()
        with pytest.raises(RedisAway):
            await counts.write()
        minute += 3
        counts.count("api", "internal_error")
        own_redis.start()
        await counts.write()
        await counts.write()
        now_ms = await opened.upkeep.now_ms()
        last = await opened.usage.own_errors(now_ms - 60_000, now_ms)
        all_ = await opened.usage.own_errors(now_ms - 300_000, now_ms)
        counts.count("api", "internal_error")
        minute += 60
        await counts.write()

        assert (last, all_) == ({"internal_error (api)": 1}, {"internal_error (api)": 2})
        assert await opened.usage.own_errors(now_ms - 3_600_000, now_ms) == all_
