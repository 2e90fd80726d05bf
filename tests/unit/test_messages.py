"""The Messages dialect: what is read of a request, and usage out of every form of answer."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.call import Meter
from relay.dialects import messages
from relay.pricing import Tokens

JSON_HEADERS = [(b"content-type", b"application/json")]
EVENT_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]


def read(body: bytes, headers: list[tuple[bytes, bytes]] = JSON_HEADERS):
    return messages.read("messages", "POST", b"/v1/messages", body, headers)


def stream_meter(*events: tuple[str, dict]) -> Meter:
    meter = messages.meter(200, EVENT_HEADERS, stream=True)
    for event, data in events:
        meter.feed(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
    return meter


def test_the_fields_that_routing_needs_are_read():
    call = read(b'{"model":"claude-opus-5","max_tokens":5,"stream":true,"messages":[]}')
    assert (call.model, call.max_tokens, call.stream) == ("claude-opus-5", 5, True)


def test_the_body_stays_as_it_came():
    body = b' {"messages" : [ ],\n "model":"claude-\\u006fpus", "x":1.0e5 } \n'
    assert read(body).body is body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"model":"a"',
        b'{"model":"a"} x',
        b'{"model":"a","x":NaN}',
        b'{"model":"a","x":"\xff"}',
        b'\xef\xbb\xbf{"model":"a"}',
        b'{"model":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes):
    with pytest.raises(errors.BadRequest):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","x":1,"mod\\u0065l":"b"}',
        b'{"x":1,"model":"a","x":1}',
        b'{"model":"a","max_tokens":1,"max_tokens":100000}',
    ],
)
def test_a_field_that_stands_twice_is_refused(body: bytes):
    with pytest.raises(errors.BadRequest, match=r"twice|repeats"):
        read(body)


def test_names_repeated_inside_other_objects_are_nobodys_business():
    assert read(b'{"model":"a","tools":[{"model":1},{"model":2,"model":3}]}').model == "a"


FIELD_NAMES = st.text(min_size=1, max_size=6).filter(lambda name: name != "model")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(FIELD_NAMES, VALUES, max_size=6), st.booleans(), st.integers(0, 3))
def test_any_object_with_unique_names_is_read(fields: dict, is_ascii: bool, indent: int):
    fields = {
        name: value
        for name, value in fields.items()
        if name not in ("max_tokens", "stream", "metadata")
    }
    text = json.dumps({**fields, "model": "m"}, ensure_ascii=is_ascii, indent=indent or None)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    if "\\ud" not in text:
        assert read(body).model == "m"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "model"),
        (b'{"model":""}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":"a\\nb"}', "model"),
        (b'{"model":"a","max_tokens":"x"}', "max_tokens"),
        (b'{"model":"a","max_tokens":-1}', "max_tokens"),
        (b'{"model":"a","stream":"yes"}', "stream"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(body: bytes, field: str):
    with pytest.raises(errors.BadRequest, match=f"^{field}: "):
        read(body)


def test_a_compressed_body_is_refused():
    with pytest.raises(errors.BadRequest, match="Content-Encoding"):
        read(b'{"model":"a"}', [(b"content-encoding", b"gzip")])


def test_the_session_comes_from_claude_codes_header():
    call = read(b'{"model":"a"}', [(b"x-claude-code-session-id", b"abc")])
    assert call.session == "abc"


def test_the_session_comes_from_the_metadata_when_no_header_names_it():
    user_id = json.dumps({"device_id": "d", "session_id": "s-1"})
    body = json.dumps({"model": "a", "metadata": {"user_id": user_id}}).encode()
    assert read(body).session == "s-1"


@pytest.mark.parametrize("metadata", [None, 5, {"user_id": "plain"}, {"user_id": None}, {"x": 1}])
def test_metadata_of_any_other_form_names_no_session(metadata: object):
    assert read(json.dumps({"model": "a", "metadata": metadata}).encode()).session == ""


START = {
    "type": "message_start",
    "message": {
        "model": "claude-opus-5",
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 40,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 1,
        },
    },
}


def delta(text: str) -> tuple[str, dict]:
    return "content_block_delta", {"delta": {"type": "text_delta", "text": text}}


def test_a_streams_usage_is_the_last_word_on_each_figure():
    end = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 25}}
    meter = stream_meter(("message_start", START), ("message_delta", end), ("message_stop", {}))
    assert meter.tokens == Tokens(10, 25, 40, 10, 20, 0)
    assert (meter.model, meter.stop_reason, meter.is_complete) == (
        "claude-opus-5",
        "end_turn",
        True,
    )


def test_the_closing_delta_may_correct_the_input_figures():
    end = {
        "delta": {},
        "usage": {
            "input_tokens": 11,
            "output_tokens": 3,
            "server_tool_use": {"web_search_requests": 2},
        },
    }
    meter = stream_meter(("message_start", START), ("message_delta", end))
    assert meter.tokens == Tokens(11, 3, 40, 10, 20, 2)


def test_cache_writes_without_a_split_count_as_five_minute_writes():
    start = {"message": {"usage": {"input_tokens": 1, "cache_creation_input_tokens": 9}}}
    meter = stream_meter(("message_start", start))
    assert meter.tokens == Tokens(input=1, cache_write_5m=9)


def test_every_kind_of_output_text_counts_for_the_floor():
    meter = stream_meter(
        delta("four"),
        ("content_block_delta", {"delta": {"type": "thinking_delta", "thinking": "abc"}}),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": "{}"}}),
    )
    assert meter.chars == 4 + 3 + 2


def test_a_stream_that_stops_early_is_not_complete():
    meter = stream_meter(("message_start", START), delta("hello"))
    assert meter.has_begun
    assert not meter.has_ended


def test_an_upstreams_own_error_event_ends_a_stream_incomplete():
    meter = stream_meter(("message_start", START), ("error", {"type": "error"}))
    assert meter.has_ended
    assert not meter.is_complete


def test_garbage_in_a_stream_is_passed_over():
    meter = stream_meter(("message_start", START))
    meter.feed(b"event: message_delta\ndata: {{{\n\n\x00\xff\n\n")
    assert meter.tokens is not None


def test_a_packed_stream_is_read_but_takes_no_bytes_of_ours():
    headers = [*EVENT_HEADERS, (b"content-encoding", b"gzip")]
    meter = messages.meter(200, headers, stream=True)
    packed = gzip.compress(f"event: message_start\ndata: {json.dumps(START)}\n\n".encode())
    meter.feed(packed[:20])
    meter.feed(packed[20:])
    assert meter.tokens is not None
    assert not meter.at_boundary


@pytest.mark.parametrize("is_packed", [False, True])
def test_usage_is_read_from_a_whole_body(is_packed: bool):
    body = json.dumps(
        {"model": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 4}}
    ).encode()
    headers = [*JSON_HEADERS, (b"content-encoding", b"gzip")] if is_packed else JSON_HEADERS
    meter = messages.meter(200, headers, stream=False)
    data = gzip.compress(body) if is_packed else body
    meter.feed(data[:7])
    meter.feed(data[7:])
    meter.finish()
    assert meter.tokens == Tokens(input=3, output=4)
    assert meter.is_complete


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"usage":5}', b'{"usage":null}', b"[1]"])
def test_a_body_without_usage_gives_no_figures(body: bytes):
    meter = messages.meter(200, JSON_HEADERS, stream=False)
    meter.feed(body)
    meter.finish()
    assert meter.tokens is None


def test_the_error_frame_is_an_event_in_the_dialects_envelope():
    frame = messages.error_frame(errors.BadGateway("It broke."), "req_1")
    assert frame.startswith(b"event: error\ndata: ")
    assert json.loads(frame.split(b"data: ")[1]) == {
        "type": "error",
        "error": {"type": "api_error", "message": "It broke."},
        "request_id": "req_1",
    }


FALLBACK = {
    "content_block": {
        "type": "fallback",
        "from": {"model": "claude-fable-5-2"},
        "to": {"model": "claude-opus-5"},
        "trigger": {"type": "refusal", "category": "cyber"},
    },
}


def test_a_stream_that_breaks_off_after_a_model_declined_bills_both_models():
    usage = {"input_tokens": 1200, "output_tokens": 1, "cache_read_input_tokens": 30}
    start = {"message": {"model": "claude-fable-5-2", "usage": usage}}
    meter = stream_meter(
        ("message_start", start),
        delta("x" * 40),
        ("content_block_start", FALLBACK),
        delta("y" * 20),
    )
    own, declined = meter.bill("claude-fable-5-2", writes_long=False).parts
    assert (own.model, own.kind, own.tokens) == ("claude-opus-5", "message", Tokens(output=5))
    assert (declined.model, declined.kind) == ("claude-fable-5-2", "declined")
    assert declined.tokens == Tokens(input=1200, output=10, cache_read=30)


def test_a_model_that_declined_at_once_is_not_billed_when_the_stream_breaks_off():
    start = {"message": {"model": "claude-fable-5-2", "usage": {"input_tokens": 1200}}}
    meter = stream_meter(("message_start", start), ("content_block_start", FALLBACK), delta("yyyy"))
    own, declined = meter.bill("claude-fable-5-2", writes_long=False).parts
    assert (own.tokens, declined.kind) == (Tokens(output=1), "unbilled")
