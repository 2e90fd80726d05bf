"""The simulator holds what Anthropic's own SDK expects of the API."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
import trio

from relay.simulator import Simulator

from .conftest import BODY, KEY

TOOL: Any = {"name": "shout", "input_schema": {"type": "object", "properties": {}}}
FIGURES = {"anthropic-sim-usage": json.dumps({"input_tokens": 1000, "output_tokens": 200})}


async def with_sdk(sim: Simulator, work: Callable[[anthropic.Anthropic], Any]) -> Any:
    """What `work` returns, in a thread, for the SDK's client does not know trio."""

    def run() -> Any:
        with anthropic.Anthropic(base_url=sim.base_url, api_key=KEY, max_retries=0) as client:
            return work(client)

    return await trio.to_thread.run_sync(run)


def streamed(client: anthropic.Anthropic, **fields: Any) -> Any:
    with client.messages.stream(**{**BODY, **fields}) as running:
        text = "".join(running.text_stream)
        return text, running.get_final_message()


async def test_a_stream_adds_up_to_the_message(sim: Simulator):
    text, final = await with_sdk(
        sim, lambda client: streamed(client, extra_headers={**FIGURES, "x-sim-citations": "1"})
    )
    assert text == final.content[0].text == "Simulated answer to: hello"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (1000, 200)
    assert len(final.content[0].citations) == 1


async def test_thinking_and_a_tool_are_parsed(sim: Simulator):
    fields = {"tools": [TOOL], "tool_choice": {"type": "any"}}
    thinking = {"type": "enabled", "budget_tokens": 1024}
    _, final = await with_sdk(sim, lambda client: streamed(client, thinking=thinking, **fields))
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    assert final.content[0].signature
    assert final.content[-1].input == {"text": "hello"}
    assert final.stop_reason == "tool_use"


async def test_tokens_are_counted_and_models_listed_over_pages(sim: Simulator):
    def work(client: anthropic.Anthropic) -> tuple[int, list[str]]:
        asked: Any = {"model": BODY["model"], "messages": BODY["messages"]}
        counted = client.messages.count_tokens(**asked).input_tokens
        return counted, [model.id for model in client.models.list(limit=2)]

    counted, ids = await with_sdk(sim, work)
    assert counted == 12
    assert len(ids) == 6


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limit", anthropic.RateLimitError),
        ("usage_limit", anthropic.BadRequestError),
        ("unauthorized", anthropic.AuthenticationError),
        ("forbidden", anthropic.PermissionDeniedError),
        ("broken", anthropic.InternalServerError),
        ("overloaded_midway", anthropic.APIStatusError),
        ('{"reset_at": 0}', anthropic.APIConnectionError),
    ],
)
async def test_a_fault_is_the_sdks_error(sim: Simulator, fault: str, error: type[Exception]):
    with pytest.raises(error):
        await with_sdk(
            sim, lambda client: streamed(client, extra_headers={"anthropic-sim-fault": fault})
        )
