"""Price tables: rows of a TOML file, each with its rates, the names it is for and its first day.

A price is held in pico-dollars per token, so a table in USD per million tokens stays exact.
"""

import contextlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

# One USD per million tokens is a micro-dollar, which is a million pico-dollars, per token.
PICO_PER_UNIT = 1_000_000

# A dollar per token; keeps the arithmetic of 28 decimal digits exact.
_DEAREST = 1_000_000
_EPOCH = date(1970, 1, 1).toordinal()

_VENDOR = re.compile(r"^(?:[a-z0-9-]+\.)?anthropic\.")
_EDITION = re.compile(r"(?:[-@](?:\d{8}|latest|default)|-v\d+|:\d+k?)+$")
_VARIANT = re.compile(r"-(?:fast|thinking)$")
_DOTTED = re.compile(r"(?<=\d)\.(?=\d)")

_VERSION = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.([1-9]\d{0,2}))?")

_HEAD_FIELDS = {
    "version",
    "batch", "web_search", "cache_write_5m", "cache_write_1h", "fast", "us", "unknown", "row",
}  # fmt: skip
_ROW_FIELDS = {
    "name", "models", "from", "input", "output", "cache_read", "fast", "us", "above",
}  # fmt: skip
_ABOVE_FIELDS = {"tokens", "input", "output", "cache_read"}


class PricesError(Exception):
    """A sentence about what is wrong with a price table: file, row and field."""


@dataclass(frozen=True, slots=True, order=True)
class Rates:
    """Pico-dollars per token. In order of dearness."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int

    @property
    def most_input(self) -> int:
        """What the dearest class of input costs."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)

    @property
    def most(self) -> int:
        """What the dearest class of tokens costs."""
        return max(self.input, self.output, self.cache_write_5m, self.cache_write_1h)


@dataclass(frozen=True, slots=True)
class Row:
    """One price of some models.

    Args:
        since: the first day on which it holds, in days since 1970 (UTC); 0 for ever.
        fast, us: what fast mode and inference held to the US multiply it by; `fast` is None for
            a model that is not known to have the mode.
        above: the rates of prompts of more than `above_tokens` tokens.
    """

    name: str
    patterns: tuple[re.Pattern[str], ...]
    since: int
    rates: Rates
    fast: Fraction | None
    us: Fraction
    above_tokens: int | None
    above: Rates | None

    def rates_for(self, prompt_tokens: int) -> Rates:
        """The rates of a prompt of so many tokens."""
        if self.above is not None and self.above_tokens is not None:
            return self.above if prompt_tokens > self.above_tokens else self.rates
        return self.rates

    def dearest_for(self, most_prompt: int) -> tuple[int, int]:
        """Pico-dollars per token of input and of output that no prompt of up to so many tokens
        passes, however it is cached."""
        both = [self.rates]
        if self.above is not None and most_prompt > (self.above_tokens or 0):
            both.append(self.above)
        return max(rates.most_input for rates in both), max(rates.output for rates in both)

    @property
    def dearest(self) -> Rates:
        """The rates of the longest prompts."""
        return max(self.rates, self.above or self.rates)

    def is_for(self, names: tuple[str, ...]) -> bool:
        """Whether it is the price of a model that has one of these names."""
        return any(pattern.fullmatch(name) for pattern in self.patterns for name in names)

    def is_of(self, family: str) -> bool:
        """Whether it is the price of a model of a family."""
        texts = (self.name, *(pattern.pattern for pattern in self.patterns))
        return any(family in text.lower() for text in texts)


class Table:
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
        self.fast = Fraction(self._number(head, "fast", place))
        self.us = Fraction(self._number(head, "us", place))
        unknown = self._fields(head.get("unknown"), _ROW_FIELDS - {"models", "name"}, "[unknown]")
        self.unknown = self._priced("unknown", (), unknown, "[unknown]")

    def rows(self, document: Mapping[str, Any]) -> list[Row]:
        """The rows of a file. Raises PricesError."""
        listed = document.get("row", [])
        if not isinstance(listed, list):
            raise PricesError(f"{self._source}: rows are written as [[row]].")
        return [self._row(fields, number) for number, fields in enumerate(listed, 1)]

    def _row(self, written: object, number: int) -> Row:
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
    ) -> Row:
        return Row(
            name=name,
            patterns=patterns,
            since=self._day(fields, place),
            rates=self._rates(fields, place),
            fast=Fraction(self._number(fields, "fast", place)) if "fast" in fields else None,
            us=Fraction(self._number(fields, "us", place)) if "us" in fields else self.us,
            **self._above(fields, f"{place}, above"),
        )

    def _above(self, fields: Mapping[str, Any], place: str) -> Mapping[str, Any]:
        """The fields of a row that hold the price of long prompts."""
        if "above" not in fields:
            return {"above_tokens": None, "above": None}
        above = self._fields(fields["above"], _ABOVE_FIELDS, place)
        tokens = above.get("tokens")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            raise PricesError(f"{self._source}, {place}: tokens must be a whole number.")
        return {"above_tokens": tokens, "above": self._rates(above, place)}

    def _day(self, fields: Mapping[str, Any], place: str) -> int:
        since = fields.get("from")
        if since is None:
            return 0
        if not isinstance(since, date) or isinstance(since, datetime):
            raise PricesError(f"{self._source}, {place}: from must be a date, such as 2026-11-09.")
        return days_since_epoch(since)

    def _patterns(self, models: object, place: str) -> tuple[re.Pattern[str], ...]:
        where = f"{self._source}, {place}: models"
        if not isinstance(models, list) or not models:
            raise PricesError(f"{where} must be a list of regular expressions.")
        try:
            return tuple(re.compile(pattern, re.IGNORECASE) for pattern in models)
        except (TypeError, re.error) as error:
            raise PricesError(f"{where} must be a list of regular expressions: {error}.") from None

    def _rates(self, fields: Mapping[str, Any], place: str) -> Rates:
        price = self._number(fields, "input", place)
        read = self._number(fields, "cache_read", place) if "cache_read" in fields else price / 10
        return Rates(
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
        return decimal(fields[name], f"{self._source}, {place}: {name}")

    def _pico(self, usd_per_million: Decimal) -> int:
        pico = usd_per_million * self._factor * PICO_PER_UNIT
        return int(pico.to_integral_value(rounding="ROUND_CEILING"))


def decimal(value: object, what: str) -> Decimal:
    """A price as a number; `what` begins the sentence of the PricesError."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= _DEAREST:
        raise PricesError(f"{what} must be a number from 0 to {_DEAREST}, not {str(value)[:40]!r}.")
    return number


def version_of(document: Mapping[str, Any], source: str) -> str:
    """The version of a whole table. Raises PricesError."""
    version = document.get("version")
    if isinstance(version, str) and (found := _VERSION.fullmatch(version)):
        with contextlib.suppress(ValueError):
            date.fromisoformat(found[1])
            return version
    raise PricesError(f"{source}: version must be the table's day, such as 2026-11-28.")


def order_of(version: str) -> tuple[str, int]:
    """A version as versions are ordered; what an operator added to a table does not count."""
    day, _, number = version.partition("+")[0].partition(".")
    return day, int(number or 1)


def days_since_epoch(day: date) -> int:
    """A day as days since 1970."""
    return day.toordinal() - _EPOCH


def day_of(days: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return date.fromordinal(_EPOCH + days)


def names_of(model: str) -> tuple[str, ...]:
    """What a row may call the model: as it is, without its provider, without its edition."""
    whole = model.lower()
    bare = _VENDOR.sub("", whole.rpartition("/")[2].removesuffix("[1m]"))
    plain = _DOTTED.sub("-", _EDITION.sub("", bare))
    return tuple(dict.fromkeys((whole, bare, plain)))


def variant_of(name: str) -> tuple[str, bool]:
    """A model's name without the tail by which some sellers name a way of serving it, and whether
    that is fast mode."""
    is_fast = False
    while found := _VARIANT.search(name):
        is_fast = is_fast or found.group() == "-fast"
        name = _EDITION.sub("", name[: found.start()])
    return name, is_fast


def canonical(model: str) -> str:
    """A model's name without its provider, its edition and its way of serving."""
    return variant_of(names_of(model)[-1])[0]


def parse(text: str) -> Mapping[str, Any]:
    """A price table's text. Raises tomllib.TOMLDecodeError."""
    return tomllib.loads(text, parse_float=Decimal)


def read(path: Path) -> Mapping[str, Any]:
    """A price table out of a file. Raises PricesError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PricesError(f"{path} cannot be read as a price table: {error}.") from None
