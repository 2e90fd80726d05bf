"""Each amount counts under the model that was billed, in every place that adds usage up."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from relay.audit import Audit
from relay.pricing import Part, Prices, Tokens
from relay.repricing import Repricing
from relay.store import Booking, name
from relay.usage import Archive, Ask, Attempt, Record, Share, counters, report, tidy, verify
from relay.vault import Vault

from .ledger import HAIKU, OPUS, Ledger

DAY = timedelta(days=1)
YESTERDAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - DAY
NEW = "claude-opus-9"
# An answer of Haiku's, beside which Opus advised.
OWN, ADVICE = Tokens(10, 5), Tokens(1000, 100)
SHARES = (Share(HAIKU, OWN, 35), Share(OPUS, ADVICE, 7500))
Sums = dict[tuple[str, str], tuple[int, int, int]]


def attempt(shares: tuple[Share, ...] = SHARES, **fields: object) -> Attempt:
    tokens, cost = Tokens(), 0
    for share in shares:
        tokens, cost = tokens.plus(share.tokens), cost + share.cost_micros
    given = {"shares": shares, **fields}
    return Attempt("acc_1", "acc_1", "ok", 200, "", tokens, cost, False, 1, 2, **given)  # type: ignore[arg-type]


def record(lease: str, *attempts: Attempt) -> Record:
    return Record(
        request_id=lease, time="", key_id="key_1", key_name="1", session="", agent="",
        client="claude-cli/2.1", dialect="anthropic", model=HAIKU, model_served=HAIKU,
        stream=False, status=200, stop_reason="", error="", affinity="",
        cost_micros=sum(one.cost_micros for one in attempts), first_byte_ms=1, duration_ms=2,
        attempts=attempts,
    )  # fmt: skip


async def settle(ledger: Ledger, lease: str, *attempts: Attempt, state: str = "settled") -> None:
    made = record(lease, *attempts)
    booking = Booking(lease, state, HAIKU, counters(made, HAIKU), made.to_json())
    assert await ledger.store.leases.settle(booking)


async def sums(ledger: Ledger, kept: Archive, *by: str) -> Sums:
    """Requests, output tokens and micro-dollars by model."""
    found = await report(ledger.store, Ask(YESTERDAY - DAY, by=(*by, "model")), kept)
    return {
        (row.client, row.model): tuple(
            row.counters[counter] for counter in ("requests", "output_tokens", "cost_micros")
        )  # type: ignore[misc]
        for row in found.rows
    }


async def test_counters_records_and_files_put_an_advisors_cost_under_its_model(
    ledger: Ledger, kept: Archive
):
    await settle(ledger, await ledger.admit(at=YESTERDAY), attempt())
    expected = {("", HAIKU): (1, 5, 35), ("", OPUS): (0, 100, 7500)}
    assert await sums(ledger, kept) == expected
    of_records = {("claude-cli", model): row for (_, model), row in expected.items()}
    assert await sums(ledger, kept, "client") == of_records
    await tidy(ledger.store, kept, retention_days=90, most_bytes=1)
    assert kept.days()
    assert await sums(ledger, kept, "client") == of_records
    assert (await verify(ledger.store, kept)).differences == ()
    assert int(await ledger.store._db.call("HGET", name("spend", "relay"), "total")) == 7535


async def test_a_late_settlement_takes_each_models_estimate_back(ledger: Ledger, kept: Archive):
    lease = await ledger.admit(at=YESTERDAY)
    await settle(ledger, lease, attempt((SHARES[1],)), attempt((Share(HAIKU, OWN, 3),)),
                 state="recovered")  # fmt: skip
    assert await sums(ledger, kept) == {("", HAIKU): (1, 5, 3), ("", OPUS): (0, 100, 7500)}
    await settle(ledger, lease, attempt((Share(HAIKU, OWN, 35), Share(NEW, ADVICE, 9))))
    assert await sums(ledger, kept) == {("", HAIKU): (1, 5, 35), ("", NEW): (0, 100, 9)}
    assert (await verify(ledger.store, kept)).differences == ()
    assert int(await ledger.store._db.call("HGET", name("spend", "key:key_1"), "total")) == 44


async def test_what_the_previous_release_stored_agrees_as_it_did(ledger: Ledger, kept: Archive):
    """It counted all of an attempt under the record's model, also where `parts` named others."""
    lease = await ledger.admit(at=YESTERDAY)
    parts = (Part(HAIKU, OWN), Part(OPUS, ADVICE, "advisor_message"))
    made = record(lease, Attempt("acc_1", "acc_1", "ok", 200, "", OWN.plus(ADVICE), 7535, False,
                                 1, 2, parts))  # fmt: skip
    stored = made.to_json().replace(b',"shares":[]', b"")
    assert b"shares" not in stored
    await ledger.store.leases.settle(
        Booking(lease, "settled", HAIKU, counters(made, HAIKU), stored)
    )
    assert await sums(ledger, kept) == {("", HAIKU): (1, 105, 7535)}
    assert (await verify(ledger.store, kept)).differences == ()


async def test_days_are_booked_anew_under_the_model_whose_price_was_missing(
    ledger: Ledger, kept: Archive, tmp_path: Path
):
    before = Prices.load()
    parts = (Part(HAIKU, OWN), Part(NEW, ADVICE, "advisor_message"))
    shares = tuple(
        Share(model, part.tokens, micros)
        for part, (model, micros) in zip(parts, before.shares(parts), strict=True)
    )
    booked = attempt(shares, parts=parts, unpriced=(NEW,))
    await settle(ledger, await ledger.admit(at=YESTERDAY), booked)
    file = tmp_path / "mine.toml"
    file.write_text(f'[[row]]\nname = "Opus 9"\nmodels = ["{NEW}"]\ninput = "6"\noutput = "30"\n')
    repricing = Repricing(
        ledger.store, kept, Prices.load(file), Audit(ledger.store, Vault("e" * 32, "j" * 32))
    )
    found = await repricing.run((YESTERDAY - DAY).date())
    # 1000 at $6 and 100 at $30, instead of $15 and $75.
    assert [(line.model, line.before_micros, line.after_micros) for line in found.lines] == [
        (NEW, 22_500, 9_000)
    ]
    assert await sums(ledger, kept) == {("", HAIKU): (1, 5, 35), ("", NEW): (0, 100, 9000)}
    assert (await verify(ledger.store, kept)).differences == ()
    assert not (await repricing.run((YESTERDAY - DAY).date())).lines
