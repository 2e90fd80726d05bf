"""What a call costs, and what it can cost at most, by a price table.

An attempt's parts are summed in pico-dollars and rounded up once to micro-dollars. No model is
ever free.
"""

import hashlib
import importlib.resources
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from relay.pricing.table import (
    PICO_PER_UNIT,
    Rates,
    Row,
    Table,
    decimal,
    names_of,
    parse,
    read,
    variant_of,
    version_of,
)
from relay.pricing.tokens import Part, Tokens

log = logging.getLogger("relay.pricing")

PICO_PER_MICRO = 1_000_000
# No cost is larger. It is above every budget, so a strict one refuses what would be.
MOST_MICROS = 2 * 10**15
_DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
# Tokens that the largest context of a model holds.
_LARGEST_CONTEXT = 1_000_000
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


class Prices:
    """A loaded price table.

    Attributes:
        version: of the table; with a `+` and a digest where an operator's rows or multiplier
            count as well.
    """

    def __init__(self, table: Table, rows: list[Row], version: str) -> None:
        self.version = version
        self._table = table
        self._rows = rows
        self._found: dict[str, list[tuple[Row, bool]]] = {}
        self._stand_ins: set[str] = set()
        self._warned: set[str] = set()

    @classmethod
    def load(cls, override: Path | None = None, multiplier: str = "1") -> "Prices":
        """The built-in table, with the rows of `override` before its own.

        What `override` says outside of its rows counts for all rows.

        Args:
            multiplier: a decimal; every price is multiplied by it.

        Raises:
            PricesError: the file cannot be read or a field is wrong.
        """
        factor = decimal(multiplier, "the multiplier")
        shipped = importlib.resources.files("relay.pricing") / "prices.toml"
        documents = {"prices.toml": parse(shipped.read_text(encoding="utf-8"))}
        version = version_of(documents["prices.toml"], "prices.toml")
        if override is not None:
            documents = {str(override): read(override), **documents}
        if override is not None or factor != 1:
            own = repr((next(iter(documents.values())), factor))
            version += f"+{hashlib.sha256(own.encode()).hexdigest()[:6]}"
        head = {**documents["prices.toml"], **next(iter(documents.values()))}
        tables = [(Table(source, head, factor), own) for source, own in documents.items()]
        rows = [row for table, own in tables for row in table.rows(own)]
        return cls(tables[0][0], rows, version)

    def cost(self, model: str, tokens: Tokens, *, batch: bool = False) -> int:
        """Micro-dollars of tokens that were served in the usual way, rounded up once."""
        return self.charge((Part(model, tokens),), batch=batch)

    def charge(self, parts: Iterable[Part], *, batch: bool = False, day: int | None = None) -> int:
        """Micro-dollars of all parts of an answer, rounded up once.

        Args:
            day: by the prices of which day, in days since 1970; today's if None.
        """
        pico = searches = 0
        for part in parts:
            pico += self.pico(part, day)
            searches += self.uses(part)
        return self.rounded(pico, searches, batch=batch)

    def pico(self, part: Part, day: int | None = None) -> int:
        """Pico-dollars of a part's tokens alone, exact, outside of a batch."""
        if part.kind == "unbilled":
            return 0
        row, is_fast = self._priced(part.model, day)
        tokens = part.tokens
        rates = row.rates_for(part.pass_tokens or tokens.prompt)
        pico = (
            tokens.input * rates.input
            + tokens.output * rates.output
            + tokens.cache_read * rates.cache_read
            + tokens.cache_write_5m * rates.cache_write_5m
            + tokens.cache_write_1h * rates.cache_write_1h
        )
        if part.unknown_tokens:
            pico += part.unknown_tokens * row.dearest.most
        if is_fast or part.is_fast or part.is_us:
            return math.ceil(pico * self._factor(row, part, is_fast=is_fast))
        return pico

    @staticmethod
    def uses(part: Part) -> int:
        """How many uses of tools a part pays for, each at the price of a search."""
        return part.tokens.web_searches + part.unknown_uses

    def _factor(self, row: Row, part: Part, *, is_fast: bool) -> Fraction:
        """What the way in which a part was served multiplies its price by."""
        factor = row.us if part.is_us else Fraction(1)
        if not (is_fast or part.is_fast):
            return factor
        # An answer's own speed is a fact; that of what stands beside it is known by the model.
        usual = self._table.fast if is_fast or part.kind == "message" else Fraction(1)
        return factor * (usual if row.fast is None else row.fast)

    def rounded(self, pico: int, searches: int, *, batch: bool = False) -> int:
        """Micro-dollars of a sum of `pico`-dollars for tokens and of searches, rounded up once."""
        if batch:
            numerator, denominator = self._table.batch
            pico = -(-pico * numerator // denominator)
        pico += searches * self._table.web_search
        return min(-(-pico // PICO_PER_MICRO), MOST_MICROS)

    def most(self, model: str, body_bytes: int, max_tokens: int, tool_uses: int = 0) -> int:
        """Micro-dollars that a call of such a size cannot pass, in one attempt.

        No token is shorter than a byte, and no input dearer than an hour's cache write.

        Args:
            tool_uses: how often the upstream may use tools of its own. Each may read as much as a
                model's context holds, and cost as much as a search.
        """
        row, _ = self._priced(model)
        most_input = body_bytes + tool_uses * _LARGEST_CONTEXT
        rates = row.rates_for(most_input)
        dearest = max(rates.input, rates.cache_write_5m, rates.cache_write_1h)
        pico = most_input * dearest + max_tokens * rates.output + tool_uses * self._table.web_search
        return min(-(-pico // PICO_PER_MICRO), MOST_MICROS)

    def saved_by_cache(self, model: str, tokens: Tokens) -> int:
        """Micro-dollars that the cache saved: what its reads would have cost as fresh input, less
        what its writes cost above that. Below zero where writes were not read.

        Args:
            tokens: may be the sum of many calls; counted by the row's usual rates.
        """
        rates = self._priced(model)[0].rates
        pico = (
            tokens.cache_read * (rates.input - rates.cache_read)
            - tokens.cache_write_5m * (rates.cache_write_5m - rates.input)
            - tokens.cache_write_1h * (rates.cache_write_1h - rates.input)
        )
        return pico // PICO_PER_MICRO

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

    def is_row(self, name: str) -> bool:
        """Whether a row is called so: counters have its name where the model is not known."""
        return any(row.name == name for row in self._rows)

    def booked_as(self, model: str) -> str:
        """The name of the row by which a model is booked today."""
        return self._priced(model)[0].name

    def rows(self) -> list[PriceRow]:
        """The rows in the order in which they count."""
        shown = []
        for row in self._rows:
            shown.append(_shown(row, row.rates, None))
            if row.above is not None:
                shown.append(_shown(row, row.above, row.above_tokens))
        return shown

    def _priced(self, model: str, day: int | None = None) -> tuple[Row, bool]:
        """The row that is the price of a model on a day, and whether its name says fast mode."""
        found = self._found.get(model) or self._find(model)
        if len(found) > 1:
            day = int(time.time()) // _DAY_S if day is None else day
            return next((priced for priced in found if priced[0].since <= day), found[-1])
        return found[0]

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
        for row in self._rows:
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
        kin = [row for row in self._rows if family and row.is_of(family)]
        if not kin:
            return self._table.unknown
        return max(kin, key=lambda row: row.dearest)


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
        date.fromordinal(_EPOCH + row.since).isoformat() if row.since else "",
    )
