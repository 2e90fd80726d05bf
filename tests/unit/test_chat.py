"""Chat requests become Claude's, and Claude's answers chat completions."""

import json
import re
from typing import Any

import pydantic
from anthropic.types import MessageCreateParams
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from relay import errors
from relay.dialects.chat import answer, request, stream, treatment
from relay.dialects.openai.answered import Frame

MODEL = "claude-opus-4-5"
CALLS = [
    {"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    for name in ("a", "b")
]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def asked(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **more}


def test_results_of_parallel_calls_are_one_turn():
    results = [{"role": "tool", "tool_call_id": name, "content": name} for name in ("a", "b")]
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": CALLS}, *results]
    body = request.translate(asked(messages=talk, tools=[TOOL])).body

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [one["tool_use_id"] for one in body["messages"][2]["content"]] == ["a", "b"]


def test_settings_become_claudes():
    body = request.translate(
        asked(temperature=1.7, stop="END", user="u", tools=[TOOL], tool_choice="required",
              parallel_tool_calls=False)
    ).body  # fmt: skip

    assert body["temperature"] == 1.0
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u"}
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_an_older_function_goes_there_and_back():
    old = {"functions": [{"name": "weather", "parameters": {"type": "object"}}]}
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "function_call": CALLS[0]["function"]},
        {"role": "function", "name": "weather", "content": "sun"},
    ]
    frame = Frame("req_1", request.translate(asked(messages=talk, **old)))
    used = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
    told = answer.whole(frame, {"model": MODEL, "content": [used], "stop_reason": "tool_use"})

    choice = ChatCompletion.model_validate(told, strict=True).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert json.loads(choice.message.function_call.arguments) == {"city": "Bern"}


def test_a_call_streams_by_index_and_a_broken_stream_has_no_done():
    told = stream.Stream(Frame("req_1", request.translate(asked(tools=[TOOL]))))
    start = b'{"message":{"model":"claude-opus-4-5","usage":{"input_tokens":1}}}'
    use = b'{"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}'
    out = told.event(b"message_start", start) + told.event(b"content_block_start", use)
    out += told.event(b"content_block_stop", b"{}")
    chunks = [ChatCompletionChunk.model_validate_json(one[6:], strict=True)
              for one in out.split(b"\n\n")[:-1]]  # fmt: skip
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]

    assert [call.index for call in calls] == [0, 0]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == "{}"
    end = told.broken("overloaded_error", "busy")
    assert json.loads(end[6:])["error"]["code"] == "server_is_overloaded"
    assert told.event(b"message_stop", b"{}") == b""


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "tool", "function", "text", "image_url", "auto"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "name", "tool_calls", "function", "id", "url"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
_claude = pydantic.TypeAdapter(MessageCreateParams)
_fields = st.dictionaries(st.sampled_from(sorted(treatment.FIELDS)), _json, max_size=5)


@given(_fields, _json)
@settings(max_examples=300, deadline=None)
def test_any_json_becomes_a_request_or_a_refusal(fields: dict[str, Any], message: Any):
    begun = {**asked(), **fields}
    if isinstance(begun["messages"], list):
        begun["messages"] = [*begun["messages"], message]
    body, refusal = None, ""
    try:
        body = request.translate(begun).body
    except errors.BadRequest as refused:
        refusal = refused.message
    if body is None:
        assert re.match(r"[a-z_]+(\[\d+\]|\.[\w ]+)*: \S", refusal)
    else:
        assert body["messages"]
        _claude.validate_python(body)
