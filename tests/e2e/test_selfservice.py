"""What a key's holder sees of its limits and its use, with the key alone."""

import datetime

import pytest
import trio

from .conftest import BODY, SOON_S, Running, redis_process, redis_url

__all__ = ["redis_process", "redis_url"]


async def get(relay: Running, path: str, key: str) -> dict[str, object]:
    async with relay.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, object] = answer.json()
    return found


async def spend(relay: Running, key: str, requests: int) -> int:
    """Some requests; what they cost, micro-dollars."""
    async with relay.client(headers={"x-api-key": key}) as client:
        for _ in range(requests):
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200
    await relay.settled()
    spent = await relay.ctx.store._db.hash("{relay}:spend:relay")
    return int(spent["total"])


async def test_a_key_tells_what_is_used_of_each_of_its_limits(relay: Running):
    await relay.ctx.owners.set("team", {"monthly": "10"})
    _, key = await relay.ctx.keys.create(
        "limited", rate="10/60", daily=50, monthly=500, concurrency=5, tokens_per_minute=100_000,
        budgets={"daily": "1", "total": "3"}, owner="team",
    )  # fmt: skip
    cost = await spend(relay, key, 2)
    told = await get(relay, "/api/v1/usage", key)
    limits = told["limits"]
    assert limits["rate"] == {"limit": 10, "used": 2, "window_ms": 60000}
    assert limits["concurrency"] == {"limit": 5, "used": 0}
    assert limits["tokens"]["used"] > 0
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    assert limits["daily"] == {"limit": 50, "used": 2, "resets_at": f"{tomorrow}T00:00:00Z"}
    assert limits["monthly"]["used"] == 2
    usd = f"{cost / 1_000_000:.6f}"
    assert [(one["whose"], one["period"], one["limit_usd"]) for one in told["budgets"]] == [
        ("key", "daily", "1.000000"),
        ("key", "total", "3.000000"),
        ("owner", "monthly", "10.000000"),
    ]
    assert {one["used_usd"] for one in told["budgets"]} == {usd}
    assert {one["held_usd"] for one in told["budgets"]} == {"0.000000"}
    for span in ("today", "month"):
        assert told[span]["models"][BODY["model"]]["requests"] == 2
        assert told[span]["models"][BODY["model"]]["cost_usd"] == usd


async def test_a_key_sees_nothing_of_another(relay: Running):
    _, other = await relay.ctx.keys.create("other", budgets={"daily": "1"})
    await spend(relay, other, 1)
    told = await get(relay, "/v1/usage", relay.key)
    assert told["key"]["name"] == "alice"
    assert told["budgets"] == []
    assert told["today"]["models"] == {}
    assert "rate" not in told["limits"]


async def test_what_runs_is_held(relay: Running):
    _, key = await relay.ctx.keys.create("limited", budgets={"total": "1"}, concurrency=2)
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(spend, relay, key, 1)
        with trio.fail_after(SOON_S):
            while await relay.ctx.store.leases.count() != 1:  # noqa: ASYNC110
                await trio.sleep(0.01)
        told = await get(relay, "/v1/usage", key)
    assert told["limits"]["concurrency"] == {"limit": 2, "used": 1}
    most = relay.ctx.prices.most(BODY["model"], 0, BODY["max_tokens"])
    assert float(told["budgets"][0]["held_usd"]) * 1_000_000 > most


@pytest.mark.parametrize("path", ["/api/oauth/usage", "/api/api/oauth/usage"])
async def test_claude_code_reads_the_fullest_budget_in_cents(relay: Running, path: str):
    _, key = await relay.ctx.keys.create("limited", budgets={"daily": "0.01", "monthly": "20"})
    cost = await spend(relay, key, 1)
    told = await get(relay, path, key)
    percent = cost // 100
    assert told["extra_usage"] == {
        "is_enabled": True,
        "monthly_limit": 1,
        "used_credits": cost // 10_000,
        "utilization": percent,
        "currency": "USD",
    }
    daily, monthly = told["limits"]
    assert (daily["group"], daily["percent"], daily["is_active"]) == ("daily", percent, True)
    assert (monthly["group"], monthly["percent"], monthly["is_active"]) == ("monthly", 0, False)
    assert daily["resets_at"].endswith("T00:00:00Z")


@pytest.mark.parametrize("budgets", [{}, {"total": "3"}])
async def test_without_a_budget_that_resets_the_day_week_and_month_are_shown(
    relay: Running, budgets: dict[str, str]
):
    created, key = await relay.ctx.keys.create("unlimited", budgets=budgets)
    cost = await spend(relay, key, 2)
    day = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    await relay.ctx.store._db.call("HINCRBY", f"{{relay}}:spend:key:{created.id}", day, 123_456)
    cents = (cost + 123_456) // 10_000
    told = await get(relay, "/api/oauth/usage", key)
    assert told == {
        "extra_usage": {
            "is_enabled": True,
            "monthly_limit": None,
            "used_credits": cents,
            "utilization": None,
            "currency": "USD",
            "daily": {"limit": None, "used_credits": cents, "utilization": None},
            "weekly": {"limit": None, "used_credits": cents, "utilization": None},
        },
        "limits": [],
    }


async def test_the_dollars_belong_to_the_budget_that_the_headers_describe(relay: Running):
    """Claude Code shows them only where both name the same second."""
    _, key = await relay.ctx.keys.create(
        "limited", budgets={"total": "0.05", "monthly": "20", "weekly": "0.06", "daily": "1"}
    )
    await spend(relay, key, 1)
    async with relay.client(headers={"x-api-key": key}) as client:
        answer = await client.post("/v1/messages", json=BODY)
        told = await get(relay, "/api/oauth/usage", key)
    reset = int(answer.headers["anthropic-ratelimit-unified-overage-reset"])
    (active,) = (row for row in told["limits"] if row["is_active"])
    assert active["group"] == "weekly"
    assert datetime.datetime.fromisoformat(active["resets_at"]).timestamp() == reset


@pytest.mark.parametrize("path", ["/api/v1/usage", "/api/oauth/usage"])
async def test_a_wrong_key_sees_nothing(relay: Running, path: str):
    async with relay.client() as client:
        answer = await client.get(path, headers={"x-api-key": "sk-relay-wrong"})
        assert answer.status_code == 401
        assert (await client.post(path)).status_code == 405
    await relay.ctx.keys.set_enabled("alice", enabled=False)
    async with relay.client() as client:
        assert (await client.get(path)).status_code == 401
