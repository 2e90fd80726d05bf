"""Models that have no row in the price table, and what was booked for them meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from relay.pricing import Prices
from relay.store import OTHER_MODEL, Store
from relay.usage.periods import midnight
from relay.usage.records import HOUR_LINES
from relay.usage.report import Ask, report

# Counters have the first name where neither the client's nor the upstream's name for a model is
# known; the others are no models' at all.
_NO_MODELS = ("unknown", OTHER_MODEL, "", *HOUR_LINES.values())
# A batch is booked on the day on which it was made, up to so long before its model is noticed.
_BOOKED_LATER = timedelta(days=30)
_MOST = 200


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model without a row.

    Args:
        since: the UTC day on which that was noticed.
        booked_as: the row by which it is booked.
        cost_micros: what was booked for it, also within other models' answers.
    """

    model: str
    since: str
    booked_as: str
    cost_micros: int


async def note_unpriced(store: Store, prices: Prices, models: Sequence[str]) -> None:
    """Store models that were booked without a row, and forget those that have one by now."""
    if models:
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        await store.prices.note_unpriced(dict.fromkeys(models, today), _MOST)
    stored = await store.prices.unpriced()
    await store.prices.forget_unpriced(model for model in stored if not prices.is_stand_in(model))


async def unpriced(store: Store, prices: Prices) -> list[Unpriced]:
    """The models that have no row, the dearest first; mostly there is none."""
    noted = await store.prices.unpriced()
    stored = {model: day for model, day in noted.items() if prices.is_stand_in(model)}
    if not stored:
        return []
    first = midnight(date.fromisoformat(min(stored.values()))) - _BOOKED_LATER
    rows = (await report(store, Ask(first, by=("model",)))).rows
    booked = {row.model: row.counters["cost_micros"] for row in rows}
    found = [
        Unpriced(model, day, prices.booked_as(model), booked.get(model, 0))
        for model, day in stored.items()
    ]
    return sorted(found, key=lambda one: (-one.cost_micros, one.model))


def has_no_row(prices: Prices, counted: str) -> bool:
    """Whether a model under which something is counted has no row."""
    is_model = counted not in _NO_MODELS and not prices.is_row(counted)
    return is_model and prices.is_stand_in(counted)
