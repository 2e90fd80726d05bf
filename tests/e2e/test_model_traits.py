"""Models' traits through a whole relay: read from the upstream, used for the model that serves."""

import json
from typing import Any

import pytest

from relay.simulator import Fault

from .conftest import OTHER_KEYS, UPSTREAM_KEY, Running

CHAT = "/openai/claude/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
FORCED = {
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
}


async def sent(relay: Running, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the upstream got, and what the client."""
    async with relay.client() as client:
        answer = await client.post(CHAT, json=fields)
    assert answer.status_code == 200, answer.text
    return json.loads(relay.sim.requests[-1].body), answer.json()


async def test_the_regular_check_reads_what_the_models_can_do(relay: Running):
    [account] = await relay.ctx.accounts.list()
    assert relay.ctx.models.find("claude-opus-5-5") is None
    await relay.ctx.checks.check(account)
    known = relay.ctx.models.find("claude-opus-5-5", account.id)
    assert known is not None
    assert (known.traits.thinking, known.lifecycle) == ("always", "active")


async def test_a_request_is_translated_by_what_the_upstream_lists(relay: Running):
    [account] = await relay.ctx.accounts.list()
    entry = {"id": "claude-opus-5-5", "max_tokens": 4321}
    await relay.ctx.models.learn(account.id, json.dumps({"data": [entry]}).encode())
    body, _ = await sent(relay, model="claude-opus-5-5", messages=FORCED["messages"])
    assert body["max_tokens"] == 4321


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_suits_the_model_that_the_account_has_for_it(relay: Running, stream: bool):
    """The upstream refuses a forced call of that model, not of the one asked for."""
    [account] = await relay.ctx.accounts.list()
    await relay.ctx.accounts.edit(account.id, model_map={"claude-opus-5": "claude-opus-5-5"})
    async with relay.client() as client:
        answer = await client.post(
            CHAT, json={**FORCED, "model": "claude-opus-5", "stream": stream}
        )
    assert answer.status_code == 200, answer.text
    body = json.loads(relay.sim.requests[-1].body)
    assert body["model"] == "claude-opus-5-5"
    assert body["tool_choice"] == {"type": "none"}
    assert "tool_calls" in answer.text
    assert "weather" in answer.text


async def test_a_failover_suits_the_request_to_the_next_account_s_model(relay: Running):
    [first] = await relay.ctx.accounts.list()
    mapped = {"claude-opus-5": "claude-opus-5-5"}
    await relay.ctx.accounts.edit(first.id, model_map=mapped, priority=10)
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=429, headers={"retry-after": "30"})
    _, answer = await sent(relay, **FORCED, model="claude-opus-5")
    assert answer["choices"][0]["message"]["tool_calls"]
    bodies = [json.loads(request.body) for request in relay.sim.requests]
    assert [(body["model"], body["tool_choice"]["type"]) for body in bodies] == [
        ("claude-opus-5-5", "none"),
        ("claude-opus-5", "tool"),
    ]
