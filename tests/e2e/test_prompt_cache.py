"""Prompt caching for clients that mark nothing, through a whole relay."""

from pathlib import Path
from typing import Any

import pytest

from relay import settings

from .conftest import Running, relay_running

BASE = "/openai/claude/v1"
TOOL: dict[str, Any] = {
    "name": "now",
    "description": "x" * 60_000,
    "parameters": {"type": "object"},
}
TURNS = 10


async def asked(relay: Running, path: str, said: list[Any], **more: Any) -> dict[str, Any]:
    if path == "/responses":
        body = {"input": said, "tools": [{"type": "function", **TOOL}], "instructions": "Be short."}
    else:
        body = {"messages": said, "tools": [{"type": "function", "function": TOOL}]}
    async with relay.client() as client:
        answer = await client.post(BASE + path, json={"model": "claude-opus-5-5", **body, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def prompt_of(usage: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a prompt, and those of them that were read from the cache."""
    details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
    whole = usage["prompt_tokens"] if "prompt_tokens" in usage else usage["input_tokens"]
    return whole, details["cached_tokens"]


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
async def test_a_conversation_of_ten_turns_is_read_from_the_cache(relay: Running, path: str):
    said: list[Any] = []
    prompts = []
    for turn in range(TURNS):
        said.append({"role": "user", "content": f"turn {turn} " + "word " * 60})
        answer = await asked(relay, path, said)
        prompts.append(prompt_of(answer["usage"]))
        said += answer.get("output") or [answer["choices"][0]["message"]]
    assert sum(cached for _, cached in prompts) >= 0.85 * sum(whole for whole, _ in prompts)
    (row,) = (await relay.report()).rows
    assert row.counters["cache_read_tokens"] == sum(cached for _, cached in prompts)


async def test_more_blocks_than_claude_looks_back_over_are_read_from_the_cache(relay: Running):
    said: list[Any] = [{"role": "user", "content": "word " * 3000}]
    first = await asked(relay, "/responses", said)
    call = {"type": "function_call", "name": "now", "arguments": "{}"}
    output = {"type": "function_call_output", "output": "noon"}
    said += [{**call, "call_id": f"call_{number}"} for number in range(30)]
    said += [{**output, "call_id": f"call_{number}"} for number in range(30)]
    second = await asked(relay, "/responses", said)
    assert prompt_of(second["usage"])[1] >= 0.9 * prompt_of(first["usage"])[0]


async def test_nothing_is_cached_where_the_operator_wants_none(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, openai_caches=False) as relay:
        said: list[Any] = [{"role": "user", "content": "word " * 3000}]
        for _ in range(2):
            answer = await asked(relay, "/chat/completions", said)
        assert prompt_of(answer["usage"])[1] == 0
        assert b"cache_control" not in relay.sim.requests[-1].body


def test_it_is_cached_by_default(tmp_path: Path):
    assert settings.load({"RELAY_HOME": str(tmp_path)}).openai_caches
