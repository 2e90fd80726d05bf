"""Booking requests anew by the price table in force, where they were booked without a row.

Records are not rewritten: a correction is a record of its own with the difference, counted where
its request was. It names the record that it corrects, so that what a record costs is what it and
its corrections add up to, and a run that was interrupted, or a second one, books what is left.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from relay.pricing import Part, Prices, days_since_epoch
from relay.store import Correction, Entry, Store
from relay.usage.archive import Archive, day_of, visit
from relay.usage.corrections import PEEK, Costs, correction, costs_of, models_of, sums
from relay.usage.periods import UsageProblem, midnight
from relay.usage.records import Record
from relay.usage.verify import Verdict, verify

LOCK, LOCK_MS = "reprice", 600_000
# What a run holds in memory; another run does the rest.
_MOST = 100_000
_BOOKED_AT_ONCE = 100
# A late settlement may still replace a younger estimate.
_ESTIMATES_SETTLE = timedelta(hours=25)

_RECORD = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Line:
    """What changes for a day (UTC), key and model."""

    day: str
    key_id: str
    key_name: str
    model: str
    records: int
    before_micros: int
    after_micros: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be booked anew.

    Args:
        lines: by day, key and model.
        refused: days that cannot be booked anew, and why.
        skipped: records that cannot be, by reason.
        days: of all records that were looked at for it, also of those that are right already.
        is_cut: whether there is more than one run does.
    """

    version: str
    lines: Sequence[Line]
    refused: Mapping[str, str]
    skipped: Mapping[str, int]
    days: Sequence[str]
    corrections: Sequence[Correction]
    is_cut: bool

    def to_json(self) -> dict[str, object]:
        """All of it by its names, the corrections as their number."""
        sums = {"before_micros": self.before_micros, "after_micros": self.after_micros}
        shown = ("version", "lines", "refused", "skipped", "is_cut")
        return {
            **{name: getattr(self, name) for name in shown},
            **sums,
            "records": len(self.corrections),
        }

    @property
    def before_micros(self) -> int:
        return sum(line.before_micros for line in self.lines)

    @property
    def after_micros(self) -> int:
        return sum(line.after_micros for line in self.lines)


class _Planner:
    """Reads records, first for corrections and then for what is to be corrected."""

    def __init__(
        self, prices: Prices, begin: datetime, refused: Mapping[str, str], *, older: bool
    ) -> None:
        self._prices = prices
        self._begin_ms = int(begin.timestamp() * 1000)
        self._older = older
        self.refused = refused
        self._corrected: dict[str, Costs] = {}
        self._replaced: set[str] = set()
        self._lines: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self.skipped: dict[str, int] = defaultdict(int)
        self.days: set[str] = set()
        self.corrections: list[Correction] = []
        self.is_cut = False

    def note(self, entry: Entry) -> None:
        """Note what an entry corrects or replaces."""
        if entry.replaces:
            self._replaced.add(entry.replaces)
        if entry.state != "repriced":
            return
        peek = PEEK.decode(entry.record)
        before = self._corrected.get(peek.corrects, [])
        self._corrected[peek.corrects] = sums(before, costs_of(peek.attempts))

    def take(self, entry: Entry) -> None:
        """Plan the correction of an entry that needs one."""
        day = f"{datetime.fromtimestamp(entry.at_ms / 1000, UTC):%Y-%m-%d}"
        if entry.at_ms < self._begin_ms or day in self.refused or not self._is_wanted(entry):
            return
        self.days.add(day)
        if entry.state == "recovered":
            settled = datetime.fromtimestamp(int(entry.id.partition("-")[0]) / 1000, UTC)
            if datetime.now(UTC) - settled < _ESTIMATES_SETTLE:
                self.skipped["estimates that a late settlement may still replace"] += 1
                return
        record = _RECORD.decode(entry.record)
        costs = self._costs(entry, record)
        if costs is None:
            self.skipped["batches at a price by the prompt's size, which is not stored"] += 1
            return
        booked = sums(costs_of(record.attempts), self._corrected.get(entry.id, []))
        if booked == costs:
            return
        if len(self.corrections) >= _MOST:
            self.is_cut = True
            return
        self._note_lines(day, entry, record, booked, costs)
        differences = sums(costs, [[-cost for cost in some] for some in booked])
        self.corrections.append(correction(entry, record, differences, self._prices.version))

    def _note_lines(
        self, day: str, entry: Entry, record: Record, booked: Costs, costs: Costs
    ) -> None:
        changed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for attempt, before, after in zip(record.attempts, booked, costs, strict=True):
            for model, old, new in zip(models_of(entry, attempt), before, after, strict=True):
                changed[model][0] += old
                changed[model][1] += new
        for model, (old, new) in changed.items():
            if old != new:
                line = self._lines[day, record.key_id, record.key_name, model]
                line[0] += 1
                line[1] += old
                line[2] += new

    def _is_wanted(self, entry: Entry) -> bool:
        if not entry.record or entry.state == "repriced" or entry.id in self._replaced:
            return False
        peek = PEEK.decode(entry.record)
        unpriced = (model for attempt in peek.attempts for model in attempt.unpriced)
        if any(not self._prices.is_stand_in(model) for model in unpriced):
            return True
        return self._older and peek.prices != self._prices.version

    def _costs(self, entry: Entry, record: Record) -> Costs | None:
        """What everything costs by the prices in force; None where that is not known."""
        day = days_since_epoch(date.fromisoformat(day_of(entry.id)))
        is_batch = record.kind == "batch"
        if is_batch and any(
            self._prices.by_prompt(part.model, day) for one in record.attempts for part in one.parts
        ):
            return None
        costs = costs_of(record.attempts)
        for number, attempt in enumerate(record.attempts):
            if parts := self._parts(record, number):
                shares = self._prices.shares(parts, batch=is_batch, day=day)
                by_share = [micros for _, micros in shares]
                costs[number] = by_share if attempt.shares else [sum(by_share)]
        return costs

    def _parts(self, record: Record, number: int) -> Sequence[Part]:
        """The parts of an attempt; none where it is not known how they were served."""
        attempt = record.attempts[number]
        if attempt.unpriced or not self._older:
            return attempt.parts if attempt.unpriced else ()
        is_last = number == len(record.attempts) - 1
        if attempt.parts or record.kind == "batch" or not (is_last and record.model_served):
            return attempt.parts
        return (Part(record.model_served, attempt.tokens),) if attempt.tokens.any else ()

    def plan(self) -> Plan:
        lines = [Line(*place, *sums) for place, sums in sorted(self._lines.items())]
        return Plan(
            self._prices.version,
            lines,
            dict(self.refused),
            dict(self.skipped),
            sorted(self.days),
            self.corrections,
            self.is_cut,
        )


async def plan(
    store: Store, kept: Archive, prices: Prices, since: date, *, older: bool = False
) -> Plan:
    """What is to be booked anew, of the days (UTC) from `since` on.

    Args:
        older: also what was booked by another table, not only what had no row in it.

    Raises:
        UsageProblem: no records are kept of these days.
    """
    begin = midnight(since)
    refused = _refused(begin, await verify(store, kept, begin))
    planner = _Planner(prices, begin, refused, older=older)
    await visit(store, kept, begin, planner.note)
    await visit(store, kept, begin, planner.take)
    return planner.plan()


def _refused(begin: datetime, verdict: Verdict) -> dict[str, str]:
    """Days whose records are not all here: then nobody knows what was corrected before."""
    if verdict.count > len(verdict.differences):
        raise UsageProblem(
            f"{verdict.count} counters differ from the records; `relay usage --verify` shows them."
        )
    refused = {}
    day = begin
    while day < verdict.since:
        refused[f"{day:%Y-%m-%d}"] = "its records are no longer kept, or not all of them"
        day += timedelta(days=1)
    why = "its counters differ from its records here; see `relay usage --verify`"
    return refused | {one.period[:10]: why for one in verdict.differences}


async def lock(store: Store) -> str:
    """The right to book corrections, for one run at a time; it ends by itself.

    Raises:
        UsageProblem: another run has it.
    """
    owner = os.urandom(8).hex()
    if not await store.lock(LOCK, owner, LOCK_MS):
        raise UsageProblem(
            "Another run is booking requests anew. One that was broken off is over in ten minutes."
        )
    return owner


async def book(store: Store, owner: str, corrections: Sequence[Correction]) -> None:
    """Book corrections. What was booked before a failure stays, and the next run does the rest.

    Raises:
        UsageProblem: the lock was lost meanwhile.
    """
    for start in range(0, len(corrections), _BOOKED_AT_ONCE):
        part = corrections[start : start + _BOOKED_AT_ONCE]
        if not await store.usage.correct(LOCK, owner, LOCK_MS, part):
            raise UsageProblem(
                "It took so long that another run may have begun. What was booked stays; run it"
                " again for the rest."
            )
