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
PICO_PER_MICRO = 1_000_000
# Tokens that the largest context of a model holds.
_LARGEST_CONTEXT = 1_000_000
_FAMILIES = ("fable", "mythos", "opus", "sonnet", "haiku")

# Ids come from clients: neither their number nor their length may fill the memory.
_MOST_REMEMBERED = 4096
_LONGEST_ID = 256

# A dollar per token; keeps the arithmetic of 28 decimal digits exact.
_DEAREST = 1_000_000

_VENDOR = re.compile(r"^(?:[a-z0-9-]+\.)?anthropic\.")
_EDITION = re.compile(r"(?:[-@](?:\d{8}|latest|default)|-v\d+|:\d+k?)+$")
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")

_HEAD_FIELDS = {"batch", "web_search", "cache_write_5m", "cache_write_1h", "unknown", "row"}
_ROW_FIELDS = {"name", "models", "input", "output", "cache_read", "above"}
_ABOVE_FIELDS = {"tokens", "input", "output", "cache_read"}


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

    @property
    def prompt(self) -> int:
        """The whole prompt: what was read of it anew, from the cache and into the cache."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def per_minute(self) -> int:
        """What counts for tokens per minute: all but what the cache held."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.output

    @property
    def any(self) -> bool:
        """Whether there is anything to pay for."""
        return self != _NOTHING


_NOTHING = Tokens()


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


@dataclass(frozen=True, slots=True, order=True)
class _Rates:
    """Pico-dollars per token. In order of dearness."""

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
        return max(self.rates, self.above or self.rates)

    def is_for(self, names: tuple[str, ...]) -> bool:
        return any(pattern.fullmatch(name) for pattern in self.patterns for name in names)

    def is_of(self, family: str) -> bool:
        texts = (self.name, *(pattern.pattern for pattern in self.patterns))
        return any(family in text.lower() for text in texts)


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

        What `override` says outside of its rows counts for all rows.

        Args:
            multiplier: a decimal; every price is multiplied by it.

        Raises:
            PricesError: the file cannot be read or a field is wrong.
        """
        factor = _decimal(multiplier, "the multiplier")
        shipped = importlib.resources.files("relay") / "prices.toml"
        documents = {"prices.toml": _parse(shipped.read_text(encoding="utf-8"))}
        if override is not None:
            documents = {str(override): _read(override), **documents}
        head = {**documents["prices.toml"], **next(iter(documents.values()))}
        tables = [(_Table(source, head, factor), own) for source, own in documents.items()]
        return cls(tables[0][0], [row for table, own in tables for row in table.rows(own)])

    def cost(self, model: str, tokens: Tokens, *, batch: bool = False) -> int:
        """Micro-dollars, rounded up once."""
        return self.rounded(self.pico(model, tokens), tokens.web_searches, batch=batch)

    def pico(self, model: str, tokens: Tokens) -> int:
        """Pico-dollars of the tokens alone, exact, outside of a batch."""
        row = self._found.get(model) or self._find(model)
        prompt = tokens.prompt
        rates = row.rates_for(prompt)
        return (
            tokens.input * rates.input
            + tokens.output * rates.output
            + tokens.cache_read * rates.cache_read
            + tokens.cache_write_5m * rates.cache_write_5m
            + tokens.cache_write_1h * rates.cache_write_1h
        )

    def rounded(self, pico: int, web_searches: int, *, batch: bool = False) -> int:
        """Micro-dollars of a sum of `pico`-dollars for tokens and of searches, rounded up once."""
        if batch:
            numerator, denominator = self._table.batch
            pico = -(-pico * numerator // denominator)
        pico += web_searches * self._table.web_search
        return -(-pico // PICO_PER_MICRO)

    def most(self, model: str, body_bytes: int, max_tokens: int, tool_uses: int = 0) -> int:
        """Micro-dollars that a call of such a size cannot pass, in one attempt.

        No token is shorter than a byte, and no input dearer than an hour's cache write.

        Args:
            tool_uses: how often the upstream may use tools of its own. Each may read as much as a
                model's context holds, and cost as much as a search.
        """
        row = self._found.get(model) or self._find(model)
        most_input = body_bytes + tool_uses * _LARGEST_CONTEXT
        rates = row.rates_for(most_input)
        dearest = max(rates.input, rates.cache_write_5m, rates.cache_write_1h)
        pico = most_input * dearest + max_tokens * rates.output + tool_uses * self._table.web_search
        return -(-pico // PICO_PER_MICRO)

    def saved_by_cache(self, model: str, tokens: Tokens) -> int:
        """Micro-dollars that the cache saved: what its reads would have cost as fresh input, less
        what its writes cost above that. Below zero where writes were not read.

        Args:
            tokens: may be the sum of many calls; counted by the row's usual rates.
        """
        rates = (self._found.get(model) or self._find(model)).rates
        pico = (
            tokens.cache_read * (rates.input - rates.cache_read)
            - tokens.cache_write_5m * (rates.cache_write_5m - rates.input)
            - tokens.cache_write_1h * (rates.cache_write_1h - rates.input)
        )
        return pico // PICO_PER_MICRO

    def is_known(self, model: str) -> bool:
        """Whether a row of the table names the model."""
        return self._match(model[:_LONGEST_ID]) is not None

    def rows(self) -> list[PriceRow]:
        """The rows in the order in which they count."""
        shown = []
        for row in self._rows:
            shown.append(_shown(row.name, row.rates, None))
            if row.above is not None:
                shown.append(_shown(row.name, row.above, row.above_tokens))
        return shown

    def _find(self, model: str) -> _Row:
        model = model[:_LONGEST_ID]
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
        names = _names(model)
        return next((row for row in self._rows if row.is_for(names)), None)

    def _stand_in(self, model: str) -> _Row:
        """The dearest row of the model's family, else the table's `unknown`."""
        name = model.lower()
        family = next((one for one in _FAMILIES if one in name), None)
        kin = [row for row in self._rows if family and row.is_of(family)]
        if not kin:
            return self._table.unknown
        return max(kin, key=lambda row: row.dearest)


class _Table:
    """Reads the rows of one file, and holds what counts for all rows."""

    def __init__(self, source: str, head: Mapping[str, Any], factor: Decimal) -> None:
        self._source = source
        self._factor = factor
        place = "outside of the rows"
        self._fields(head, _HEAD_FIELDS, place)
        self._write_5m = self._number(head, "cache_write_5m", place)
        self._write_1h = self._number(head, "cache_write_1h", place)
        self.batch = self._number(head, "batch", place).as_integer_ratio()
        self.web_search = self._pico(self._number(head, "web_search", place) * 1_000_000)
        unknown = self._fields(head["unknown"], _ROW_FIELDS - {"models", "name"}, "[unknown]")
        self.unknown = self._priced("unknown", (), unknown, "[unknown]")

    def rows(self, document: Mapping[str, Any]) -> list[_Row]:
        listed = document.get("row", [])
        if not isinstance(listed, list):
            raise PricesError(f"{self._source}: rows are written as [[row]].")
        return [self._row(fields, number) for number, fields in enumerate(listed, 1)]

    def _row(self, written: object, number: int) -> _Row:
        fields = self._fields(written, _ROW_FIELDS, f"row {number}")
        name = fields.get("name")
        if not isinstance(name, str) or not name:
            raise PricesError(f"{self._source}, row {number}: name must be a text.")
        place = f"row {number} ({name})"
        return self._priced(name, self._patterns(fields.get("models"), place), fields, place)

    def _priced(
        self,
        name: str,
        patterns: tuple[re.Pattern[str], ...],
        fields: Mapping[str, Any],
        place: str,
    ) -> _Row:
        if "above" not in fields:
            return _Row(name, patterns, self._rates(fields, place), None, None)
        place_above = f"{place}, above"
        above = self._fields(fields["above"], _ABOVE_FIELDS, place_above)
        tokens = above.get("tokens")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise PricesError(f"{self._source}, {place_above}: tokens must be a whole number.")
        rates = self._rates(fields, place)
        return _Row(name, patterns, rates, tokens, self._rates(above, place_above))

    def _patterns(self, models: object, place: str) -> tuple[re.Pattern[str], ...]:
        where = f"{self._source}, {place}: models"
        if not isinstance(models, list) or not models:
            raise PricesError(f"{where} must be a list of regular expressions.")
        try:
            return tuple(re.compile(pattern, re.IGNORECASE) for pattern in models)
        except (TypeError, re.error) as error:
            raise PricesError(f"{where} must be a list of regular expressions: {error}.") from None

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

    def _fields(self, written: object, known: set[str], place: str) -> Mapping[str, Any]:
        if not isinstance(written, dict):
            raise PricesError(f"{self._source}, {place}: must be a table of fields.")
        if strange := set(written) - known:
            raise PricesError(f"{self._source}, {place}: there is no field {min(strange)}.")
        return written

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
    if not number.is_finite() or not 0 <= number <= _DEAREST:
        raise PricesError(f"{what} must be a number from 0 to {_DEAREST}, not {str(value)[:40]!r}.")
    return number


def _names(model: str) -> tuple[str, ...]:
    """What a row may call the model: as it is, without its provider, without its edition."""
    whole = model.lower()
    bare = _VENDOR.sub("", whole.rpartition("/")[2].removesuffix("[1m]"))
    plain = _DOTTED.sub("-", _EDITION.sub("", bare))
    return tuple(dict.fromkeys((whole, bare, plain)))


def _parse(text: str) -> Mapping[str, Any]:
    return tomllib.loads(text, parse_float=Decimal)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _parse(path.read_text(encoding="utf-8"))
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
