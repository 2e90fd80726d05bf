"""Chat Completions through a whole relay."""

import json
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from .conftest import Running

PATH = "/openai/claude/v1/chat/completions"
ASKED: dict[str, Any] = {
    "model": "claude-opus-5",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}],
    "max_tokens": 100,
}


async def post(relay: Running, **more: object) -> httpx.Response:
    async with relay.client() as client:
        return await client.post(PATH, json={**ASKED, **more})


async def test_a_request_is_answered_and_booked(relay: Running):
    answer = await post(relay)

    told = ChatCompletion.model_validate_json(answer.content, strict=True)
    assert answer.status_code == 200
    assert told.choices[0].finish_reason == "stop"
    assert told.choices[0].message.content
    assert told.usage is not None
    total = (await relay.report()).total
    assert (total["requests"], total["output_tokens"]) == (1, told.usage.completion_tokens)


async def test_a_stream_says_the_same_in_chunks_and_ends_with_done(relay: Running):
    whole = ChatCompletion.model_validate_json((await post(relay)).content)
    streamed = await post(relay, stream=True, stream_options={"include_usage": True})

    lines = [line[6:] for line in streamed.text.split("\n\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(line, strict=True) for line in lines]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"stop": 3}, "stop"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         "messages[0].content[0].type"),
        ({"messages": []}, "messages"),
    ],
)  # fmt: skip
async def test_what_claude_cannot_do_is_refused_with_the_fields_name(
    relay: Running, more: dict[str, Any], param: str
):
    answer = await post(relay, **more)

    assert answer.status_code == 400
    assert json.loads(answer.content)["error"]["param"] == param
