"""Whether a price table may take the place of another one; judged wholly before it does."""

import tomllib
from collections.abc import Collection, Iterable

from relay.pricing.patterns import names_in
from relay.pricing.prices import Prices
from relay.pricing.table import PricesError, Rates, Row, order_of

MOST_BYTES = 256 * 1024
_MOST_ROWS = 500
_MOST_PATTERN = 200
_MOST_NAMED = 5
_SOURCE = "the table"


def accept(text: str, running: Prices, dropped: Collection[str] = ()) -> Prices:
    """A table that may take the place of the running one.

    Args:
        running: without an operator's own rows.
        dropped: models that may lose their row.

    Raises:
        PricesError: it is not newer, not whole, or makes something free or worse known.
    """
    if len(text.encode()) > MOST_BYTES:
        raise PricesError(f"{_SOURCE} is larger than {MOST_BYTES // 1024} KiB.")
    try:
        offered = Prices.of_table(text, _SOURCE)
    except tomllib.TOMLDecodeError as error:
        raise PricesError(f"{_SOURCE} cannot be read: {error}.") from None
    if order_of(offered.version) <= order_of(running.version):
        raise PricesError(
            f"{_SOURCE} is version {offered.version}; {running.version} is in force, and only a"
            " newer one takes its place."
        )
    if not 0 < len(offered.table_rows) <= _MOST_ROWS:
        raise PricesError(f"{_SOURCE} must have 1 to {_MOST_ROWS} rows.")
    _check_factors(offered)
    for number, row in enumerate(offered.table_rows, 1):
        _check_row(offered, row, f"{_SOURCE}, row {number} ({row.name})")
    _check_lost(offered, running, {model.lower() for model in dropped})
    return offered


def _check_factors(offered: Prices) -> None:
    table = offered.table
    free = [name for name, factor in (("batch", table.batch[0]), ("fast", table.fast),
            ("us", table.us), ("web_search", table.web_search)) if factor <= 0]  # fmt: skip
    if free:
        raise PricesError(f"{_SOURCE}: {free[0]} must be more than 0: nothing is free.")
    _check_rates((table.unknown.rates,), f"{_SOURCE}, [unknown]")


def _check_row(offered: Prices, row: Row, place: str) -> None:
    """Raise PricesError for a row that makes something free, or that never counts."""
    if any(len(pattern.pattern) > _MOST_PATTERN for pattern in row.patterns):
        raise PricesError(f"{place}: a pattern is longer than {_MOST_PATTERN} characters.")
    _check_rates((row.rates, *((row.above,) if row.above else ())), place)
    if row.us <= 0 or (row.fast is not None and row.fast <= 0):
        raise PricesError(f"{place}: fast and us must be more than 0: nothing is free.")
    names = _names(row)
    if names and not any(offered.counts_for(row, name) for name in names):
        raise PricesError(f"{place} never counts: rows before it have its models.")


def _check_rates(rates: Iterable[Rates], place: str) -> None:
    for one in rates:
        if not all((one.input, one.output, one.cache_read, one.cache_write_5m, one.cache_write_1h)):
            raise PricesError(f"{place}: every price must be more than 0: nothing is free.")


def _check_lost(offered: Prices, running: Prices, dropped: Collection[str]) -> None:
    """Raise PricesError unless every model of the running table has a row that always held."""
    lost = sorted(
        name
        for name in {name for row in running.table_rows for name in _names(row)} - set(dropped)
        if running.row_of(name) and not _is_known(offered, name, running.first_day(name))
    )
    kept = {pattern.pattern for row in offered.table_rows for pattern in row.patterns}
    lost += sorted(
        pattern.pattern
        for row in running.table_rows
        for pattern in row.patterns
        if names_in(pattern) is None and pattern.pattern not in kept | set(dropped)
    )
    if lost:
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        raise PricesError(
            f"{_SOURCE} has no row for {', '.join(lost[:_MOST_NAMED])}{more}, or none for the days"
            " before; name each of them as dropped if that is meant."
        )


def _is_known(offered: Prices, name: str, since: int | None) -> bool:
    first = offered.first_day(name)
    return first is not None and since is not None and first <= since


def _names(row: Row) -> set[str]:
    listed = [names_in(pattern) for pattern in row.patterns]
    return {name for names in listed if names is not None for name in names}
