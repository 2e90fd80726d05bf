"""Alerts are told once, whoever looks and however limits are edited, and delivered by one."""

import json
import time
from collections import Counter

import pytest
import trio

from relay.store import Admitted, Booking, Store, name
from relay.store import opened as open_store

from .conftest import ClockedRedis
from .test_limits import MODEL, admit, settle
from .test_store import with_account, with_key

MARKS = (500, 800, 1000)
DAY_MS = 24 * 3600 * 1000
EVENTS = ("daily_limit", "monthly_limit", "budget", "account_error", "key_expiring", "report")
WEEK_MS = 7 * DAY_MS


async def told(store: Store, marks: tuple[int, ...] = MARKS, budgets: str = "") -> list[str]:
    """Look, and say what has been told so far: event, scope, period and mark, oldest first."""
    while await store.alerts.tell_marks(2, budgets, marks) == 2:
        pass
    found = reversed(await store.alerts.newest(1000))
    return [" ".join(one[part] for part in ("event", "scope", "period", "mark")) for one in found]


async def spent(store: Store, lease: str, cost: int, **changes: object) -> None:
    assert isinstance(await admit(store, lease, **changes), Admitted)
    await settle(store, lease, cost)


@pytest.fixture
async def ready(opened: Store) -> Store:
    await with_account(opened)
    return opened


@pytest.mark.parametrize(
    ("field", "event"), [("daily_limit", "daily"), ("monthly_limit", "monthly")]
)
async def test_requests_are_told_of_at_each_mark_once(ready: Store, field: str, event: str):
    await with_key(ready, **{field: "10"})
    seen = []
    for number in range(10):
        await admit(ready, f"r{number}")
        seen.append(len(await told(ready)))
    assert seen == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    assert await told(ready) == [f"{event}_limit key {event} {mark}" for mark in MARKS]
    newest = (await ready.alerts.newest(1))[0]
    assert (newest["name"], newest["id"], newest["limit"], newest["used"]) == (
        "alice", "key_1", "10", "10",
    )  # fmt: skip


async def test_fifty_settlements_over_two_connections_are_told_of_once(redis_url: str):
    """Both connections look all the while; each mark of each budget is told by one of them."""
    async with open_store(redis_url) as one, open_store(redis_url) as other:
        await with_account(one, budgets="daily soft 90000")
        await with_key(one, budgets="daily soft 100000\ntotal soft 60000", owner="team")
        await one.owners.add("team")
        await one.owners.change("team", {"budgets": "monthly soft 200000"})

        async def request(store: Store, number: int) -> None:
            await spent(store, f"r{number}", 1000)
            await store.alerts.tell_marks(50, "weekly soft 70000", MARKS)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(request, (one, other)[number % 2], number)
        counts = Counter(await told(one, budgets="weekly soft 70000"))
    assert counts == {
        "budget key daily 500": 1,
        "budget key total 500": 1,
        "budget key total 800": 1,
        "budget account daily 500": 1,
        "budget relay weekly 500": 1,
    }


async def test_an_edit_of_a_limit_makes_no_alert_sound_twice(ready: Store):
    await with_key(ready, daily_limit="10", budgets="daily soft 10000")
    for number in range(8):
        await spent(ready, f"a{number}", 1000)
    before = await told(ready)
    assert len(before) == 4
    for limit in ("20", "9", "16", "10"):
        await ready.keys.change(
            "key_1", {"daily_limit": limit, "budgets": f"daily soft {limit}000"}
        )
        await ready._db.call("SADD", name("touched"), "key:key_1")
        assert await told(ready) == before
    await spent(ready, "b", 2000)
    assert sorted(set(await told(ready)) - set(before)) == ["budget key daily 1000"]


async def test_a_budget_for_good_that_is_raised_is_told_of_again(ready: Store):
    await with_key(ready, budgets="total soft 10000")
    await spent(ready, "a", 9000)
    assert await told(ready, (800,)) == ["budget key total 800"]
    for limit, expected in (("20000", 1), ("10000", 1), ("11000", 2), ("10000", 2), ("11000", 2)):
        await ready.keys.change("key_1", {"budgets": f"total soft {limit}"})
        await ready._db.call("SADD", name("touched"), "key:key_1")
        assert len(await told(ready, (800,))) == expected, limit


async def test_a_mark_that_is_new_is_told_of_with_the_next_use(ready: Store):
    await with_key(ready, budgets="daily soft 10000")
    await spent(ready, "a", 5000)
    assert await told(ready, (800,)) == []
    assert await told(ready, (500, 800)) == []
    await spent(ready, "b", 1)
    assert await told(ready, (500, 800)) == ["budget key daily 500"]


async def test_part_of_a_limit_is_exact(ready: Store):
    """0.55 of 100 is 55, which it is not in binary fractions."""
    await with_key(ready, daily_limit="100", rate_max="1000", rate_ms="1000")
    for number in range(54):
        await admit(ready, f"r{number}")
    assert await told(ready, (550,)) == []
    await admit(ready, "last")
    assert len(await told(ready, (550,))) == 1


async def test_keys_without_limits_are_not_looked_at(ready: Store):
    await with_key(ready)
    await admit(ready, "a")
    assert await ready._db.call("EXISTS", name("touched")) == 0


async def test_a_deleted_key_is_not_told_of(ready: Store):
    await with_key(ready, budgets="daily soft 1000")
    await spent(ready, "a", 1000)
    await ready.keys.remove("key_1", ["h1"])
    assert await told(ready) == []
    assert await ready._db.call("EXISTS", name("touched")) == 0


@pytest.mark.root
async def test_a_new_period_starts_afresh_and_a_clock_set_back_repeats_nothing(
    clocked_redis: ClockedRedis,
):
    """Friday to Monday, and the first Monday of the next month."""
    async with open_store(clocked_redis.url) as store:
        await with_account(store)
        await with_key(store, daily_limit="10", monthly_limit="10", budgets="weekly soft 10000")
        for number, days in enumerate((0, 1, 1, 1, 14)):
            clocked_redis.step(days * 24 * 3600)
            await spent(store, f"r{number}", 1000)
            found = await told(store, (100,))
        expected = {"daily_limit": 5, "budget": 3, "monthly_limit": 2}
        assert Counter(one.split()[0] for one in found) == expected
        clocked_redis.step(-24 * 3600)
        await spent(store, "back", 1000)
        clocked_redis.step(24 * 3600)
        await spent(store, "again", 1000)
        assert Counter(one.split()[0] for one in await told(store, (100,))) == expected


async def keys_ending(store: Store, **hours: float) -> None:
    for key_id, after_h in hours.items():
        ends_at = str(round(time.time() * 1000 + after_h * 3_600_000))
        fields = {"name": key_id, "hash": f"h-{key_id}", "enabled": "1", "expires_at": ends_at}
        await store.keys.add(key_id, fields)


async def expiring(store: Store) -> list[str]:
    await store.alerts.tell_expiring(await store.keys.ids(), (DAY_MS, WEEK_MS))
    return [one["id"] for one in reversed(await store.alerts.newest(100))]


async def test_a_key_that_ends_is_told_of_a_week_and_a_day_before(opened: Store):
    await keys_ending(opened, past=-1, hour=1, days=50, weeks=200)
    assert sorted(await expiring(opened)) == ["days", "hour"]
    assert len(await expiring(opened)) == 2
    await keys_ending(opened, later=20)
    assert (await expiring(opened))[2:] == ["later"]
    await opened.keys.change("hour", {"note": "edited"})
    assert len(await expiring(opened)) == 3


@pytest.mark.root
async def test_a_key_that_nears_its_end_is_told_of_twice(clocked_redis: ClockedRedis):
    async with open_store(clocked_redis.url) as store:
        ends_at = str((clocked_redis.now_s + 8 * 24 * 3600) * 1000)
        await with_key(store, expires_at=ends_at)
        counts = []
        for _ in range(9):
            counts.append(len(await expiring(store)))
            clocked_redis.step(24 * 3600)
        assert counts == [0, 1, 1, 1, 1, 1, 1, 2, 2]


async def test_a_disabled_key_may_end_in_silence(opened: Store):
    await keys_ending(opened, days=50)
    await opened.keys.change("days", {"enabled": "0"})
    assert await expiring(opened) == []


async def test_an_alert_with_a_word_is_added_once(opened: Store):
    added = [await opened.alerts.add("report", {"title": "x"}, "monday", 60_000) for _ in range(3)]
    added.append(await opened.alerts.add("report", {"title": "x"}, "tuesday", 60_000))
    added += [await opened.alerts.add("report", {"title": "x"}) for _ in range(2)]
    assert added == [True, False, False, True, True, True]
    assert len(await opened.alerts.newest(100)) == 4


async def claimed(
    store: Store, webhook: str = "wh_1", token: str = "t", **changes: object
) -> str | None:
    """The title of the next alert that a webhook is to get."""
    given = {"life_ms": 60_000, "age_ms": DAY_MS, "events": EVENTS, "marks": (800,), **changes}
    handed = await store.alerts.claim(webhook, token, **given)
    return None if handed is None else handed.fields["title"]


async def report(store: Store, *titles: str, event: str = "report", **fields: str) -> None:
    for title in titles:
        await store.alerts.add(event, {"title": title, **fields})


async def handed_id(store: Store, title: str) -> str:
    rows = await store._db.call("XRANGE", name("alerts"), "-", "+")
    return next(row[0].decode() for row in rows if title.encode() in row[1])


async def book(
    store: Store, title: str, error: str = "", token: str = "t", age_ms: int = DAY_MS, **pauses: int
) -> int:
    given = {"again_ms": 60_000, "rest_ms": 0, **pauses}
    return await store.alerts.book(
        "wh_1", token, await handed_id(store, title), error, age_ms=age_ms, line=title, **given
    )


async def test_each_delivery_is_kept_in_the_webhooks_log_newest_first(opened: Store):
    await claimed(opened)
    await report(opened, "one", "two")
    for title in ("one", "two"):
        assert await claimed(opened) == title
        await book(opened, title)
    await opened.alerts.note_delivery("wh_1", "a test")
    assert await opened.alerts.deliveries("wh_1") == ["a test", "two", "one"]
    assert await opened._db.call("PTTL", name("webhook_log", "wh_1")) > 0


async def test_a_new_webhook_gets_what_happens_from_then_on_in_order(opened: Store):
    await report(opened, "before")
    assert await claimed(opened) is None
    await report(opened, "one", "two")
    assert await claimed(opened) == "one"
    assert await book(opened, "one") == 1
    assert await claimed(opened) == "two"


async def test_a_webhook_gets_its_own_events_and_marks(opened: Store):
    assert await claimed(opened, events=("budget",)) is None
    await report(opened, "other", event="report")
    await report(opened, "low", event="budget", mark="500")
    await report(opened, "high", event="budget", mark="800")
    assert await claimed(opened, events=("budget",)) == "high"
    assert (await opened.alerts.standing("wh_1"))[1] == 1


async def test_one_alert_at_a_time_is_handed_out_however_many_ask(redis_url: str):
    async with open_store(redis_url) as one, open_store(redis_url) as other:
        await claimed(one)
        await report(one, "a", "b")
        got: list[str | None] = []

        async def ask(number: int) -> None:
            got.append(await claimed((one, other)[number % 2], token=f"t{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert Counter(got) == {None: 49, "a": 1}


async def test_what_a_dead_process_had_is_handed_out_again_and_what_was_delivered_is_not(
    opened: Store,
):
    await claimed(opened)
    await report(opened, "a", "b")
    assert await claimed(opened, life_ms=1) == "a"
    await trio.sleep(0.005)
    assert await claimed(opened, token="u", life_ms=1) == "a"
    # The first one lives after all and had delivered it.
    assert await book(opened, "a") == 1
    await trio.sleep(0.005)
    assert await claimed(opened, token="v") == "b"
    assert await book(opened, "a", "too late", token="u") == 0
    assert (await opened.alerts.standing("wh_1"))[1] == 1


async def test_a_failing_webhook_rests_and_others_go_on(opened: Store):
    for webhook in ("wh_1", "wh_2"):
        await claimed(opened, webhook)
    await report(opened, "a", "b")
    assert await claimed(opened) == "a"
    assert await book(opened, "a", "It cannot be reached.", rest_ms=60_000) == 2
    assert await claimed(opened) is None
    assert await claimed(opened, "wh_2") == "a"
    fields, waiting, dead = await opened.alerts.standing("wh_1")
    assert (fields["failures"], fields["error"]) == ("1", "It cannot be reached.")
    assert (waiting, dead) == (2, 0)


async def test_an_alert_that_fails_by_itself_waits_and_lets_others_pass(opened: Store):
    await claimed(opened)
    await report(opened, "a", "b")
    assert await claimed(opened) == "a"
    await book(opened, "a", "status 400")
    assert await claimed(opened) == "b"


async def test_what_is_too_old_is_given_up_and_can_be_revived(opened: Store):
    await claimed(opened)
    await report(opened, "a", "b", "c")
    assert await claimed(opened) == "a"
    assert await book(opened, "a", "status 500", age_ms=1) == 3
    await trio.sleep(0.005)
    # The webhook fails, so what is as old goes with it, untried.
    assert await claimed(opened, age_ms=1) is None
    dead = await opened.alerts.dead("wh_1")
    assert [(one.fields["title"], one.tries, one.error) for one in dead] == [
        ("a", 1, "status 500"),
        ("b", 0, "status 500"),
        ("c", 0, "status 500"),
    ]
    assert await opened.alerts.revive("wh_1", dead[2].id) == 1
    assert await claimed(opened) == "c"
    await book(opened, "c")
    assert await opened.alerts.revive("wh_1") == 2
    assert (await opened.alerts.standing("wh_1"))[1:] == (2, 0)
    assert await claimed(opened) == "a"


async def test_old_alerts_are_delivered_when_nothing_fails(opened: Store):
    """A relay that was off over the weekend still tells."""
    await claimed(opened)
    await report(opened, "a")
    assert await claimed(opened, only_take_in=True) is None
    await trio.sleep(0.005)
    assert await claimed(opened, age_ms=1) == "a"


async def test_a_webhooks_queue_and_its_dead_are_bounded(opened: Store):
    await claimed(opened)
    for start in range(0, 2100, 100):
        async with trio.open_nursery() as nursery:
            for number in range(start, start + 100):
                nursery.start_soon(report, opened, f"n{number}")
        await claimed(opened, only_take_in=True)
    assert (await opened.alerts.standing("wh_1"))[1:] == (1000, 1000)
    assert (await opened.alerts.dead("wh_1"))[0].error == "too many waited"


async def test_what_is_kept_of_a_webhook_nobody_asks_for_ends(opened: Store):
    await claimed(opened)
    await report(opened, "a")
    await claimed(opened)
    for kind in ("webhook", "webhook_due", "webhook_waiting"):
        left_ms = await opened._db.call("PTTL", name(kind, "wh_1"))
        assert WEEK_MS / 2 < left_ms <= WEEK_MS


async def test_an_accounts_trouble_is_handed_out_with_its_fields(opened: Store):
    await with_account(opened)
    await claimed(opened)
    await opened.accounts.book_check("acc_1", "refused", "unauthorized", "status 401", 3)
    given = {"life_ms": 1, "age_ms": 1, "events": EVENTS, "marks": ()}
    handed = await opened.alerts.claim("wh_1", "t", **given)
    assert handed is not None
    told = {field: handed.fields[field] for field in ("event", "name", "state", "reason")}
    assert told == {
        "event": "account_error",
        "name": "main",
        "state": "unauthorized",
        "reason": "status 401",
    }
    assert json.dumps(dict(handed.fields))


async def test_a_failed_booking_of_spending_touches_what_it_takes_back(ready: Store):
    """A late settlement corrects an estimate: both sides are looked at."""
    await with_key(ready, budgets="daily soft 1000")
    await admit(ready, "a")
    counters = {("acc_1", MODEL, "cost_micros"): 100}
    await ready.leases.settle(Booking("a", "recovered", MODEL, counters))
    assert await told(ready) == []
    await settle(ready, "a", 900)
    assert await told(ready, (800,)) == ["budget key daily 800"]
