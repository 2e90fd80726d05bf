"""What a client sees of its limits, and that two relays together let nothing more through."""

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
import trio

from relay.simulator.faults import Fault

from .conftest import BODY, SOON_S, Running, redis_process, redis_url, relay_running
from .test_pool import two_relays

__all__ = ["redis_process", "redis_url"]

CONTENT = json.dumps(BODY)


async def ask(relay: Running, key: str, body: str = CONTENT, **headers: str) -> httpx.Response:
    async with relay.client(timeout=30) as client:
        given = {"x-api-key": key, "content-type": "application/json", **headers}
        return await client.post("/v1/messages", content=body, headers=given)


async def limited(relay: Running, **settings: object) -> str:
    _, key = await relay.ctx.keys.create("limited", **settings)
    return key


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("limit", ["strict", "soft", "rate", "concurrency"])
async def test_fifty_at_once_on_two_relays_pass_exactly_what_the_limit_is(
    redis_url: str, tmp_path: Path, limit: str, attempt: int
):
    settings: dict[str, dict[str, object]] = {
        "strict": {"budgets": {"total": "0.02"}, "budget_mode": "strict"},
        "soft": {"budgets": {"daily": "0.02"}, "budget_mode": "soft"},
        "rate": {"rate": "10/60"},
        "concurrency": {"concurrency": 5},
    }
    async with two_relays(redis_url, tmp_path) as (one, two):
        key = await limited(one, **settings[limit])
        most = one.ctx.prices.most(BODY["model"], len(CONTENT), BODY["max_tokens"])
        # A new key is expected to use a tenth of its max_tokens, at $25 a million.
        expected = len(CONTENT) // 4 * 5 + BODY["max_tokens"] * 25 // 10
        soft = min(20_000 // expected, 2 * 20_000 // most)
        passes = {"strict": 20_000 // most, "soft": soft, "rate": 10, "concurrency": 5}
        codes: Counter[int] = Counter()

        async def one_request(relay: Running) -> None:
            codes[(await ask(relay, key)).status_code] += 1

        async with trio.open_nursery() as nursery, one.sim.hold():
            for number in range(50):
                nursery.start_soon(one_request, (one, two)[number % 2])
            with trio.fail_after(3 * SOON_S):
                while codes[429] < 50 - passes[limit]:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert codes == {200: passes[limit], 429: 50 - passes[limit]}


async def test_a_burst_of_dear_requests_passes_a_soft_budget_by_one_more_at_most(relay: Running):
    """Six cheap requests teach the relay that this key's are cheap; then a hundred are dear."""
    budget = 50_000
    key = await limited(relay, budgets={"daily": "0.05"}, budget_mode="soft")
    body = json.dumps({**BODY, "max_tokens": 500})
    cheap = {"anthropic-sim-usage": json.dumps({"input_tokens": 10, "output_tokens": 1})}
    for _ in range(6):
        assert (await ask(relay, key, body, **cheap)).status_code == 200
    used = (await relay.report()).total["cost_micros"]
    dear = {"anthropic-sim-usage": json.dumps({"input_tokens": 10, "output_tokens": 500})}
    passes = (2 * budget - used) // relay.ctx.prices.most(BODY["model"], len(body), 500)
    codes: Counter[int] = Counter()

    async def one_request() -> None:
        answer = await ask(relay, key, body, **dear)
        codes[answer.status_code] += 1
        if answer.status_code == 429:
            assert "what runs already may use up" in answer.json()["error"]["message"]
            assert answer.headers["retry-after"] == "1"

    async with trio.open_nursery() as nursery, relay.sim.hold():
        for _ in range(100):
            nursery.start_soon(one_request)
        with trio.fail_after(3 * SOON_S):
            while codes[429] < 100 - passes:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert codes == {200: passes, 429: 100 - passes}
    assert (await relay.report()).total["cost_micros"] <= 2 * budget


async def test_a_reached_rate_says_which_limit_and_until_when(relay: Running):
    key = await limited(relay, rate="1/60")
    await ask(relay, key)
    answer = await ask(relay, key)
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["type"] == "rate_limit_error"
    assert error["message"].startswith("Rate limit exceeded: 1 requests per 60 s.")
    assert int(answer.headers["retry-after"]) in (59, 60)


async def test_a_spent_budget_is_told_as_claude_code_reads_it(relay: Running):
    key = await limited(relay, budgets={"daily": "0.000001"})
    answer = await ask(relay, key)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "billing_error"
    assert answer.json()["error"]["message"].startswith("spend limit reached (daily, $0.00; resets")
    assert answer.headers["x-should-retry"] == "false"
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    unified = "anthropic-ratelimit-unified-"
    assert answer.headers[f"{unified}status"] == "rejected"
    assert answer.headers[f"{unified}overage-period"] == "daily"
    assert f"{unified}representative-claim" not in answer.headers
    assert f"{unified}overage-scope" not in answer.headers


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
async def test_a_spent_budget_that_an_owner_shares_is_told_as_a_groups(relay: Running, period: str):
    await relay.ctx.owners.set("team", {period: "0.000001"})
    key = await limited(relay, owner="team", budgets={"daily": "5"})
    answer = await ask(relay, key)
    unified = "anthropic-ratelimit-unified-"
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "billing_error"
    assert answer.headers[f"{unified}overage-scope"] == "group_pool"
    assert answer.headers[f"{unified}overage-period"] == period
    assert answer.headers[f"{unified}overage-disabled-reason"] == "org_spend_cap_reached"


async def test_a_refused_request_is_not_told_how_full_the_budget_is(relay: Running):
    key = await limited(relay, budgets={"daily": "5"})
    relay.sim.script.append(Fault(status=400))
    answer = await ask(relay, key)
    assert answer.status_code == 400
    assert not [name for name in answer.headers if name.startswith("anthropic-ratelimit-")]


async def test_a_budget_for_good_does_not_say_when_to_come_back(relay: Running):
    key = await limited(relay, budgets={"total": "0.000001"})
    answer = await ask(relay, key)
    assert "retry-after" not in answer.headers
    assert "does not reset" in answer.json()["error"]["message"]


async def test_the_operator_tells_those_who_are_blocked_whom_to_ask(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, blocked_message="Ask Kim for more.") as relay:
        key = await limited(relay, budgets={"total": "0.000001"})
        message = (await ask(relay, key)).json()["error"]["message"]
    assert message == "spend limit reached (total, $0.00; it does not reset). Ask Kim for more."


async def test_a_good_answer_tells_how_full_the_budget_is(relay: Running):
    key = await limited(relay, budgets={"daily": "0.01"})
    relay.sim.script.clear()
    for _ in range(3):
        answer = await ask(relay, key)
        await relay.settled()
    assert answer.status_code == 200
    spent = int((await relay.ctx.store._db.hash("{relay}:spend:relay"))["total"])
    told = answer.headers["anthropic-ratelimit-unified-overage-utilization"]
    assert float(told) == int(spent * 2 / 3 / 10_000 * 100) / 100
    assert answer.headers["anthropic-ratelimit-unified-status"] == "allowed"
    assert "anthropic-ratelimit-unified-status" not in (await ask(relay, relay.key)).headers


@pytest.mark.parametrize(
    ("agent", "passes"),
    [
        ("claude-cli/2.1.330 (external, cli)", True),
        ("claude-cli/2.1.330 (external, sdk-cli, client-app/my-app/1.0)", True),
        ("claude-code/2.1.330", True),
        ("GeminiCLI-tui/0.61.0/gemini-3.1-pro-preview (linux; x64; terminal)", False),
        ("curl/8.0", False),
    ],
)
async def test_a_key_may_be_held_to_claude_code(relay: Running, agent: str, passes: bool):
    key = await limited(relay, clients=["claude_code"])
    answer = await ask(relay, key, **{"user-agent": agent})
    assert answer.status_code == (200 if passes else 403)


async def test_a_key_may_be_held_to_addresses(relay: Running):
    key = await limited(relay, networks=["10.0.0.0/8"])
    assert (await ask(relay, key)).status_code == 403
    # Nobody is trusted to tell another address.
    assert (await ask(relay, key, **{"x-forwarded-for": "10.1.2.3"})).status_code == 403
    await relay.ctx.keys.edit("limited", networks=["127.0.0.0/8"])
    assert (await ask(relay, key)).status_code == 200


@pytest.mark.parametrize(
    ("extra", "passes"),
    [
        ({}, True),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]}, True),
        ({"tools": [{"name": "mine", "input_schema": {"type": "object"}}]}, True),
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://x"}}]}]}, True),
        ({"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, False),
    ],
)  # fmt: skip
async def test_a_strict_budget_refuses_what_it_cannot_bound(
    relay: Running, extra: dict, passes: bool
):
    key = await limited(relay, budgets={"total": "50"})
    answer = await ask(relay, key, json.dumps({**BODY, **extra}))
    assert answer.status_code == (200 if passes else 400)
    assert passes or "strict budget" in answer.json()["error"]["message"]


HIDDEN = [
    '{"model":"claude-opus-5","max_tokens":9,"messages":[],"con\\u0074ainer":'
    '{"skills":[{"type":"anthropic","skill_id":"pdf"}]}}',
    '{"model":"claude-opus-5","max_tokens":9,"messages":[],"tools":'
    '[{"type":"web\\u005fsearch_20250305","name":"web\\u005Fsearch"}]}',
    '{"model":"claude-opus-5","max_tokens":9,"messages":[],"mcp\\u005fservers":'
    '[{"type":"u\\u0072l","url":"https://x","name":"a"}]}',
    '{"model":"claude-opus-5","messages":[]}',
]


@pytest.mark.parametrize("body", HIDDEN)
async def test_no_spelling_of_a_request_passes_a_strict_budget(relay: Running, body: str):
    key = await limited(relay, budgets={"total": "50"})
    batch = f'{{"requests":[{{"custom_id":"a","params":{body}}}]}}'
    async with relay.client(timeout=30) as client:
        for path, content in (("/v1/messages", body), ("/v1/messages/batches", batch)):
            headers = {"x-api-key": key, "content-type": "application/json"}
            answer = await client.post(path, content=content, headers=headers)
            assert answer.status_code == 400
            assert "strict budget" in answer.json()["error"]["message"]
    assert not relay.sim.requests


@pytest.mark.parametrize("number", ["10000001", "1" + "0" * 19, "1" + "0" * 400])
async def test_max_tokens_that_nothing_can_have_names_the_field_and_holds_nothing(
    relay: Running, number: str
):
    key = await limited(relay, budgets={"daily": "5"})
    body = f'{{"model":"claude-opus-5","max_tokens":{number},"messages":[]}}'
    batch = f'{{"requests":[{{"custom_id":"a","params":{body}}}]}}'
    async with relay.client(timeout=30) as client:
        for path, content, field in (
            ("/v1/messages", body, "max_tokens: "),
            ("/v1/messages/batches", batch, "requests[0].params.max_tokens: "),
            ("/openai/claude/v1/chat/completions", body, "max_tokens: "),
        ):
            headers = {"x-api-key": key, "content-type": "application/json"}
            answer = await client.post(path, content=content, headers=headers)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"].startswith(field)
    assert await relay.ctx.store.leases.count() == 0


async def test_a_strict_budget_reserves_what_the_upstreams_own_tools_may_read(relay: Running):
    """A search costs a cent, and what it finds is input of up to a model's whole context."""
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]
    body = json.dumps({**BODY, "tools": tools})
    for usd, status in (("33.02", 429), ("34", 200)):
        await relay.ctx.keys.create(usd, budgets={"total": usd})
        _, key = await relay.ctx.keys.rotate(usd, 0)
        assert (await ask(relay, key, body)).status_code == status


async def test_a_rotated_key_works_beside_its_successor_until_its_grace_is_over(relay: Running):
    old = await limited(relay)
    _, new = await relay.ctx.keys.rotate("limited", grace_s=60)
    assert [(await ask(relay, key)).status_code for key in (old, new)] == [200, 200]
    _, newest = await relay.ctx.keys.rotate("limited", grace_s=0)
    codes = [(await ask(relay, key)).status_code for key in (old, new, newest)]
    assert codes == [401, 401, 200]


async def test_after_everything_has_settled_nothing_is_held(relay: Running):
    key = await limited(relay, budgets={"total": "5", "daily": "5"}, tokens_per_minute=100_000)
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(ask, relay, key)
    await relay.settled()
    (found,) = [one for one in await relay.ctx.keys.list() if one.name == "limited"]
    figures = await relay.ctx.store._db.hash("{relay}:spend:key:" + found.id)
    assert (figures["held_most"], figures["held_expected"]) == ("0", "0")
    assert int(figures["total"]) == (await relay.report()).total["cost_micros"]
