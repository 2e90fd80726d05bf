"""The report of a day: made once, five minutes after it ended, kept, and handed to the alerts."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from relay.pricing import Prices
from relay.store import Store
from relay.usage.periods import COUNTERS_LIFE, DAY, UsageProblem, midnight
from relay.usage.report import Ask, Report, report
from relay.usage.unpriced import has_no_row

# What was admitted before midnight has mostly been settled by then.
_DUE_AFTER = timedelta(minutes=5)
# A relay that was down for longer does not make up for all of it.
_MOST_MISSED = 31
_MOST_MODELS = 10


async def daily(store: Store, prices: Prices, day: date) -> dict[str, Any]:
    """The report of a UTC day, ready for JSON: date, totalRequests, totalTokens, uniqueUsers
    (keys with a request), errorRate (in percent), cost (US dollars), topModels, and unpricedModels:
    those without a row in the price table, as long as they have none.

    Raises:
        UsageProblem: the day has not begun, or is too long ago.
    """
    start = midnight(day)
    now = datetime.now(UTC)
    if start > now or start < now - COUNTERS_LIFE:
        raise UsageProblem(f"There is no report of {day}: the day is to come, or too long ago.")
    by_model = await report(store, Ask(start, start + DAY, ("model",)))
    by_key = await report(store, Ask(start, start + DAY, ("key",)))
    total = by_model.total
    requests = total["requests"]
    return {
        "date": f"{day}",
        "totalRequests": requests,
        "totalTokens": _tokens(total),
        "uniqueUsers": sum(1 for row in by_key.rows if row.counters["requests"]),
        "errorRate": round(100 * total["errors"] / requests, 2) if requests else 0.0,
        "cost": _dollars(total),
        "topModels": _top_models(by_model),
        "unpricedModels": await _unpriced_models(store, prices, by_model),
    }


async def _unpriced_models(store: Store, prices: Prices, of_day: Report) -> list[dict[str, Any]]:
    """The models without a row that the day used, and those that are known from other days."""
    cost = {row.model: _dollars(row.counters) for row in of_day.rows}
    models = [model for model in cost if has_no_row(prices, model)]
    models += [model for model in await store.prices.unpriced() if prices.is_stand_in(model)]
    return [
        {"model": model, "bookedAs": prices.booked_as(model), "cost": cost.get(model, 0.0)}
        for model in dict.fromkeys(models)
    ][:_MOST_MODELS]


def _top_models(by_model: Report) -> list[dict[str, Any]]:
    used = [
        row
        for row in by_model.rows
        if row.counters["requests"] or _tokens(row.counters) or row.counters["cost_micros"]
    ]
    return [
        {
            "model": row.model,
            "requests": row.counters["requests"],
            "tokens": _tokens(row.counters),
            "cost": _dollars(row.counters),
        }
        for row in used[:_MOST_MODELS]
    ]


def _tokens(counters: Mapping[str, int]) -> int:
    return sum(amount for counter, amount in counters.items() if counter.endswith("_tokens"))


def _dollars(counters: Mapping[str, int]) -> float:
    return counters["cost_micros"] / 1_000_000


async def save_due(store: Store, prices: Prices, now: datetime | None = None) -> None:
    """Keep yesterday's report once it is due, and those of the days since the last one kept.

    Of all processes one does it. Nothing is made up for the time before the first request.

    Args:
        now: UTC; the present when None.
    """
    due = ((now or datetime.now(UTC)) - _DUE_AFTER).date() - DAY
    kept = await store.usage.reports()
    if f"{due}" in kept:
        return
    first = (
        max(due - (_MOST_MISSED - 1) * DAY, date.fromisoformat(max(kept)) + DAY) if kept else due
    )
    while first <= due:
        made = await daily(store, prices, first)
        if kept or made["totalRequests"]:
            # Of the days that were missed only those are told that had requests.
            is_told = first == due or made["totalRequests"]
            await store.usage.keep_report(
                made["date"], json.dumps(made), _as_alert(made) if is_told else {}
            )
        first += DAY


def _as_alert(made: Mapping[str, Any]) -> dict[str, str]:
    """A report as the fields of an alert, with a `text` that people are told."""
    fields = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in made.items()
    }
    models = "".join(
        f"\n{one['model']}: {one['requests']} requests, {one['tokens']} tokens, ${one['cost']:.2f}"
        for one in made["topModels"]
    )
    unpriced = "".join(
        f"\nno price for {one['model']}: booked as {one['bookedAs']}, ${one['cost']:.2f}"
        for one in made["unpricedModels"]
    )
    text = (
        f"{made['totalRequests']} requests with"
        f" {made['uniqueUsers']} keys, {made['totalTokens']} tokens, ${made['cost']:.2f};"
        f" {made['errorRate']:.2f} % failed.{models}{unpriced}"
    )
    return {**fields, "title": f"Usage on {made['date']} (UTC)", "text": text}


async def kept_reports(store: Store) -> list[dict[str, Any]]:
    """The reports that were kept, newest first."""
    found = await store.usage.reports()
    return [json.loads(found[day]) for day in sorted(found, reverse=True)]


async def prune(store: Store, now: datetime | None = None) -> None:
    """Forget spending by day and reports once the counters of their days are gone as well."""
    day = f"{(now or datetime.now(UTC)) - COUNTERS_LIFE - DAY:%Y-%m-%d}"
    await store.usage.drop_reports(day)
    scopes = ["relay", *(f"owner:{name}" for name in await store.owners.all())]
    scopes += [f"key:{key_id}" for key_id in await store.keys.ids()]
    scopes += [f"account:{account_id}" for account_id in await store.accounts.ids()]
    for scope in scopes:
        await store.usage.drop_spend(scope, day)
