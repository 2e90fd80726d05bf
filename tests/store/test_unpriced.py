"""Models without a row in the price table: who says so, how long, and what stands on records."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from relay import usage
from relay.lease import orphan_record
from relay.pricing import Part, Prices, Tokens
from relay.remarks import Remarks
from relay.store import Orphan, Store
from relay.usage import Attempt, Record

from .ledger import HAIKU, Ledger

NEW = "claude-opus-9"
PRICES = Prices.load()
NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y-%m-%d}"


def with_row(folder: Path) -> Prices:
    """Prices that have a row for the new model."""
    file = folder / "mine.toml"
    file.write_text(f'[[row]]\nname = "Opus 9"\nmodels = ["{NEW}"]\ninput = "6"\noutput = "30"\n')
    return Prices.load(file)


async def test_a_model_without_a_row_is_listed_with_its_booked_sum_until_there_is_a_row(
    ledger: Ledger, tmp_path: Path
):
    await ledger.used(model=NEW, cost=700)
    await ledger.used(model=HAIKU, cost=5)
    await usage.note_unpriced(ledger.store, PRICES, [NEW])
    (found,) = await usage.unpriced(ledger.store, PRICES)
    assert (found.model, found.since, found.cost_micros) == (NEW, TODAY, 700)
    assert found.booked_as == PRICES.booked_as(NEW)
    # Another process that knows a row says nothing of it, and forgets it for all.
    better = with_row(tmp_path)
    assert await usage.unpriced(ledger.store, better) == []
    await usage.note_unpriced(ledger.store, better, [])
    assert await usage.unpriced(ledger.store, PRICES) == []


async def test_the_day_on_which_a_model_was_first_noticed_stays(opened: Store):
    await opened.prices.note_unpriced({NEW: "2026-11-01"}, 10)
    await usage.note_unpriced(opened, PRICES, [NEW])
    assert (await opened.prices.unpriced()) == {NEW: "2026-11-01"}


async def test_no_more_models_are_stored_than_may_be(opened: Store):
    await opened.prices.note_unpriced({f"model-{n}": TODAY for n in range(9)}, 5)
    assert len(await opened.prices.unpriced()) == 5


async def test_a_booking_names_models_without_a_row_to_whoever_reports_them():
    remarks = Remarks(PRICES)
    remarks.of([], NEW)
    assert [one.subject for one in remarks.take()] == [NEW]


async def test_the_report_of_a_day_names_models_without_a_row_and_their_cost(ledger: Ledger):
    yesterday = NOW - timedelta(days=1)
    await ledger.used(at=yesterday, model=NEW, cost=250_000)
    # What is counted under a row's name, or under none, is no such model.
    await ledger.used(at=yesterday, model="Haiku 4.5", cost=1)
    await ledger.used(at=yesterday, model="unknown", cost=1)
    made = await usage.daily(ledger.store, PRICES, yesterday.date())
    booked_as = PRICES.booked_as(NEW)
    assert made["unpricedModels"] == [{"model": NEW, "bookedAs": booked_as, "cost": 0.25}]
    at = NOW.replace(hour=0, minute=6)
    await usage.save_due(ledger.store, PRICES, at)
    (alert,) = await ledger.store.alerts.newest(1)
    assert f"no price for {NEW}: booked as {booked_as}, $0.25" in alert["text"]


async def test_the_report_names_them_on_days_without_such_a_request_too(ledger: Ledger):
    await usage.note_unpriced(ledger.store, PRICES, [NEW])
    made = await usage.daily(ledger.store, PRICES, NOW.date())
    assert [one["model"] for one in made["unpricedModels"]] == [NEW]


def test_the_floor_of_a_dead_process_names_its_model_without_a_row_and_the_table():
    orphan = Orphan("req_1", "key_1", "acc_1", NEW, "messages", 0, 100, 40)
    record = orphan_record(orphan, PRICES, NEW)
    (attempt,) = record.attempts
    assert (record.prices, attempt.unpriced) == (PRICES.version, (NEW,))
    assert attempt.parts == (Part(NEW, Tokens(input=100, output=10)),)
    assert attempt.cost_micros == PRICES.cost(NEW, attempt.tokens)


def test_a_record_of_the_release_before_has_no_price_version():
    orphan = Orphan("req_1", "key_1", "acc_1", HAIKU, "messages", 0, 100, 40)
    told = json.loads(orphan_record(orphan, PRICES, HAIKU).to_json())
    del told["prices"]
    for attempt in told["attempts"]:
        del attempt["unpriced"]
    record = msgspec.json.decode(json.dumps(told), type=Record)
    assert (record.prices, record.attempts[0].unpriced) == ("", ())
    assert Attempt.from_json(json.dumps(told["attempts"][0])).unpriced == ()


@pytest.mark.parametrize("multiplier", ["1.1", "0.5"])
def test_an_operators_rows_and_multiplier_show_in_the_version(tmp_path: Path, multiplier: str):
    versions = {PRICES.version, with_row(tmp_path).version,
                Prices.load(multiplier=multiplier).version}  # fmt: skip
    assert len(versions) == 3
    assert all(version.startswith(PRICES.version) for version in versions)
