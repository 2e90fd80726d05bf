"""What a key's holder may see with the key alone: its limits, and what it has used."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from relay import limits, usage
from relay.client import Client
from relay.context import Context
from relay.exchange import authenticated
from relay.keys import Key

_MICROS_PER_CENT = 10_000


async def own_usage(ctx: Context, client: Client) -> None:
    """Answer with the key's limits, what is used of each, and what it used today and this month."""
    key = await _known(ctx, client)
    about = {
        "id": key.id,
        "name": key.name,
        "expires_at": _iso(key.expires_at),
        "models": key.models,
        "owner": key.owner,
    }
    used = await limits_used(ctx, key.id)
    body = json.dumps({"key": about, **used, **await _used(ctx, key.id)})
    await client.answer_json(200, body.encode())


async def credits_used(ctx: Context, client: Client) -> None:
    """Answer with the key's budgets as Claude Code's /usage shows them; without one, what it spent.

    Source: GET /protocol of a Claude apps gateway 2.1.332; amounts are cents.
    """
    standing = await _standing(ctx, (await _known(ctx, client)).id)
    budgets = [
        budget
        for budget in standing.get("budgets", ())
        if budget["whose"] == "key" and budget.get("till")
    ]
    governing = limits.governing(budgets)
    shown = _spent(standing["spent"]) if governing is None else _capped(governing)
    rows = [_spend_row(budget, is_active=budget is governing) for budget in budgets]
    body = json.dumps({"extra_usage": shown, "limits": rows})
    await client.answer_json(200, body.encode())


def _capped(budget: Mapping[str, Any]) -> dict[str, Any]:
    """What is used of the budget that the headers describe; `monthly_limit` whatever its period."""
    return {
        "is_enabled": True,
        "monthly_limit": _cents(budget["limit"]),
        "used_credits": _whole_cents(budget["used"]),
        "utilization": limits.percent(budget["used"], budget["limit"]),
        "currency": "USD",
    }


def _spent(micros: Mapping[str, float]) -> dict[str, Any]:
    """What a key without such a budget spent this month, today and since Monday."""
    shown = {
        period: {"limit": None, "used_credits": _whole_cents(micros[period]), "utilization": None}
        for period in ("daily", "weekly")
    }
    return {
        "is_enabled": True,
        "monthly_limit": None,
        "used_credits": _whole_cents(micros["monthly"]),
        "utilization": None,
        "currency": "USD",
        **shown,
    }


def _spend_row(budget: Mapping[str, Any], *, is_active: bool) -> dict[str, Any]:
    used = limits.percent(budget["used"], budget["limit"])
    return {
        "kind": "spend",
        "group": budget["period"],
        "percent": used,
        "resets_at": _iso(_moment(budget["till"])),
        "severity": "critical" if used >= 95 else "warning" if used >= 75 else "normal",
        "is_active": is_active,
    }


async def limits_used(ctx: Context, key_id: str) -> dict[str, Any]:
    """A key's `limits` by name and its `budgets`: the size of each, what is used, until when."""
    standing = await _standing(ctx, key_id)
    return {
        "limits": {
            name: _limit(standing[name])
            for name in ("rate", "tokens", "daily", "monthly", "concurrency")
            if name in standing
        },
        "budgets": [_budget(one) for one in standing.get("budgets", ())],
    }


async def _known(ctx: Context, client: Client) -> Key:
    key = await ctx.keys.check(await authenticated(ctx, client))
    client.trail.key = key.name
    return key


async def _standing(ctx: Context, key_id: str) -> dict[str, Any]:
    settings = ctx.settings
    most = settings.rate_max if settings.rate_enabled else 0
    return await ctx.store.keys.standing(key_id, most, round(settings.rate_window_s * 1000))


async def _used(ctx: Context, key_id: str) -> dict[str, Any]:
    """What a key used today and this month, by model."""
    used = await usage.of_key(ctx.store, key_id)
    return {
        "today": {"date": used.day, "models": _by_model(used.today)},
        "month": {"date": used.day[:7], "models": _by_model(used.month)},
    }


def _by_model(counters: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    return {
        model: _counted(figures) for model, figures in counters.items() if any(figures.values())
    }


def _counted(counters: Mapping[str, int]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: figure for name, figure in counters.items() if figure}
    figures["cost_usd"] = _usd(figures.pop("cost_micros", 0))
    return figures


def _limit(one: Mapping[str, Any]) -> dict[str, Any]:
    told = {"limit": one["limit"], "used": one["used"]}
    if "window_ms" in one:
        told["window_ms"] = one["window_ms"]
    return {**told, **({"resets_at": _iso(_moment(one["till"]))} if "till" in one else {})}


def _budget(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "whose": one["whose"],
        "period": one["period"],
        "mode": one["mode"],
        "limit_usd": _usd(one["limit"]),
        "used_usd": _usd(one["used"]),
        "held_usd": _usd(one["held"]),
        "resets_at": _iso(_moment(one["till"])) if one.get("till") else None,
    }


def _usd(micros: float) -> str:
    return f"{Decimal(int(micros)) / 1_000_000:.6f}"


def _cents(micros: float) -> float:
    """A limit in cents; one that is no whole number of them is not rounded, lest it be 0."""
    cents, rest = divmod(int(micros), _MICROS_PER_CENT)
    return cents if not rest else micros / _MICROS_PER_CENT


def _whole_cents(micros: float) -> int:
    """What was spent, in the cents that are full; never less than nothing."""
    return max(0, int(micros) // _MICROS_PER_CENT)


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _iso(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None
