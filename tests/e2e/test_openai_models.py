"""Models in OpenAI's words through a whole relay: the lists, and other names for models."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from openai.types import Model

from relay import simulator

from .conftest import UPSTREAM_KEY, Running, relay_running

BASE = "/openai/claude/v1"
ALIASES = {"gpt-4o": "claude-opus-5", "gpt-4o-mini": "claude-haiku-4-5", "mine": "claude-mine"}
MESSAGE = {"role": "user", "content": "hello"}
CHAT = {"model": "gpt-4o", "messages": [MESSAGE], "max_tokens": 100}
RESPONSE = {"model": "gpt-4o", "input": "hello", "max_output_tokens": 100}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture
async def relay(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A relay that knows other names for models."""
    async with relay_running(
        redis_url, tmp_path, openai_models=ALIASES, openai_caches=True
    ) as running:
        yield running


async def get(relay: Running, path: str, key: str = "") -> httpx.Response:
    async with relay.client(headers={"authorization": f"Bearer {key or relay.key}"}) as client:
        return await client.get(BASE + path)


async def sent(relay: Running, path: str, body: dict[str, object]) -> dict[str, object]:
    """What Claude is asked when a client asks for this."""
    async with relay.client() as client:
        answer = await client.post(BASE + path, json=body)
    assert answer.status_code == 200, answer.text
    asked: dict[str, object] = json.loads(relay.sim.requests[-1].body)
    return asked


async def test_all_models_are_listed_in_openais_form_with_their_other_names(relay: Running):
    answer = await get(relay, "/models")

    told = answer.json()
    assert (answer.status_code, told["object"]) == (200, "list")
    for one in told["data"]:
        Model.model_validate_json(json.dumps(one), strict=True)
    names = [one["id"] for one in told["data"]]
    assert names == [*(one["id"] for one in simulator.objects.MODELS), *ALIASES]
    created = {one["id"]: one["created"] for one in told["data"]}
    assert created["gpt-4o"] == created["claude-opus-5"] == 1_767_225_600
    assert created["mine"] == 0
    assert relay.sim.requests[-1].target == "/v1/models?limit=1000"
    assert relay.sim.requests[-1].header("anthropic-version") == "2023-06-01"


@pytest.mark.parametrize("name", ["claude-opus-5", "gpt-4o"])
async def test_one_model_is_told_by_the_name_that_was_asked_for(relay: Running, name: str):
    told = (await get(relay, f"/models/{name}")).json()

    assert told == {
        "id": name, "object": "model", "created": 1_767_225_600, "owned_by": "anthropic",
    }  # fmt: skip
    assert relay.sim.requests[-1].target == "/v1/models/claude-opus-5"


async def test_a_model_that_there_is_not_is_told_in_openais_words(relay: Running):
    answer = await get(relay, "/models/claude-of-old")

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_key_sees_only_its_models_and_their_other_names(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])

    listed = (await get(relay, "/models", key)).json()
    refused = await get(relay, "/models/gpt-4o", key)

    names = [one["id"] for one in listed["data"]]
    assert names == ["claude-haiku-5-5", "claude-haiku-4-5", "gpt-4o-mini"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_list_that_cannot_be_read_is_an_error_of_the_upstream(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = simulator.Fault(status=200, body="<html>")

    assert (await get(relay, "/models")).status_code == 502


@pytest.mark.parametrize(("path", "body"), [("/chat/completions", CHAT), ("/responses", RESPONSE)])
async def test_another_name_asks_for_claudes_model_and_the_answer_names_that(
    relay: Running, path: str, body: dict[str, object]
):
    async with relay.client() as client:
        answer = await client.post(BASE + path, json=body)

    assert json.loads(relay.sim.requests[-1].body)["model"] == "claude-opus-5"
    assert answer.json()["model"] == "claude-opus-5"
    (row,) = (await relay.report()).rows
    assert row.model == "claude-opus-5"


async def test_a_key_that_may_not_use_the_model_may_not_by_another_name(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])
    async with relay.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = await client.post(f"{BASE}/chat/completions", json=CHAT)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


async def test_tools_and_system_prompt_are_cached_where_the_operator_says_so(relay: Running):
    system = {"role": "system", "content": "Be short."}
    asked = await sent(
        relay, "/chat/completions", {**CHAT, "messages": [system, MESSAGE], "tools": [TOOL]}
    )

    assert asked["system"] == [{"type": "text", "text": "Be short.", **MARK}]
    assert [tool["cache_control"] for tool in asked["tools"]] == [MARK["cache_control"]]
    asked = await sent(relay, "/responses", {**RESPONSE, "instructions": "Be short."})
    assert asked["system"] == [{"type": "text", "text": "Be short.", **MARK}]


async def test_a_clients_own_marks_win_over_the_operators(relay: Running):
    part = {"type": "text", "text": "hello", **MARK}
    system = {"role": "system", "content": "Be short."}
    asked = await sent(
        relay,
        "/chat/completions",
        {**CHAT, "messages": [system, {"role": "user", "content": [part]}]},
    )

    assert asked["system"] == [{"type": "text", "text": "Be short."}]
    assert asked["messages"] == [{"role": "user", "content": [part]}]
