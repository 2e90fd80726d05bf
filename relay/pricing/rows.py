"""The rows of a loaded price table: which of them is the price of a model, and on which day."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from relay.pricing.patterns import names_in
from relay.pricing.reach import ANY_MODEL
from relay.pricing.table import PICO_PER_UNIT, Rates, Row, Table, day_of, names_of, variant_of
from relay.pricing.tokens import Part

log = logging.getLogger("relay.pricing")

_DAY_S = 86_400
_FAMILIES = ("fable", "mythos", "opus", "sonnet", "haiku")

# Ids come from clients: neither their number nor their length may fill the memory.
_MOST_REMEMBERED = 4096
_LONGEST_ID = 256
_LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A row as people read it: USD per million tokens."""

    name: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    above_tokens: int | None = None
    since: str = ""


class PricedRows:
    """Finds the rows of models.

    Attributes:
        version: of the table; with a `+` and a digest where an operator's rows or multiplier
            count as well.
        table, table_rows: what counts for all rows, and the rows in the order in which they count.
    """

    def __init__(self, table: Table, rows: list[Row], version: str) -> None:
        self._take(table, rows, version)

    def _take(self, table: Table, rows: list[Row], version: str) -> None:
        self.version = version
        self.table = table
        self.table_rows = rows
        self._found: dict[str, list[tuple[Row, bool]]] = {}
        self._stand_ins: set[str] = set()
        self._warned: set[str] = set()

    def become(self, other: "PricedRows") -> None:
        """Take the place of what was loaded, for all who hold this."""
        self._take(other.table, other.table_rows, other.version)

    def row_of(self, model: str) -> str:
        """The name of the row that names a model, or empty; there are no more than rows."""
        found = self._matches(model[:_LONGEST_ID])
        return found[0][0].name if found else ""

    def is_stand_in(self, model: str) -> bool:
        """Whether a model that was booked has no row of its own."""
        self._priced(model)
        return model[:_LONGEST_ID] in self._stand_ins

    def unpriced(self, parts: Iterable[Part]) -> tuple[str, ...]:
        """The models of a bill that have no row of their own, each once, shortened."""
        found = [part.model for part in parts if self.is_stand_in(part.model)]
        return tuple(dict.fromkeys(model[:_LONGEST_SHOWN] for model in found)) if found else ()

    def counts_for(self, row: Row, model: str) -> bool:
        """Whether a row is the price of a model on some day."""
        since: int | None = None
        for found, _ in self._matches(model):
            if since is None or found.since < since:
                if found is row:
                    return True
                since = found.since
        return False

    def by_prompt(self, model: str, day: int) -> bool:
        """Whether a model's price on a day goes by the size of the prompt."""
        return self._priced(model, day)[0].above is not None

    def first_day(self, model: str) -> int | None:
        """The first day, in days since 1970, from which on a model has a row; None without one."""
        return min((row.since for row, _ in self._matches(model)), default=None)

    def is_row(self, name: str) -> bool:
        """Whether a row is called so: counters have its name where the model is not known."""
        return any(row.name == name for row in self.table_rows)

    def booked_as(self, model: str) -> str:
        """The name of the row by which a model is booked today."""
        return self._priced(model)[0].name

    def rows(self, day: int | None = None) -> list[PriceRow]:
        """The rows in the order in which they count.

        Args:
            day: only those that hold on this day, in days since 1970.
        """
        shown = []
        for row in self.table_rows:
            if day is not None and not self._holds(row, day):
                continue
            shown.append(_shown(row, row.rates, None))
            if row.above is not None:
                shown.append(_shown(row, row.above, row.above_tokens))
        return shown

    def _holds(self, row: Row, day: int) -> bool:
        """Whether a row is the price of some model on a day."""
        listed = [names_in(pattern) for pattern in row.patterns]
        if row.since > day or any(names is None for names in listed):
            return row.since <= day
        models = (model for names in listed for model in names or ())
        return any(self._priced(model, day)[0] is row for model in models)

    def _priced(self, model: str, day: int | None = None) -> tuple[Row, bool]:
        """The row that is the price of a model on a day, and whether its name says fast mode."""
        found = self._found.get(model) or self._find(model)
        if len(found) > 1:
            day = _today() if day is None else day
            return next((priced for priced in found if priced[0].since <= day), found[-1])
        return found[0]

    def _candidates(self, model: str) -> list[tuple[Row, bool]]:
        """The rows by which a call may be booked that is admitted now: it may end tomorrow. A name
        that says nothing of the model may stand for any."""
        if model == ANY_MODEL:
            return [(row, False) for row in (*self.table_rows, self.table.unknown)]
        found = self._found.get(model) or self._find(model)
        if len(found) > 1:
            day = _today()
            return [self._priced(model, day), self._priced(model, day + 1)]
        if found[0][0] is self.table.unknown:
            return [(row, found[0][1]) for row in (*self.table_rows, self.table.unknown)]
        return found

    def _find(self, model: str) -> list[tuple[Row, bool]]:
        model = model[:_LONGEST_ID]
        found = self._matches(model)
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()
            self._stand_ins.clear()
        if not found:
            self._stand_ins.add(model)
            row = self._stand_in(model)
            found = [(row, variant_of(names_of(model)[-1])[1])]
            if model not in self._warned and len(self._warned) < _MOST_REMEMBERED:
                self._warned.add(model)
                log.warning(
                    "no price for the model %r; booked as %s", model[:_LONGEST_SHOWN], row.name
                )
        self._found[model] = found
        return found

    def _matches(self, model: str) -> list[tuple[Row, bool]]:
        """The rows that name a model; up to the first one that holds for ever."""
        names = names_of(model)
        base, is_fast = variant_of(names[-1])
        found = []
        for row in self.table_rows:
            by_name = row.is_for(names)
            if not by_name and (base == names[-1] or not row.is_for((base,))):
                continue
            found.append((row, is_fast and not by_name))
            if not row.since:
                break
        return found

    def _stand_in(self, model: str) -> Row:
        """The dearest row of the model's family, else the table's `unknown`."""
        name = model.lower()
        family = next((one for one in _FAMILIES if one in name), None)
        kin = [row for row in self.table_rows if family and row.is_of(family)]
        if not kin:
            return self.table.unknown
        return max(kin, key=lambda row: row.dearest)


def _today() -> int:
    """The UTC day, in days since 1970."""
    return int(time.time()) // _DAY_S


def _shown(row: Row, rates: Rates, above_tokens: int | None) -> PriceRow:
    def usd(pico: int) -> Decimal:
        return Decimal(pico) / PICO_PER_UNIT

    return PriceRow(
        row.name,
        usd(rates.input),
        usd(rates.output),
        usd(rates.cache_read),
        usd(rates.cache_write_5m),
        usd(rates.cache_write_1h),
        above_tokens,
        day_of(row.since).isoformat() if row.since else "",
    )
