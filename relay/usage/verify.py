"""Do the counters agree with the records? Rebuilds the one from the other and compares.

Settlements go on meanwhile. Each of them writes its record and its counters in one step, and the
counters of an hour are read together with the id of the newest record: so what those counters
hold is known exactly, and a request that is settled later is in neither side of the comparison.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from relay.store import COUNTERS, OTHER_MODEL, Counted, Entry, Store
from relay.usage.archive import Archive, booked, kept_since, visit
from relay.usage.periods import (
    COUNTERS_LIFE,
    DAY,
    HOUR,
    PERIODS_AT_ONCE,
    UsageProblem,
    covering,
    hour_of,
    start_of_day,
    start_of_hour,
)
from relay.usage.records import counters

# Records go on being dropped at the retention's edge while we look.
_EDGE = timedelta(minutes=15)
_MOST_TOLD = 10_000

# Key, account, model.
Place = tuple[str, str, str]
# Amounts in the order of COUNTERS; 90 days may have a few hundred thousand of them.
Amounts: TypeAlias = "array[int]"
_NONE = array("q", [0] * len(COUNTERS))
_AT = {counter: place for place, counter in enumerate(COUNTERS)}


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that is not what the records add up to; `period` is an hour or a day."""

    period: str
    key_id: str
    account_id: str
    model: str
    counter: str
    stored: int
    of_records: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verify() found from `since` to `until` (UTC): `count` differences, and the first few
    thousand of them."""

    since: datetime
    until: datetime
    records: int
    count: int
    differences: tuple[Difference, ...]


class _Books:
    """The counters of some periods, and what the records settled by then add up to."""

    def __init__(self, dropped_hour: str) -> None:
        self._dropped = dropped_hour
        self._until: dict[str, tuple[int, int]] = {}
        self._stored: dict[str, dict[Place, Amounts]] = {}
        self._rebuilt: dict[str, dict[Place, Amounts]] = {}
        self._estimates: list[Entry] = []
        self._replaced_by: dict[str, str] = {}
        self.records = 0

    def open(self, counted: Counted) -> None:
        """Add a period as it is stored; all of them before the first record."""
        self._until[counted.period] = _order(counted.until_id)
        self._rebuilt[counted.period] = {}
        self._stored[counted.period] = {
            (cell.key_id, cell.account_id, cell.model): array(
                "q", [cell.amounts.get(counter, 0) for counter in COUNTERS]
            )
            for cell in counted.cells
            if cell.account_id
        }

    def take(self, entry: Entry) -> None:
        """Add a record; estimates wait for what may have replaced them."""
        if entry.replaces:
            self._replaced_by[entry.replaces] = entry.id
        if entry.state == "recovered":
            self._estimates.append(entry)
        elif entry.record:
            self._add(entry)

    def close(self) -> None:
        """Add the estimates, in the periods that were read before they were replaced."""
        for entry in self._estimates:
            self._add(entry, self._replaced_by.get(entry.id))

    def _add(self, entry: Entry, replaced_by: str | None = None) -> None:
        is_counted, record = False, booked(entry)
        hour = hour_of(datetime.fromtimestamp(entry.at_ms / 1000, UTC))
        for period in (hour, hour[:10]):
            until = self._until.get(period)
            if until is None or _order(entry.id) > until:
                continue
            if replaced_by is not None and _order(replaced_by) <= until:
                continue
            is_counted = True
            for (account_id, model, counter), amount in counters(record, entry.model).items():
                place = self._place(period, record.key_id, account_id, model)
                sums = self._rebuilt[period].setdefault(place, array("q", _NONE))
                sums[_AT[counter]] += amount
        self.records += is_counted

    def _place(self, period: str, key_id: str, account_id: str, model: str) -> Place:
        """Where an amount is counted: under another name once a key has too many models."""
        place, other = (key_id, account_id, model), (key_id, account_id, OTHER_MODEL)
        stored = self._stored[period]
        return other if place not in stored and other in stored else place

    def differences(self) -> Iterator[Difference]:
        for period, stored in self._stored.items():
            # An hour's counters may have been dropped for want of memory; its day's never are.
            if not stored and len(period) == len(self._dropped) and period <= self._dropped:
                continue
            rebuilt = self._rebuilt[period]
            for place in sorted(stored.keys() | rebuilt.keys()):
                pairs = zip(stored.get(place, _NONE), rebuilt.get(place, _NONE), strict=True)
                for counter, (ours, theirs) in zip(COUNTERS, pairs, strict=True):
                    if ours != theirs:
                        yield Difference(period, *place, counter, ours, theirs)


async def verify(
    store: Store, kept: Archive, since: datetime | None = None, until: datetime | None = None
) -> Verdict:
    """Compare counters with records, by hour and by day, for as long as records are kept.

    Args:
        since, until: UTC; whole hours within are compared. None for all that can be.

    Raises:
        UsageProblem: of the period no records are kept.
    """
    now = datetime.now(UTC)
    first = max(await kept_since(store) + _EDGE, start_of_day(now - COUNTERS_LIFE))
    begin = _next_hour(max(since, first) if since else first)
    end = start_of_hour(until) if until and until < now else start_of_day(now) + DAY
    if begin >= end:
        raise UsageProblem(
            f"There is nothing to compare: records go back to {first:%Y-%m-%d %H:%M} UTC,"
            " and whole hours are compared."
        )
    days = [period for period in covering(begin, end) if len(period) == len("2026-11-23")]
    periods = [*days, *covering(begin, end, in_hours=True)]
    books = _Books(await store.usage.dropped_hour())
    for at in range(0, len(periods), PERIODS_AT_ONCE):
        for counted in await store.usage.counted(periods[at : at + PERIODS_AT_ONCE]):
            books.open(counted)
    await visit(store, kept, begin, books.take)
    books.close()
    count, told = 0, []
    for count, one in enumerate(books.differences(), start=1):
        if count <= _MOST_TOLD:
            told.append(one)
    return Verdict(begin, min(end, now), books.records, count, tuple(told))


def _next_hour(at: datetime) -> datetime:
    hour = start_of_hour(at)
    return hour if hour == at else hour + HOUR


def _order(entry_id: str) -> tuple[int, int]:
    """A record's id as it is ordered."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
