"""Whatever shape an upstream's answer has, both of OpenAI's dialects tell what they can read."""

import json
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from relay.dialects.chat import answer as chat_answer
from relay.dialects.chat import request as chat_request
from relay.dialects.chat import stream as chat_stream
from relay.dialects.openai.answered import Frame
from relay.dialects.responses import request as responses_request
from relay.dialects.responses import stream as responses_stream
from relay.dialects.responses.answer import Frame as ResponsesFrame

from . import chat_corpus, responses_corpus
from .responses_corpus import MODEL, Json

WORDS = (
    "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search",
    "web_search_tool_result", "weather", "refusal", "tool_use", "max_tokens",
    "web_search_result_location", "text_delta", "input_json_delta", "citations_delta",
)  # fmt: skip
FIELDS = (
    "type", "content", "text", "thinking", "signature", "data", "name", "id", "input", "citations",
    "url", "title", "stop_reason", "stop_details", "explanation", "usage", "input_tokens",
    "output_tokens", "output_tokens_details", "service_tier", "model", "delta", "partial_json",
    "citation", "content_block", "message", "error",
)  # fmt: skip
EVENTS = (
    b"message_start", b"content_block_start", b"content_block_delta", b"content_block_stop",
    b"message_delta", b"message_stop", b"error", b"ping",
)  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=15,
)
_objects = st.dictionaries(st.sampled_from(FIELDS), _json, max_size=5)
_blocks = st.builds(lambda kind, more: {**more, "type": kind}, st.sampled_from(WORDS[:7]), _objects)
_messages = st.builds(
    lambda blocks, more: {**more, "content": blocks}, st.lists(_blocks, max_size=3), _objects
)
_begun = st.builds(lambda block: (b"content_block_start", {"content_block": block}), _blocks)
_more = st.builds(lambda delta: (b"content_block_delta", {"delta": delta}), _objects)
_events = _begun | _more | st.tuples(st.sampled_from(EVENTS), _objects)


def of_chat() -> Frame:
    asked = {"model": MODEL, "messages": chat_corpus.ASKED, "tools": [chat_corpus.WEATHER]}
    return Frame("req_1", chat_request.translate(asked), now=lambda: 1)


def of_responses() -> ResponsesFrame:
    tools = [responses_corpus.WEATHER, responses_corpus.PATCH, {"type": "web_search"}]
    asked = {"model": MODEL, "input": "hello", "tools": tools, "reasoning": {"summary": "auto"}}
    return ResponsesFrame("req_1", responses_request.translate(asked), now=lambda: 1)


@pytest.mark.parametrize(
    ("frame", "whole", "kind"),
    [
        (of_chat, chat_answer.whole, ChatCompletion),
        (of_responses, responses_stream.whole, Response),
    ],
    ids=["chat", "responses"],
)
@given(said=_objects | _messages)
@example(said={"content": 3})
@example(said={"usage": {"input_tokens": "many", "output_tokens_details": 3}})
@example(said={"content": [{"type": "text", "citations": 3}]})
@settings(max_examples=200, deadline=None)
def test_a_whole_answer(frame: Callable[[], Any], whole: Callable[[Any, Json], Json],
                        kind: type[pydantic.BaseModel], said: Json):  # fmt: skip
    kind.model_validate_json(json.dumps(whole(frame(), said)), strict=True)


ODD = [
    (b"content_block_delta", b"{}"),
    (b"content_block_start", b"[]"),
    (b"new", b"{}"),
    (b"content_block_start", b"{}"),
    (b"message_delta", b"{"),
    (b"message_stop", b"{}"),
]
STREAMS = pytest.mark.parametrize(
    "make",
    [lambda: chat_stream.Stream(of_chat()), lambda: responses_stream.Stream(of_responses())],
    ids=["chat", "responses"],
)


@STREAMS
def test_events_that_cannot_be_read_are_passed_over(make: Callable[[], Any]):
    stream = make()

    assert [stream.event(*event) for event in ODD] == [b""] * len(ODD)


@STREAMS
@given(said=st.lists(_events, max_size=8))
@settings(max_examples=200, deadline=None)
def test_events(make: Callable[[], Any], said: list[tuple[bytes, Json]]):
    stream = make()
    told = stream.event(b"message_start", b"{}")
    told += b"".join(stream.event(name, json.dumps(fields).encode()) for name, fields in said)
    told += stream.event(b"message_stop", b"{}")

    assert told.endswith(b"\n\n")
