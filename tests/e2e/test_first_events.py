"""Until the first event that is neither ping nor error, an answer is what its status would be."""

import itertools
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.dialects import shapes

from .conftest import BODY, Running, relay_running
from .scripted import Scripted, scripted_upstream
from .test_failover import last_record

PATHS = {
    "messages": "/v1/messages",
    "chat": "/openai/claude/v1/chat/completions",
    "responses": "/openai/claude/v1/responses",
}
DIALECTS = pytest.mark.parametrize("dialect", PATHS)
MODES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
USAGE = {"input_tokens": 11, "output_tokens": 7}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": BODY["model"],
    "content": [{"type": "text", "text": "It works."}], "stop_reason": "end_turn",
    "stop_sequence": None, "usage": USAGE,
}  # fmt: skip
WHOLE = json.dumps(MESSAGE).encode()
EVENTS = shapes.as_events(WHOLE)
NAMELESS = b"\n".join(line for line in EVENTS.split(b"\n") if not line.startswith(b"event:"))
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def asked(dialect: str, *, stream: bool) -> dict[str, Any]:
    if dialect == "responses":
        return {"model": BODY["model"], "input": "hello", "stream": stream}
    return {**BODY, "stream": stream}


async def post(relay: Running, dialect: str, *, stream: bool) -> httpx.Response:
    own = {"authorization": f"Bearer {relay.key}", "x-claude-code-session-id": uuid.uuid4().hex}
    async with relay.client(headers=own) as client:
        return await client.post(PATHS[dialect], json=asked(dialect, stream=stream))


@asynccontextmanager
async def odd(relay: Running, *pieces: bytes, kind: bytes = b"") -> AsyncIterator[Scripted]:
    """An account beside `main` that is asked first, and answers 200 with these pieces."""
    async with scripted_upstream() as upstream:
        upstream.headers = [(b"content-type", kind)] if kind else []
        upstream.pieces = pieces
        name = f"odd-{uuid.uuid4().hex}"
        await relay.ctx.accounts.add(name, secret="s", base_url=upstream.base_url, priority=1)
        yield upstream
        await relay.ctx.accounts.set_enabled(name, enabled=False)


async def alone(relay: Running, *, alone: bool = True) -> None:
    await relay.ctx.accounts.set_enabled("main", enabled=not alone)


def event_of(kind: str, message: str = "No.") -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n"


REFUSALS = {
    "overloaded_error": 529,
    "api_error": 500,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "something_new": 500,
}


def as_told(dialect: str, status: int) -> int:
    """OpenAI's APIs have no 529."""
    return 503 if status == 529 and dialect != "messages" else status


SSE, JSON = b"text/event-stream", b"application/json"


@DIALECTS
async def test_an_error_as_first_event_moves_on_unseen(relay: Running, dialect: str):
    for kind, before in itertools.product(REFUSALS, [(), (PING,), (b": comment\n\n", PING)]):
        async with odd(relay, *before, event_of(kind), kind=SSE) as upstream:
            answer = await post(relay, dialect, stream=True)
        assert answer.status_code == 200
        assert len(upstream.bodies) == 1
        assert "No." not in answer.text
        lost, good = (await last_record(relay))["attempts"]
        assert (lost["outcome"], lost["cost_micros"]) == (f"status_{REFUSALS[kind]}", 0)
        assert good["outcome"] == "ok"


@DIALECTS
async def test_where_no_other_account_is_left_the_client_gets_its_status(
    redis_url: str, tmp_path: Path, dialect: str
):
    async with relay_running(redis_url, tmp_path, max_retries=0) as relay:
        await alone(relay)
        for kind, status in REFUSALS.items():
            async with odd(relay, event_of(kind), kind=SSE):
                answer = await post(relay, dialect, stream=True)
            assert answer.status_code == as_told(dialect, status)
            assert answer.headers["content-type"] == "application/json"
            assert "No." in answer.json()["error"]["message"] or dialect != "messages"
        assert (await relay.report()).total["cost_micros"] == 0


async def test_five_errors_as_first_events_are_evidence(relay: Running):
    async with odd(relay, event_of("overloaded_error"), kind=SSE) as upstream:
        for _ in range(12):
            assert (await post(relay, "messages", stream=True)).status_code == 200
    assert len(upstream.bodies) == 5
    states = [account.class_states for account in await relay.ctx.accounts.list()]
    assert {"opus": "overloaded"} in states


async def test_a_refused_credential_inside_a_200_is_no_matter_of_the_clients_key(relay: Running):
    await alone(relay)
    async with odd(relay, event_of("authentication_error"), kind=SSE):
        answer = await post(relay, "messages", stream=True)
    assert answer.status_code == 503
    assert (await last_record(relay))["error"] == "credential_refused"


@pytest.mark.parametrize("kind", ["invalid_request_error", "request_too_large"])
async def test_a_requests_own_error_is_not_tried_elsewhere(relay: Running, kind: str):
    async with odd(relay, event_of(kind), kind=SSE):
        answer = await post(relay, "messages", stream=True)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["type"] == kind
    assert len(relay.sim.requests) == 0


async def test_an_error_after_the_first_event_passes_as_before(relay: Running):
    head = EVENTS.partition(b"\n\n")[0] + b"\n\n"
    async with odd(relay, head, event_of("overloaded_error"), kind=SSE):
        answer = await post(relay, "messages", stream=True)
    assert answer.status_code == 200
    assert answer.content.endswith(event_of("overloaded_error"))
    assert len(relay.sim.requests) == 0


@DIALECTS
async def test_a_head_goes_out_when_a_ping_is_due(redis_url: str, tmp_path: Path, dialect: str):
    quick = {"ping_interval_s": 0.05, "silence_timeout_s": 0.3}
    async with relay_running(redis_url, tmp_path, **quick) as relay:
        await alone(relay)
        async with odd(relay, PING, kind=SSE) as upstream:
            upstream.holds_open = True
            answer = await post(relay, dialect, stream=True)
    assert answer.status_code == 200
    assert answer.text.count("ping") >= 3
    assert "error" in answer.text


# What came where the other shape was asked for, its content type, and whether a stream was asked.
SHAPES = {
    "message for a stream": (WHOLE, JSON, True),
    "message for a stream, no type": (WHOLE, b"", True),
    "message called a stream": (WHOLE, SSE, True),
    "stream called a message": (EVENTS, JSON, True),
    "stream without names": (NAMELESS, SSE, True),
    "stream without names or type": (NAMELESS, b"text/plain", True),
    "standard names": (EVENTS.replace(b"event: ", b"event: message\nx: "), SSE, True),
    "stream for a message": (EVENTS, SSE, False),
    "nameless stream for a message": (NAMELESS, SSE, False),
    "stream for a message, no type": (EVENTS, b"", False),
    "no usage": (json.dumps({**MESSAGE, "usage": None}).encode(), JSON, False),
}


@DIALECTS
async def test_what_can_be_told_is_told(relay: Running, dialect: str):
    await alone(relay)
    for shape, size in itertools.product(SHAPES, (7, 100_000)):
        data, kind, stream = SHAPES[shape]
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        async with odd(relay, *pieces, kind=kind):
            answer = await post(relay, dialect, stream=stream)
        assert answer.status_code == 200
        expected = "text/event-stream" if stream else "application/json"
        assert answer.headers["content-type"].startswith(expected)
        assert "It works." in answer.text
        if dialect == "messages":
            assert stream == ("event: message_stop" in answer.text)
            assert stream or answer.json()["content"] == MESSAGE["content"]
        record = await last_record(relay)
        assert record["error"] == ""
        if shape != "no usage":
            (attempt,) = record["attempts"]
            assert (attempt["tokens"]["output"], attempt["is_estimated"]) == (7, False)


# Sound answers that are none.
NONE = {
    "nothing": (b"", SSE), "pings": (PING, SSE), "comments": (b": hello\n\n", SSE),
    "an empty object": (b"{}", JSON), "a list": (b"[]", JSON), "null": (b"null", JSON),
    "half an object": (b"{", JSON), "a page": (b"<html>no</html>", b"text/html"),
    "unknown": (b'{"ok": true}', JSON), "done": (b"data: [DONE]\n\n", SSE),
}  # fmt: skip


@DIALECTS
@MODES
async def test_an_answer_that_is_none_moves_on_or_is_a_502(
    relay: Running, dialect: str, *, stream: bool
):
    for data, kind in NONE.values():
        async with odd(relay, *([data] if data else []), kind=kind):
            assert (await post(relay, dialect, stream=stream)).status_code == 200
            lost, good = (await last_record(relay))["attempts"]
            assert (lost["outcome"], lost["is_estimated"]) == ("upstream_no_message", True)
            assert good["outcome"] == "ok"
            await alone(relay)
            answer = await post(relay, dialect, stream=stream)
            assert answer.status_code == 502
            record = await last_record(relay)
            assert (record["error"], record["status"]) == ("upstream_no_message", 200)
        await alone(relay, alone=False)


# Errors that come as whole answers.
ERRORS: list[dict[str, Any]] = [
    {"type": "error", "error": {"type": "overloaded_error", "message": "No."}},
    {"error": {"type": "overloaded_error", "message": "No."}},
    {"error": {"type": "overloaded_error", "message": "No."}, "usage": None},
]


@DIALECTS
@MODES
async def test_an_error_as_the_whole_answer_is_what_its_status_would_be(
    redis_url: str, tmp_path: Path, dialect: str, *, stream: bool
):
    async with relay_running(redis_url, tmp_path, max_retries=0) as relay:
        for body in ERRORS:
            async with odd(relay, json.dumps(body).encode(), kind=JSON):
                assert (await post(relay, dialect, stream=stream)).status_code == 200
                lost, _ = (await last_record(relay))["attempts"]
                assert (lost["outcome"], lost["cost_micros"]) == ("status_529", 0)
                await alone(relay)
                answer = await post(relay, dialect, stream=stream)
                assert answer.status_code == as_told(dialect, 529)
                assert isinstance(answer.json()["error"], dict)
            await alone(relay, alone=False)
