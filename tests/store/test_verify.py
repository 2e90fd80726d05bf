"""The counters are compared with the records, while requests go on, and never accused wrongly."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio

from relay.store import Booking, name
from relay.usage import Archive, UsageProblem, tidy, verify

from .ledger import HAIKU, OPUS, Ledger

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - DAY
SINCE = YESTERDAY - 2 * DAY


async def differences(ledger: Ledger, kept: Archive) -> list[tuple[str, str, int, int]]:
    found = await verify(ledger.store, kept, SINCE)
    return [(one.period, one.counter, one.stored, one.of_records) for one in found.differences]


async def a_bit_of_everything(ledger: Ledger) -> None:
    await ledger.used(at=YESTERDAY + 3 * HOUR)
    await ledger.used("acc_1", "acc_2", at=YESTERDAY + 4 * HOUR, error="cut")
    await ledger.used(model=HAIKU, key="key_2", affinity="moved")
    lost = await ledger.admit(at=YESTERDAY + 5 * HOUR)
    await ledger.settle(lost, state="recovered", cost=3)
    found_again = await ledger.admit(at=YESTERDAY + 6 * HOUR)
    await ledger.settle(found_again, state="recovered", cost=3)
    await ledger.settle(found_again, "acc_2", model=HAIKU, cost=10)
    never_ran = await ledger.admit(at=YESTERDAY + 7 * HOUR)
    await ledger.settle(never_ran, state="recovered", cost=3)
    await ledger.store.leases.settle(Booking(never_ran, "void"))


async def test_counters_agree_with_records_wherever_these_lie(ledger: Ledger, kept: Archive):
    await a_bit_of_everything(ledger)
    assert await differences(ledger, kept) == []
    await tidy(ledger.store, kept, retention_days=90, most_bytes=1)
    await ledger.used(cost=1)
    found = await verify(ledger.store, kept, SINCE)
    assert (found.differences, found.records) == ((), 6)


@pytest.mark.parametrize("kind", ["count_day", "count_hour"])
async def test_a_counter_that_was_changed_is_found(ledger: Ledger, kept: Archive, kind: str):
    await a_bit_of_everything(ledger)
    period = f"{YESTERDAY:%Y-%m-%d}" + ("T03" if kind == "count_hour" else "")
    redis_key = name(kind, period)
    cell, packed, *_ = await ledger.store._db.call("HGETALL", redis_key)
    amounts = msgspec.msgpack.decode(packed)
    amounts[0] += 1
    await ledger.store._db.call("HSET", redis_key, cell, msgspec.msgpack.encode(amounts))
    assert await differences(ledger, kept) == [(period, "cost_micros", amounts[0], amounts[0] - 1)]


async def test_a_record_that_was_lost_is_found(ledger: Ledger, kept: Archive):
    await ledger.used(at=YESTERDAY, cost=7)
    (entry,) = await ledger.store.usage.oldest(1)
    await ledger.store._db.call("XDEL", name("usage"), entry.id)
    found = await differences(ledger, kept)
    day, hour = f"{YESTERDAY:%Y-%m-%d}", f"{YESTERDAY:%Y-%m-%dT00}"
    assert [(period, stored, ours) for period, what, stored, ours in found
            if what == "cost_micros"] == [(day, 7, 0), (hour, 7, 0)]  # fmt: skip


async def test_a_record_that_was_never_counted_is_found(ledger: Ledger, kept: Archive):
    await ledger.used(at=YESTERDAY, cost=7)
    await ledger.store._db.call("DEL", name("count_hour", f"{YESTERDAY:%Y-%m-%dT00}"))
    found = await differences(ledger, kept)
    assert (f"{YESTERDAY:%Y-%m-%dT00}", "requests", 0, 1) in found
    assert len(found) == 4


async def test_hours_that_were_dropped_for_want_of_memory_raise_no_alarm(
    ledger: Ledger, kept: Archive
):
    await ledger.used(at=YESTERDAY, cost=7)
    # Less than anything takes.
    assert await ledger.store.usage.trim_shares(1e-9) > 0
    assert await differences(ledger, kept) == []


async def test_requests_that_are_settled_meanwhile_raise_no_alarm(ledger: Ledger, kept: Archive):
    is_over = False

    async def settle(number: int) -> None:
        turn = 0
        while not is_over:
            turn += 1
            lease = await ledger.admit(at=YESTERDAY + (turn % 3) * HOUR if number % 2 else None)
            if turn % 5 == 0:
                await ledger.settle(lease, state="recovered", cost=turn)
            await ledger.settle(lease, "acc_2", cost=number)

    async def archive() -> None:
        while not is_over:
            await tidy(ledger.store, kept, retention_days=90, most_bytes=20_000)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(settle, number)
        nursery.start_soon(archive)
        verdicts = [await verify(ledger.store, kept, SINCE) for _ in range(10)]
        is_over = True
    assert [one.differences for one in verdicts] == [()] * 10
    counts = [one.records for one in verdicts]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert kept.days()


async def test_an_estimate_that_is_replaced_while_we_compare_raises_no_alarm(
    ledger: Ledger, kept: Archive, monkeypatch: pytest.MonkeyPatch
):
    lease = await ledger.admit(at=YESTERDAY)
    await ledger.settle(lease, state="recovered", cost=3)
    read = ledger.store.usage.newest_first
    is_settled = False

    async def settle_and_read(*given: object) -> object:
        nonlocal is_settled
        if not is_settled:
            is_settled = True
            await ledger.settle(lease, cost=10)
            await ledger.used(at=YESTERDAY)
        return await read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger.store.usage, "newest_first", settle_and_read)
    assert await differences(ledger, kept) == []


async def test_hours_whose_records_are_gone_are_not_compared(ledger: Ledger, kept: Archive):
    await ledger.used(at=YESTERDAY)
    await ledger.store._db.call("DEL", name("usage"))
    await ledger.store.usage.trim(int((YESTERDAY + HOUR).timestamp() * 1000))
    found = await verify(ledger.store, kept)
    assert (found.since, found.differences) == (YESTERDAY + 2 * HOUR, ())
    with pytest.raises(UsageProblem, match="nothing to compare"):
        await verify(ledger.store, kept, None, YESTERDAY + HOUR)


async def test_refusals_have_no_records_and_are_left_out(ledger: Ledger, kept: Archive):
    await ledger.store.usage.count_refused({("key_1", OPUS, "refused_rate"): 3})
    assert await differences(ledger, kept) == []
