"""Tokens to money: exact, in integers, by a table that an operator can override.

A price is held in pico-dollars per token, so a table in USD per million tokens stays exact. An
attempt's parts are summed and rounded up once to micro-dollars. No model is ever free.
"""

import importlib.resources
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

log = logging.getLogger("relay.pricing")

# One USD per million tokens is a micro-dollar, which is a million pico-dollars, per token.
_PICO_PER_UNIT = 1_000_000
_PICO_PER_MICRO = 1_000_000
_PICO_PER_USD = 1_000_000_000_000
_FAMILIES = ("fable", "mythos", "opus", "sonnet", "haiku")
_MOST_REMEMBERED = 4096

_PREFIX = re.compile(r"^(?:(?:[a-z-]+\.)?anthropic[./]|[a-z-]+/)*")
_SUFFIX = re.compile(r"(?:\[1m\])?$")
_VERSION = re.compile(r"(?:[-@]\d{8}|-latest)?(?:-v\d+(?::\d+)*)?(?:@default)?$")


class PricesError(Exception):
    """A sentence about what is wrong with a price table: file, row and field."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an attempt used. `input` is without cache reads and writes."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0


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


@dataclass(frozen=True, slots=True)
class _Rates:
    """Pico-dollars per token."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    patterns: tuple[re.Pattern[str], ...]
    rates: _Rates
    above_tokens: int | None
    above: _Rates | None

    def rates_for(self, prompt_tokens: int) -> _Rates:
        if self.above is not None and self.above_tokens is not None:
            return self.above if prompt_tokens > self.above_tokens else self.rates
        return self.rates

    @property
    def dearest(self) -> _Rates:
        return self.above or self.rates


class Prices:
    """A loaded price table."""

    def __init__(self, table: "_Table", rows: list[_Row]) -> None:
        self._table = table
        self._rows = rows
        self._found: dict[str, _Row] = {}
        self._warned: set[str] = set()

    @classmethod
    def load(cls, override: Path | None = None, multiplier: str = "1") -> "Prices":
        """The built-in table, with the rows of `override` before its own.

        Args:
            multiplier: a decimal; every price is multiplied by it.

        Raises:
            PricesError: the file cannot be read or a field is wrong.
        """
        factor = _decimal(multiplier, "the multiplier")
        shipped = importlib.resources.files("relay") / "prices.toml"
        own = tomllib.loads(shipped.read_text(encoding="utf-8"))
        table = _Table("prices.toml", own, factor)
        rows = table.rows(own)
        if override is not None:
            rows = _Table(str(override), own, factor).rows(_read(override)) + rows
        return cls(table, rows)

    def cost(self, model: str, tokens: Tokens, *, batch: bool = False) -> int:
        """Micro-dollars, rounded up once."""
        row = self._found.get(model) or self._find(model)
        prompt = tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
        rates = row.rates_for(prompt)
        pico = (
            tokens.input * rates.input
            + tokens.output * rates.output
            + tokens.cache_read * rates.cache_read
            + tokens.cache_write_5m * rates.cache_write_5m
            + tokens.cache_write_1h * rates.cache_write_1h
        )
        if batch:
            numerator, denominator = self._table.batch
            pico = -(-pico * numerator // denominator)
        pico += tokens.web_searches * self._table.web_search
        return -(-pico // _PICO_PER_MICRO)

    def is_known(self, model: str) -> bool:
        """Whether a row of the table names the model."""
        return self._match(model) is not None

    def rows(self) -> list[PriceRow]:
        """The rows in the order in which they count."""
        shown = []
        for row in self._rows:
            shown.append(_shown(row.name, row.rates, None))
            if row.above is not None:
                shown.append(_shown(row.name, row.above, row.above_tokens))
        return shown

    def _find(self, model: str) -> _Row:
        row = self._match(model)
        if row is None:
            row = self._stand_in(model)
            if model not in self._warned and len(self._warned) < _MOST_REMEMBERED:
                self._warned.add(model)
                log.warning("no price for the model %r; booked as %s", model[:100], row.name)
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()
        self._found[model] = row
        return row

    def _match(self, model: str) -> _Row | None:
        plain = _SUFFIX.sub("", _PREFIX.sub("", model.lower()), count=1)
        plain = _VERSION.sub("", plain, count=1)
        for row in self._rows:
            if any(pattern.fullmatch(plain) for pattern in row.patterns):
                return row
        return None

    def _stand_in(self, model: str) -> _Row:
        """The dearest row of the model's family, else the table's `unknown`."""
        name = model.lower()
        family = next((one for one in _FAMILIES if one in name), None)
        kin = [row for row in self._rows if family and family in row.name.lower()]
        if not kin:
            return self._table.unknown
        return max(kin, key=lambda row: (row.dearest.output, row.dearest.input))


class _Table:
    """Reads rows, and holds what counts for all of them."""

    def __init__(self, source: str, shared: Mapping[str, Any], factor: Decimal) -> None:
        self._source = source
        self._factor = factor
        self._write_5m = self._number(shared, "cache_write_5m", "its head")
        self._write_1h = self._number(shared, "cache_write_1h", "its head")
        self.batch = self._number(shared, "batch", "its head").as_integer_ratio()
        search = self._number(shared, "web_search", "its head") * factor * _PICO_PER_USD
        self.web_search = int(search)
        self.unknown = self._row({"name": "unknown", "models": [], **shared["unknown"]}, 0)

    def rows(self, document: Mapping[str, Any]) -> list[_Row]:
        listed = document.get("row", [])
        if not isinstance(listed, list):
            raise PricesError(f"{self._source}: rows are written as [[row]].")
        return [self._row(fields, number) for number, fields in enumerate(listed, 1)]

    def _row(self, fields: Mapping[str, Any], number: int) -> _Row:
        place = f"row {number} ({fields.get('name', 'no name')})"
        known = {"name", "models", "input", "output", "cache_read", "above"}
        if unknown := set(fields) - known:
            raise PricesError(f"{self._source}, {place}: there is no field {min(unknown)}.")
        try:
            patterns = tuple(re.compile(pattern) for pattern in fields["models"])
        except (KeyError, TypeError, re.error) as error:
            raise PricesError(
                f"{self._source}, {place}: models must list regular expressions: {error}."
            ) from None
        above = fields.get("above")
        return _Row(
            name=str(fields.get("name", "")),
            patterns=patterns,
            rates=self._rates(fields, place),
            above_tokens=int(above["tokens"]) if above else None,
            above=self._rates(above, place) if above else None,
        )

    def _rates(self, fields: Mapping[str, Any], place: str) -> _Rates:
        price = self._number(fields, "input", place)
        read = self._number(fields, "cache_read", place) if "cache_read" in fields else price / 10
        return _Rates(
            input=self._pico(price),
            output=self._pico(self._number(fields, "output", place)),
            cache_read=self._pico(read),
            cache_write_5m=self._pico(price * self._write_5m),
            cache_write_1h=self._pico(price * self._write_1h),
        )

    def _number(self, fields: Mapping[str, Any], name: str, place: str) -> Decimal:
        if name not in fields:
            raise PricesError(f"{self._source}, {place}: {name} is missing.")
        return _decimal(fields[name], f"{self._source}, {place}: {name}")

    def _pico(self, usd_per_million: Decimal) -> int:
        pico = usd_per_million * self._factor * _PICO_PER_UNIT
        return int(pico.to_integral_value(rounding="ROUND_CEILING"))


def _decimal(value: object, what: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise PricesError(f"{what} must be a number that is not negative, not {value!r}.")
    return number


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PricesError(f"{path} cannot be read as a price table: {error}.") from None


def _shown(name: str, rates: _Rates, above_tokens: int | None) -> PriceRow:
    def usd(pico: int) -> Decimal:
        return Decimal(pico) / _PICO_PER_UNIT

    return PriceRow(
        name,
        usd(rates.input),
        usd(rates.output),
        usd(rates.cache_read),
        usd(rates.cache_write_5m),
        usd(rates.cache_write_1h),
        above_tokens,
    )
