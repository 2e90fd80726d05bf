"""Days booked anew: every counter follows, each request once, and what cannot be is named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from relay import usage
from relay.audit import Audit
from relay.pricing import Part, Prices, Tokens
from relay.repricing import Repricing
from relay.store import Booking, RedisAway, Store, name
from relay.usage import Archive, Attempt, Plan, Record, UsageProblem, counters, reprice, verify
from relay.vault import Vault

from .ledger import HAIKU, Ledger

NEW = "claude-opus-9"
DAY = timedelta(days=1)
NOW = datetime.now(UTC)
YESTERDAY = NOW.replace(hour=12, minute=0, second=0, microsecond=0) - DAY
BEFORE = Prices.load()
VAULT = Vault("e" * 32, "j" * 32)
TOKENS = Tokens(input=1000, output=100)
# 1,000 at $15 and 100 at $75 per million, and 1,000 at $6 and 100 at $30.
OLD, RIGHT = 22_500, 9_000
ROW = f'[[row]]\nname = "Opus 9"\nmodels = ["{NEW}"]\ninput = "6"\noutput = "30"\n'


def prices_of(folder: Path, rows: str = ROW) -> Prices:
    file = folder / "mine.toml"
    file.write_text(rows)
    return Prices.load(file)


def attempt(
    account: str, parts: tuple[Part, ...], prices: Prices, *, batch: bool = False
) -> Attempt:
    tokens = Tokens()
    for part in parts:
        tokens = tokens.plus(part.tokens)
    cost = prices.charge(parts, batch=batch)
    unpriced = prices.unpriced(parts)
    return Attempt(account, account, "ok", 200, "", tokens, cost, False, 1, 2,
                   parts if unpriced else (), (), unpriced)  # fmt: skip


async def book(
    ledger: Ledger,
    *attempts: Attempt,
    at: datetime = YESTERDAY,
    key: str = "key_1",
    model: str = NEW,
    state: str = "settled",
    **fields: object,
) -> str:
    """A request on the books; its id."""
    lease = await ledger.admit(key, at=at)
    made = attempts or (attempt("acc_1", (Part(model, TOKENS),), BEFORE),)
    record = Record(
        request_id=lease, time="", key_id=key, key_name=key[4:], session="", agent="",
        client="claude-cli/2.1", dialect="anthropic", model=model, model_served=model,
        stream=False, status=200, stop_reason="", error="", affinity="",
        cost_micros=sum(one.cost_micros for one in made), first_byte_ms=1, duration_ms=2,
        attempts=made, prices=BEFORE.version,
    )  # fmt: skip
    record = replace(record, **fields)  # type: ignore[arg-type]
    booking = Booking(lease, state, model, counters(record, model), record.to_json())
    assert await ledger.store.leases.settle(booking)
    return lease


def repricing(store: Store, kept: Archive, prices: Prices) -> Repricing:
    return Repricing(store, kept, prices, Audit(store, VAULT))


async def spent(store: Store, scope: str, field: str) -> int:
    return int(await store._db.call("HGET", name("spend", scope), field) or 0)


async def assert_sound(store: Store, kept: Archive) -> None:
    verdict = await verify(store, kept)
    assert verdict.differences == ()


async def cost(store: Store, kept: Archive, *by: str) -> dict[tuple[str, ...], int]:
    found = await usage.report(store, usage.Ask(YESTERDAY - 3 * DAY, by=by), kept)
    fields = {"key": "key_id", "account": "account_id"}
    return {
        tuple(getattr(row, fields.get(one, one)) for one in by): row.counters["cost_micros"]
        for row in found.rows
    }


async def run(ledger: Ledger, kept: Archive, prices: Prices, **how: bool) -> Plan:
    since = (YESTERDAY - DAY).date()
    return await repricing(ledger.store, kept, prices).run(since, **how)


async def test_a_dry_run_shows_the_difference_by_day_key_and_model_and_changes_nothing(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    await book(ledger)
    await book(ledger, key="key_2")
    await ledger.used(at=YESTERDAY, model=HAIKU)
    found = await run(ledger, kept, prices_of(tmp_path), dry_run=True)
    lines = [(one.day, one.key_name, one.model, one.records, one.before_micros, one.after_micros)
             for one in found.lines]  # fmt: skip
    day = f"{YESTERDAY:%Y-%m-%d}"
    assert lines == [(day, "1", NEW, 2, 2 * OLD, 2 * RIGHT), (day, "2", NEW, 1, OLD, RIGHT)]
    assert (await cost(ledger.store, kept, "model"))[(NEW,)] == 3 * OLD
    assert await ledger.store.audit.newest(1) == []


async def test_every_counter_and_sum_follows_and_the_books_agree(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    store = ledger.store
    await store._db.call("HSET", name("key", "key_1"), "owner", "team")
    await book(ledger)
    await book(ledger, at=NOW - timedelta(minutes=1))
    await run(ledger, kept, prices_of(tmp_path))
    for by in ("key", "account", "model", "client", "month"):
        found = await cost(store, kept, by)
        assert sum(found.values()) == 2 * RIGHT, by
    by_day = await cost(store, kept, "day")
    assert by_day[(f"{YESTERDAY:%Y-%m-%d}",)] == RIGHT
    for scope in ("key:key_1", "owner:team", "account:acc_1", "relay"):
        assert await spent(store, scope, f"{YESTERDAY:%Y-%m-%d}") == RIGHT, scope
        assert await spent(store, scope, "total") == 2 * RIGHT, scope
    total = (await usage.report(store, usage.Ask(YESTERDAY - DAY))).total
    assert (total["requests"], total["output_tokens"]) == (2, 200)
    await assert_sound(store, kept)


async def test_a_budget_that_still_runs_has_room_again(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger, at=NOW)
    fields = ("HSET", name("key", "key_1"), "budgets", f"total strict {OLD}")
    await ledger.store._db.call(*fields)
    await run(ledger, kept, prices_of(tmp_path))
    (budget,) = await ledger.store.usage.budgets_used("", ["key:key_1"])
    assert budget["used"] == RIGHT


async def test_a_second_run_finds_nothing_more(ledger: Ledger, kept: Archive, tmp_path: Path):
    await book(ledger)
    prices = prices_of(tmp_path)
    assert len((await run(ledger, kept, prices)).corrections) == 1
    assert (await run(ledger, kept, prices)).lines == []
    assert (await cost(ledger.store, kept, "model"))[(NEW,)] == RIGHT
    assert len(await Audit(ledger.store, VAULT).newest(5)) == 1


async def test_another_price_later_corrects_what_was_corrected(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    await run(ledger, kept, prices_of(tmp_path))
    dearer = prices_of(tmp_path, ROW.replace('"6"', '"7"'))
    (line,) = (await run(ledger, kept, dearer)).lines
    assert (line.before_micros, line.after_micros) == (RIGHT, RIGHT + 1000)
    await assert_sound(ledger.store, kept)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
async def test_a_run_that_breaks_off_is_ended_by_the_next_one(
    ledger: Ledger, kept: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
):
    for _ in range(4):
        await book(ledger)
    prices, store, count = prices_of(tmp_path), ledger.store, 0
    correct = store.usage.correct

    async def breaking(*args: object) -> bool:
        nonlocal count
        if count == done:
            raise RedisAway("gone")
        count += 1
        return await correct(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reprice, "_BOOKED_AT_ONCE", 1)
    monkeypatch.setattr(store.usage, "correct", breaking)
    with pytest.raises(RedisAway):
        await run(ledger, kept, prices)
    monkeypatch.setattr(store.usage, "correct", correct)
    await assert_sound(store, kept)
    assert len((await run(ledger, kept, prices)).corrections) == 4 - done
    assert (await cost(store, kept, "model"))[(NEW,)] == 4 * RIGHT
    await assert_sound(store, kept)


async def test_of_two_runs_at_one_time_one_books(ledger: Ledger, kept: Archive, tmp_path: Path):
    for _ in range(5):
        await book(ledger)
    prices, refused = prices_of(tmp_path), []

    async def one() -> None:
        try:
            await run(ledger, kept, prices)
        except UsageProblem as problem:
            refused.append(str(problem))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert (await cost(ledger.store, kept, "model"))[(NEW,)] == 5 * RIGHT
    assert all("Another run" in why for why in refused)


async def test_a_run_that_lost_its_lock_books_nothing_more(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    prices, store = prices_of(tmp_path), ledger.store
    since = YESTERDAY.date()
    owner = await usage.lock(store)
    made = await usage.plan(store, kept, prices, since)
    await store.unlock(usage.LOCK, owner)
    await run(ledger, kept, prices)
    with pytest.raises(UsageProblem, match="another run"):
        await usage.book(store, owner, made.corrections)
    assert (await cost(store, kept, "model"))[(NEW,)] == RIGHT


@pytest.mark.parametrize("moved", ["before", "between", "after"])
async def test_records_in_the_files_of_days_are_corrected_as_well(
    ledger: Ledger, kept: Archive, tmp_path: Path, moved: str
):
    async def move() -> None:
        entries = await ledger.store.usage.oldest(100)
        kept.append(entries)
        await ledger.store.usage.forget(entries[-1].id)

    await book(ledger)
    prices = prices_of(tmp_path)
    if moved == "before":
        await move()
    await run(ledger, kept, prices)
    if moved != "before":
        await move()
    if moved == "after":
        await book(ledger)
    found = await run(ledger, kept, prices)
    assert len(found.corrections) == int(moved == "after")
    count = 2 if moved == "after" else 1
    assert (await cost(ledger.store, kept, "model"))[(NEW,)] == count * RIGHT
    await assert_sound(ledger.store, kept)


async def test_days_whose_records_are_gone_are_named_and_left(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger, at=YESTERDAY - DAY)
    await book(ledger)
    since = YESTERDAY.replace(hour=0)
    await ledger.store._db.call(
        "SET", name("usage_since"), int(since.timestamp() * 1000) - 3600_000
    )
    found = await run(ledger, kept, prices_of(tmp_path))
    assert "no longer kept" in found.refused[f"{YESTERDAY - DAY:%Y-%m-%d}"]
    by_day = await cost(ledger.store, kept, "day")
    assert by_day == {(f"{YESTERDAY - DAY:%Y-%m-%d}",): OLD, (f"{YESTERDAY:%Y-%m-%d}",): RIGHT}


async def test_a_day_whose_counters_do_not_agree_with_its_records_is_left(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    await book(ledger, at=NOW)
    # A record of yesterday lies in the files of another machine.
    oldest = (await ledger.store.usage.oldest(1))[0]
    await book(ledger)
    await ledger.store.usage.forget(oldest.id)
    found = await run(ledger, kept, prices_of(tmp_path))
    assert list(found.refused) == [f"{YESTERDAY:%Y-%m-%d}"]
    by_day = await cost(ledger.store, kept, "day")
    assert by_day[(f"{YESTERDAY:%Y-%m-%d}",)] == 2 * OLD
    assert by_day[(f"{NOW:%Y-%m-%d}",)] == RIGHT


async def test_a_request_of_the_day_before_stays_as_it_is_though_it_ended_later(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger, at=YESTERDAY - 2 * DAY)
    await book(ledger)
    found = await run(ledger, kept, prices_of(tmp_path))
    assert [one.day for one in found.lines] == [f"{YESTERDAY:%Y-%m-%d}"]
    assert (await cost(ledger.store, kept, "model"))[(NEW,)] == OLD + RIGHT


async def test_an_hour_whose_counters_were_dropped_stays_dropped(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    hour = f"{YESTERDAY:%Y-%m-%dT%H}"
    await ledger.store._db.call("UNLINK", name("count_hour", hour))
    await ledger.store._db.call("SET", name("hours_dropped"), hour)
    assert len((await run(ledger, kept, prices_of(tmp_path))).corrections) == 1
    assert not await ledger.store._db.call("EXISTS", name("count_hour", hour))
    await assert_sound(ledger.store, kept)


async def test_a_key_that_is_gone_gets_no_spending_back(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    await ledger.store._db.call("DEL", name("key", "key_1"), name("spend", "key:key_1"))
    await run(ledger, kept, prices_of(tmp_path))
    assert not await ledger.store._db.call("EXISTS", name("spend", "key:key_1"))
    assert await spent(ledger.store, "relay", "total") == RIGHT


async def test_each_attempt_is_corrected_at_its_own_account(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    lost = attempt("acc_1", (Part(NEW, Tokens(input=1000)),), BEFORE)
    advised = (Part(HAIKU, TOKENS), Part(NEW, TOKENS, "advisor_message", is_us=True))
    await book(ledger, lost, attempt("acc_2", advised, BEFORE), model=HAIKU)
    prices = prices_of(tmp_path)
    await run(ledger, kept, prices)
    found = await cost(ledger.store, kept, "account")
    assert found == {("acc_1",): 6000, ("acc_2",): prices.charge(advised)}
    await assert_sound(ledger.store, kept)


async def test_an_estimate_is_left_as_long_as_a_late_settlement_may_replace_it(
    ledger: Ledger, kept: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await book(ledger, state="recovered")
    prices = prices_of(tmp_path)
    found = await run(ledger, kept, prices)
    assert (found.lines, list(found.skipped.values())) == ([], [1])
    monkeypatch.setattr(reprice, "_ESTIMATES_SETTLE", timedelta(0))
    assert len((await run(ledger, kept, prices)).corrections) == 1


async def test_a_batch_is_booked_anew_at_half_price_unless_its_price_goes_by_the_prompt(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    half = attempt("acc_1", (Part(NEW, TOKENS),), BEFORE, batch=True)
    await book(ledger, half, kind="batch")
    by_prompt = ROW + 'above = { tokens = 500, input = "9", output = "9" }\n'
    found = await run(ledger, kept, prices_of(tmp_path, by_prompt))
    assert (found.lines, list(found.skipped.values())) == ([], [1])
    (line,) = (await run(ledger, kept, prices_of(tmp_path))).lines
    assert (line.before_micros, line.after_micros) == (OLD // 2, RIGHT // 2)


async def test_what_another_table_booked_is_taken_only_where_it_is_asked_for(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger, model=HAIKU)
    cheaper = prices_of(tmp_path, ROW.replace(NEW, HAIKU))
    assert (await run(ledger, kept, cheaper)).lines == []
    (line,) = (await run(ledger, kept, cheaper, older=True)).lines
    assert (line.before_micros, line.after_micros) == (1500, RIGHT)
    assert (await run(ledger, kept, cheaper, older=True)).lines == []


async def test_the_stored_report_of_the_day_is_made_anew(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    await book(ledger)
    await usage.save_due(ledger.store, BEFORE, NOW.replace(hour=0, minute=6))
    await run(ledger, kept, prices_of(tmp_path))
    (stored,) = await usage.kept_reports(ledger.store)
    assert (stored["cost"], stored["unpricedModels"]) == (RIGHT / 1_000_000, [])


async def test_the_audit_says_what_was_booked_anew(ledger: Ledger, kept: Archive, tmp_path: Path):
    await book(ledger)
    prices = prices_of(tmp_path)
    await run(ledger, kept, prices)
    (entry,) = await Audit(ledger.store, VAULT).newest(5)
    assert (entry.action, entry.subject) == ("usage.reprice", prices.version)
    assert (entry.before["cost_micros"], entry.after["cost_micros"]) == (OLD, RIGHT)
    assert (entry.after["records"], entry.after["from"]) == (1, f"{YESTERDAY - DAY:%Y-%m-%d}")
