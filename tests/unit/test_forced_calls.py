"""A call that a client forces, and a conversation that ends with Claude, where models refuse it."""

import json
from typing import Any

import msgspec
import pytest

from relay.dialects.chat import Chat
from relay.dialects.openai.asked import Choices
from relay.dialects.responses import Responses

from ..simulator import strict

NEWER = "claude-opus-5-5"
OLDER = "claude-opus-5"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
CLOSED = {**SCHEMA, "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"x": {"type": "object", "patternProperties": {}}}}


def function(name: str = "weather", schema: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


def flat(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", **tool["function"]}


def chat(**fields: Any) -> tuple[Chat, dict[str, Any]]:
    dialect = Chat("req_1", Choices())
    asked = {"model": NEWER, "messages": [{"role": "user", "content": "hello"}], **fields}
    call = dialect.read((), msgspec.json.encode(asked))
    return dialect, msgspec.json.decode(call.body)


def sent(api: str, tools: list[dict[str, Any]], wanted: Any, **more: Any) -> dict[str, Any]:
    """Claude's request of one that forces a call."""
    if api == "chat":
        named = {"type": "function", "function": {"name": wanted}}
        choice = wanted if wanted == "required" else named
        return chat(tools=tools, tool_choice=choice, **more)[1]
    choice = wanted if wanted == "required" else {"type": "function", "name": wanted}
    asked = {"model": NEWER, "input": "hello", "tools": [flat(tool) for tool in tools]}
    dialect = Responses("req_1", Choices())
    body = dialect.read((), msgspec.json.encode({**asked, "tool_choice": choice, **more})).body
    return msgspec.json.decode(body)


APIS = pytest.mark.parametrize("api", ["chat", "responses"])
FORCED = pytest.mark.parametrize(
    ("tools", "wanted", "more"),
    [
        ([function()], "weather", {}),
        ([function()], "required", {}),
        ([function(), function("other")], "weather", {}),
        ([function(), function("other")], "required", {}),
        ([function(schema=LOOSE)], "weather", {}),
        ([function(schema={})], "weather", {}),
        ([function(schema=CLOSED, strict=True)], "weather", {"parallel_tool_calls": False}),
    ],
)


@APIS
@FORCED
def test_no_forced_call_is_refused_by_a_model_that_takes_none(
    api: str, tools: list[Any], wanted: str, more: dict[str, Any]
):
    body = sent(api, tools, wanted, **more)
    strict.check(body)
    assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
    assert any("tool" in block["text"] for block in body["system"])


@APIS
@FORCED
def test_a_model_that_takes_it_is_still_forced(
    api: str, tools: list[Any], wanted: str, more: dict[str, Any]
):
    body = sent(api, tools, wanted, model=OLDER, **more)
    strict.check(body)
    assert body["tool_choice"]["type"] == ("any" if wanted == "required" else "tool")
    assert "system" not in body


@APIS
def test_a_single_function_becomes_the_form_of_the_answer(api: str):
    body = sent(api, [function(), function("other")], "weather")
    assert body["output_config"]["format"]["schema"] == CLOSED
    assert body["tool_choice"] == {"type": "none"}
    assert [tool["name"] for tool in body["tools"]] == ["weather", "other"]


@APIS
def test_what_cannot_be_a_form_is_asked_for_in_words(api: str):
    body = sent(api, [function(schema=LOOSE)], "weather")
    assert "tool_choice" not in body
    assert "format" not in body.get("output_config", {})
    assert "strict" not in body["tools"][0]


@APIS
def test_one_call_of_several_is_made_sure_by_strict_tools_where_they_can_be(api: str):
    body = sent(api, [function(schema=CLOSED), function("other", LOOSE)], "required")
    assert [tool.get("strict") for tool in body["tools"]] == [True, None]


def answer(text: str, reason: str = "end_turn") -> dict[str, Any]:
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": NEWER,
        "content": [thought, {"type": "text", "text": text}], "stop_reason": reason,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip


def events(text: str, reason: str = "end_turn") -> list[dict[str, Any]]:
    blocks = answer("")["content"]
    pieces = [text[:5], text[5:]]
    return [
        {"type": "message_start", "message": {**answer(text), "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": blocks[0]},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": blocks[1]},
        *(
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "text_delta", "text": one},
            }
            for one in pieces
        ),
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def test_the_form_is_told_as_the_call():
    dialect, _ = chat(
        tools=[function()], tool_choice={"type": "function", "function": {"name": "weather"}}
    )
    told = json.loads(dialect.retold_whole(msgspec.json.encode(answer('{"city": "Seoul"}'))))
    [choice] = told["choices"]
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Seoul"}'}
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None


def test_a_streamed_form_is_told_as_the_call():
    dialect, _ = chat(
        tools=[function()],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        stream=True,
    )
    kind = ((b"content-type", b"text/event-stream"),)
    meter = dialect.meter(200, kind, stream=True)
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))
        for event in events('{"city": "Seoul"}')
    )
    meter.feed(data)
    lines = dialect.retold(meter, data).decode().split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", [])]
    assert calls[0]["name"] == "weather"
    assert "".join(call["arguments"] for call in calls) == '{"city": "Seoul"}'
    assert not any(delta.get("content") for delta in deltas)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("text", ["I would rather not.", "[1]", '{"city": '])
def test_an_answer_that_is_no_object_stays_what_it_is(text: str):
    dialect, _ = chat(
        tools=[function()], tool_choice={"type": "function", "function": {"name": "weather"}}
    )
    told = json.loads(dialect.retold_whole(msgspec.json.encode(answer(text, "refusal"))))
    assert told["choices"][0]["message"]["content"] == text
    assert "tool_calls" not in told["choices"][0]["message"]


@pytest.mark.parametrize("model", [NEWER, OLDER, "claude-sonnet-4-6", "claude-haiku-4-5", "mine"])
@pytest.mark.parametrize("said", ["{", "Once upon ", "a\n"])
@pytest.mark.parametrize("effort", [None, "low"])
def test_a_conversation_that_ends_with_claude_goes_on(model: str, said: str, effort: str | None):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}]
    _, body = chat(model=model, messages=messages, reasoning_effort=effort, max_tokens=4096)
    strict.check(body)
    assert body["messages"][1]["content"][0]["text"].rstrip() == said.rstrip()


def test_what_is_added_to_a_conversation_s_end_changes_nothing_before_it():
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    _, shorter = chat(messages=messages)
    _, longer = chat(messages=[*messages, {"role": "user", "content": "go on"}])

    def plain(body: dict[str, Any]) -> list[Any]:
        return [
            [{**block, "cache_control": None} for block in message["content"]]
            for message in body["messages"]
        ]

    assert plain(shorter)[:2] == plain(longer)[:2]


@pytest.mark.parametrize("model", [NEWER, "claude-haiku-5-5", "claude-sonnet-5", "claude-opus-4-5"])
def test_no_reasoning_is_asked_for_as_each_model_takes_it(model: str):
    _, body = chat(model=model, reasoning_effort="none")
    strict.check(body)
    thinks = body.get("thinking", {}).get("type", "disabled")
    assert thinks == "disabled"
