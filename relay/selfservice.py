"""What a key's holder may see with the key alone: its limits, and what it has used."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from relay import usage
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
    """Answer with the key's budgets as Claude Code's /usage shows them.

    Source: GET /protocol of a Claude apps gateway 2.1.330; amounts are cents.
    """
    standing = await _standing(ctx, (await _known(ctx, client)).id)
    budgets = [
        one for one in standing.get("budgets", ()) if one["whose"] == "key" and one.get("till")
    ]
    fullest = max(budgets, key=lambda one: one["used"] / one["limit"], default=None)
    shown: dict[str, Any] = {
        "is_enabled": fullest is not None,
        "monthly_limit": None,
        "used_credits": None,
        "utilization": None,
        "currency": "USD",
    }
    if fullest is not None:
        shown["monthly_limit"] = _cents(fullest["limit"])
        shown["used_credits"] = _cents(fullest["used"])
        shown["utilization"] = _percent(fullest)
    limits = [
        {
            "kind": "spend",
            "group": one["period"],
            "percent": _percent(one),
            "resets_at": _iso(_moment(one["till"])),
            "severity": "normal",
            "is_active": one is fullest,
        }
        for one in budgets
    ]
    body = json.dumps({"extra_usage": shown, "limits": limits})
    await client.answer_json(200, body.encode())


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
    return round(micros / _MICROS_PER_CENT, 2)


def _percent(one: Mapping[str, Any]) -> float:
    return round(100 * float(one["used"]) / float(one["limit"]), 2)


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _iso(when: datetime | None) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else None
