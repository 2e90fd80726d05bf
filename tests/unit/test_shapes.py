"""Answers of an unusual shape: what they are, and the usual shape of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects import meters, shapes

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
INPUTS = st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=3)
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(
        lambda text, cited: {"type": "text", "text": text, "citations": [{"cited_text": cited}]},
        TEXTS,
        TEXTS,
    ),
    st.builds(
        lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature},
        TEXTS,
        TEXTS,
    ),
    st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXTS),
    st.builds(
        lambda kind, given: {"type": kind, "id": "toolu_1", "name": "f", "input": given},
        st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]),
        INPUTS,
    ),
    st.builds(lambda data: {"type": "something_new", "content": [data]}, TEXTS),
)
MESSAGES = st.builds(
    lambda blocks, reason: {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5",
        "content": blocks, "stop_reason": reason, "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    },
    st.lists(BLOCKS, max_size=4),
    st.sampled_from(["end_turn", "tool_use", "max_tokens"]),
)  # fmt: skip


@given(MESSAGES)
def test_a_message_told_as_events_is_the_same_message(message: dict[str, Any]):
    told = shapes.as_message(shapes.as_events(json.dumps(message).encode()))
    assert told is not None
    assert json.loads(told) == message


@given(MESSAGES, st.integers(1, 50))
def test_the_events_of_a_message_bill_the_same(message: dict[str, Any], size: int):
    meter = meters.meter(200, [(b"content-type", b"text/event-stream")], stream=True)
    events = shapes.as_events(json.dumps(message).encode())
    for start in range(0, len(events), size):
        meter.feed(events[start : start + size])
    assert meter.is_complete
    assert meter.tokens is not None
    assert (meter.tokens.input, meter.tokens.output) == (3, 5)
    assert meter.stop_reason == message["stop_reason"]


@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd_to_be_judged(data: bytes):
    shapes.error_of(data)
    shapes.error_of(data, is_event=True)
    shapes.event_name(data)
    shapes.as_message(data)
    assert isinstance(shapes.is_message(data), bool)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', 529),
        (b'{"error":{"type":"rate_limit_error","message":"x"}}', 429),
        (b'{"error":{"type":["odd"],"message":5}}', 500),
        (b'{"error":{}}', 500),
        (b'{"type":"error"}', 500),
    ],
)
def test_an_error_has_the_status_that_belongs_to_its_type(data: bytes, status: int):
    found = shapes.error_of(data)
    assert found is not None
    assert found[0] == status
    told = json.loads(found[1])
    assert told["type"] == "error"
    assert isinstance(told["error"]["message"], str)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"error": null}', b'{"error": "x"}'])
def test_what_names_no_error_is_none(data: bytes):
    assert shapes.error_of(data) is None


def test_a_streams_names_are_put_in_once_and_nothing_else_changes():
    named = shapes.as_events(b'{"type": "message", "content": [], "usage": {}}')
    plain = b"\n".join(line for line in named.split(b"\n") if not line.startswith(b"event:"))
    for data, expected in ((named, named), (plain, named)):
        meter = meters.meter(200, [(b"content-type", b"text/event-stream")], stream=True)
        meter.feed(data)
        assert meter.passed(data) == expected
