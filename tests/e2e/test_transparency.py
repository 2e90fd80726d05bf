"""Byte for byte: what the upstream receives is what the client sent, and so on the way back."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from .conftest import BODY, Running
from .scripted import Scripted, scripted_upstream
from .shapes import SHAPES, Shape

EXAMPLES = 200
JSON_HEADERS = [(b"content-type", b"application/json")]
EVENT_HEADERS = [(b"content-type", b"text/event-stream")]


def examples(strategy: st.SearchStrategy) -> list:
    """Two hundred values of a strategy, collected before the relay is asked anything."""
    collected: list = []

    @hypothesis.settings(
        max_examples=EXAMPLES, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(strategy)
    def collect(value: object) -> None:
        collected.append(value)

    collect()
    return collected


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_a_recorded_request_arrives_as_it_was_sent(relay: Running, shape: Shape):
    async with relay.client(headers={**shape.headers, "x-api-key": relay.key}) as client:
        answer = await client.post(shape.path, content=shape.body)
    assert answer.status_code == 200
    received = relay.sim.requests[-1]
    assert received.body == shape.body
    sent = {name.decode().lower(): value.decode() for name, value in received.headers}
    for name, value in shape.headers.items():
        if name.startswith(("anthropic-", "x-stainless-")):
            assert sent[name] == value
    assert received.target.partition("?")[2] == shape.path.partition("?")[2]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@st.composite
def request_bodies(draw: st.DrawFn) -> bytes:
    """A messages request with fields nobody has heard of, written in one of JSON's many ways."""
    fields = draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=5))
    fields |= {"model": "claude-opus-5", "max_tokens": draw(st.integers(1, 10**6))}
    fields |= {"messages": draw(st.lists(JSON_VALUES, max_size=3))}
    fields.pop("metadata", None)
    fields.pop("stream", None)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")]))
    text = json.dumps(
        fields,
        ensure_ascii=draw(st.booleans()),
        separators=separators,
        indent=draw(st.sampled_from([None, 1])),
    )
    padding = draw(st.sampled_from(["", " ", "\r\n\t"]))
    return (padding + text + padding).encode()


async def test_any_body_arrives_as_it_was_sent(relay: Running):
    async with scripted_upstream() as upstream:
        await point_at(relay, upstream, JSON_HEADERS)
        async with relay.client() as client:
            for body in examples(request_bodies()):
                answer = await client.post("/api/v1/messages", content=body)
                assert answer.status_code == 200, body
                assert upstream.bodies.pop() == body


async def point_at(relay: Running, upstream: Scripted, headers: list[tuple[bytes, bytes]]) -> None:
    upstream.headers = headers
    upstream.pieces = [b'{"content": []}']
    await relay.ctx.accounts.set_enabled("main", enabled=False)
    await relay.ctx.accounts.add("scripted", secret="s", base_url=upstream.base_url)


@st.composite
def answers(draw: st.DrawFn) -> list[bytes]:
    """A message with fields nobody has heard of, cut at arbitrary places."""
    message = {**draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=5)), "content": []}
    message.pop("error", None)
    text = json.dumps(message, ensure_ascii=draw(st.booleans())).encode() + draw(
        st.sampled_from([b"", b" ", b"\r\n"])
    )
    cuts = sorted(draw(st.sets(st.integers(1, len(text) - 1), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]


async def test_any_message_comes_back_as_it_was_sent(relay: Running):
    async with scripted_upstream() as upstream:
        await point_at(relay, upstream, JSON_HEADERS)
        async with relay.client() as client:
            for pieces in examples(answers()):
                upstream.pieces = pieces
                answer = await client.post("/api/v1/messages", json=BODY)
                assert answer.content == b"".join(pieces)


PIECES = st.lists(st.binary(min_size=1, max_size=200), max_size=8)


async def test_any_other_answer_comes_back_as_it_was_sent(relay: Running):
    async with scripted_upstream() as upstream:
        await point_at(relay, upstream, JSON_HEADERS)
        async with relay.client() as client:
            for pieces in examples(PIECES):
                upstream.pieces = pieces
                answer = await client.post("/api/v1/messages/count_tokens", json=BODY)
                assert answer.content == b"".join(pieces)


@pytest.mark.parametrize("status", [400, 402, 404, 413, 422, 429, 500, 503, 529])
async def test_an_upstreams_error_comes_back_untouched(relay: Running, status: int):
    body = b'{"type":"error","error":{"type":"x","message":"prompt is too long"} }\n'
    async with scripted_upstream() as upstream:
        headers = [*JSON_HEADERS, (b"retry-after", b"7"), (b"x-should-retry", b"true")]
        await point_at(relay, upstream, headers)
        upstream.status, upstream.pieces = status, [body]
        async with relay.client() as client:
            answer = await client.post("/api/v1/messages", json={**BODY, "stream": True})
    assert (answer.status_code, answer.content) == (status, body)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("7", "true")
    assert (await relay.report()).total["cost_micros"] == 0


LINE_ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """A whole stream of events, cut at arbitrary places."""
    end = draw(LINE_ENDS)
    start = {"message": {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}}
    events = [("message_start", start)]
    events += [
        ("content_block_delta", {"delta": {"type": "text_delta", "text": text}})
        for text in draw(st.lists(TEXTS, max_size=6))
    ]
    events.append(("message_stop", {}))
    lines = []
    for event, data in events:
        if draw(st.booleans()):
            lines += [b": a comment", b""]
        text = json.dumps(data, ensure_ascii=draw(st.booleans())).encode()
        lines += [b"event: " + event.encode(), b"data: " + text, b""]
    stream = end.join(lines) + end
    cuts = sorted(draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


async def test_any_stream_comes_back_as_it_was_sent_however_it_is_chunked(relay: Running):
    async with scripted_upstream() as upstream:
        await point_at(relay, upstream, EVENT_HEADERS)
        async with relay.client() as client:
            for pieces in examples(streams()):
                upstream.pieces = pieces
                answer = await client.post("/api/v1/messages", json={**BODY, "stream": True})
                assert answer.content == b"".join(pieces)
    report = await relay.report()
    assert report.total["estimated"] == 0
    assert report.total["requests"] >= EXAMPLES // 2
