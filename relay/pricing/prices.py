"""What a call costs, and what it can cost at most, by a price table.

An attempt's parts are summed in pico-dollars and rounded up once to micro-dollars. No model is
ever free.
"""

import hashlib
import importlib.resources
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from relay.pricing.reach import PLAIN, Reach, Run, runs
from relay.pricing.rows import PricedRows
from relay.pricing.table import (
    Row,
    Table,
    decimal,
    order_of,
    parse,
    read,
    version_of,
)
from relay.pricing.tokens import Part, Tokens

PICO_PER_MICRO = 1_000_000
# No cost is larger. It is above every budget, so a strict one refuses what would be.
MOST_MICROS = 2 * 10**15
_AS_LISTED = Fraction(1)


class Prices(PricedRows):
    """A loaded price table."""

    @classmethod
    def load(
        cls, override: Path | None = None, multiplier: str = "1", update: str = ""
    ) -> "Prices":
        """The built-in table, or a newer one, with the rows of `override` before its own.

        What `override` says outside of its rows counts for all rows.

        Args:
            multiplier: a decimal; every price is multiplied by it.
            update: the text of another table, which counts if it is newer than the built-in one.

        Raises:
            PricesError: the file cannot be read or a field is wrong.
        """
        factor = decimal(multiplier, "the multiplier")
        shipped = importlib.resources.files("relay.pricing") / "prices.toml"
        source, base = "prices.toml", parse(shipped.read_text(encoding="utf-8"))
        version = version_of(base, source)
        if update:
            updated = parse(update)
            if order_of(version_of(updated, "the stored table")) > order_of(version):
                source, base = "the stored table", updated
                version = version_of(base, source)
        documents = {source: base}
        if override is not None:
            documents = {str(override): read(override), **documents}
        if override is not None or factor != 1:
            own = repr((next(iter(documents.values())), factor))
            version += f"+{hashlib.sha256(own.encode()).hexdigest()[:6]}"
        head = {**base, **next(iter(documents.values()))}
        tables = [(Table(source, head, factor), own) for source, own in documents.items()]
        rows = [row for table, own in tables for row in table.rows(own)]
        return cls(tables[0][0], rows, version)

    @classmethod
    def of_table(cls, text: str, source: str) -> "Prices":
        """A whole table by itself.

        Raises:
            PricesError: a field is wrong or missing.
            tomllib.TOMLDecodeError: it is no TOML.
        """
        document = parse(text)
        version = version_of(document, source)
        table = Table(source, document, decimal("1", "the multiplier"))
        return cls(table, table.rows(document), version)

    def cost(self, model: str, tokens: Tokens, *, batch: bool = False) -> int:
        """Micro-dollars of tokens that were served in the usual way, rounded up once."""
        return self.charge((Part(model, tokens),), batch=batch)

    def charge(self, parts: Iterable[Part], *, batch: bool = False, day: int | None = None) -> int:
        """Micro-dollars of all parts of an answer, rounded up once.

        Args:
            day: by the prices of which day, in days since 1970; today's if None.
        """
        return _rounded(self._pico_of(parts, batch=batch, day=day))

    def shares(
        self, parts: Sequence[Part], *, batch: bool = False, day: int | None = None
    ) -> list[tuple[str, int]]:
        """Micro-dollars of each model of an answer, in the order in which its parts name them.

        They add up to what `charge` returns for all: what each model after the first is rounded
        down by, the first pays.
        """
        by_model: dict[str, list[Part]] = {}
        for part in parts:
            by_model.setdefault(part.model, []).append(part)
        left = self.charge(parts, batch=batch, day=day)
        found = []
        for model, some in list(by_model.items())[1:]:
            pico = self._pico_of(some, batch=batch, day=day)
            found.append((model, min(pico // PICO_PER_MICRO, left)))
            left -= found[-1][1]
        return [(next(iter(by_model)), left), *found]

    def _pico_of(self, parts: Iterable[Part], *, batch: bool, day: int | None) -> int:
        """Pico-dollars of parts, with their searches."""
        pico = searches = 0
        for part in parts:
            pico += self.pico(part, day)
            searches += self.uses(part)
        return self._whole_pico(pico, searches, batch=batch)

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
        usual = self.table.fast if is_fast or part.kind == "message" else Fraction(1)
        return factor * (usual if row.fast is None else row.fast)

    def rounded(self, pico: int, searches: int, *, batch: bool = False) -> int:
        """Micro-dollars of a sum of `pico`-dollars for tokens and of searches, rounded up once."""
        return _rounded(self._whole_pico(pico, searches, batch=batch))

    def _whole_pico(self, pico: int, searches: int, *, batch: bool) -> int:
        if batch:
            numerator, denominator = self.table.batch
            pico = -(-pico * numerator // denominator)
        return pico + searches * self.table.web_search

    def most(
        self,
        model: str,
        body_bytes: int,
        max_tokens: int,
        reach: Reach = PLAIN,
        *,
        is_global: bool = False,
    ) -> int:
        """Micro-dollars that a call of such a size cannot pass, in one attempt.

        No token is shorter than a byte, and no input dearer than an hour's cache write.

        Args:
            is_global: its account is known to serve everywhere where the call names no place.
        """
        anywhere, in_us = self.most_by_place(model, body_bytes, max_tokens, reach)
        return in_us if reach.geo == "us" or not (is_global or reach.geo) else anywhere

    def most_by_place(
        self, model: str, body_bytes: int, max_tokens: int, reach: Reach = PLAIN
    ) -> tuple[int, int]:
        """The same where every account serves everywhere, and where it is held to the US."""
        if reach.is_single:
            run = Run(model, reach.prompt(body_bytes), max_tokens)
            anywhere, in_us = self._most_pico(run, reach)
            return _rounded(anywhere), _rounded(in_us)
        searches = reach.tool_uses * (1 + len(reach.fallbacks))
        anywhere = in_us = searches * self.table.web_search
        for run in runs(model, body_bytes, max_tokens, reach):
            pico, pico_us = self._most_pico(run, reach)
            anywhere += pico
            in_us += pico_us
        return _rounded(anywhere), _rounded(in_us)

    def _most_pico(self, run: Run, reach: Reach) -> tuple[int, int]:
        """Pico-dollars that a run cannot pass, whichever of its models it is billed at; and the
        same where it is held to the US."""
        most = most_us = 0
        for model in (run.model, *run.others):
            for row, is_fast in self._candidates(model):
                dearest_input, output = row.dearest_for(run.input)
                pico = run.input * dearest_input + run.output * output
                if is_fast or reach.is_fast:
                    known = self.table.fast if is_fast or not run.is_beside else _AS_LISTED
                    pico = _times(pico, known if row.fast is None else row.fast)
                most = max(most, pico)
                most_us = max(most_us, _times(pico, row.us))
        return most, most_us

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


def _rounded(pico: int) -> int:
    """Pico-dollars as micro-dollars, rounded up."""
    return min(-(-pico // PICO_PER_MICRO), MOST_MICROS)


def _times(pico: int, factor: Fraction) -> int:
    """A price in the dearer of two ways: as it is listed, or times `factor`."""
    return max(pico, -(-pico * factor.numerator // factor.denominator))
