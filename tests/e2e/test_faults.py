"""Each way in which an upstream can fail: what the client sees, and what is booked."""

import json
from pathlib import Path

import httpx
import pytest

from relay.simulator import Fault

from .conftest import BODY, UPSTREAM_KEY, Running, relay_running
from .scripted import scripted_upstream

STREAM = {**BODY, "stream": True}
HEAD_BYTES = 2000


async def stream_text(relay: Running, **options: object) -> str:
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=STREAM, **options)
    assert answer.status_code == 200
    return answer.text


def last_event(text: str) -> tuple[str, dict]:
    name, _, data = text.strip().rsplit("\n\n", 1)[-1].partition("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize("status", [400, 402, 404, 429, 500, 529])
async def test_a_refusal_of_the_upstream_costs_nothing(relay: Running, status: int):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=status, error_type="x", message="no")
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=STREAM)
    assert answer.status_code == status
    assert answer.json()["error"] == {"type": "x", "message": "no"}
    total = (await relay.report()).total
    assert (total["requests"], total["cost_micros"]) == (1, 0)


async def test_an_answer_that_starts_late_is_waited_for(relay: Running):
    relay.sim.script.append(Fault(delay_s=0.2))
    async with relay.client() as client:
        assert (await client.post("/api/v1/messages", json=BODY)).status_code == 200


async def test_a_stream_whose_head_does_not_come_is_a_504_and_booked_as_estimated(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, stream_headers_timeout_s=0.1) as relay:
        async with relay.sim.hold(), relay.client() as client:
            answer = await client.post("/api/v1/messages", json=STREAM)
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "timeout_error"
        total = (await relay.report()).total
        assert total["estimated"] == 1
        assert total["input_tokens"] == len(json.dumps(STREAM, separators=(",", ":"))) // 4
        assert total["cost_micros"] > 0


@pytest.mark.parametrize("fault", [Fault(cut_at=0), Fault(reset_at=0), Fault(garbage_at=0)])
async def test_an_upstream_that_breaks_before_its_answer_is_a_502(relay: Running, fault: Fault):
    relay.sim.script.append(fault)
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "api_error"
    await relay.settled()


@pytest.mark.parametrize("place", range(1100, 2100, 83))
@pytest.mark.parametrize("kind", ["cut_at", "reset_at", "garbage_at"])
async def test_a_stream_that_breaks_off_never_looks_finished(relay: Running, kind: str, place: int):
    relay.sim.script.append(Fault(**{kind: place}))
    broke = False
    text = ""
    async with relay.client() as client:
        try:
            async with client.stream("POST", "/api/v1/messages", json=STREAM) as answer:
                # Before the first event it is still what its status says.
                broke = answer.status_code == 502
                async for part in answer.aiter_text():
                    text += part
        except httpx.RemoteProtocolError:
            broke = True
    if "event: message_stop" not in text:
        assert broke or text.rpartition("event: ")[2].startswith("error\n")
    await relay.settled()
    assert (await relay.report()).total["requests"] == 1


async def test_a_stream_that_ends_between_two_events_gets_an_error_event(relay: Running):
    text = ""
    async with scripted_upstream() as upstream:
        usage = {"input_tokens": 10, "output_tokens": 1}
        start = json.dumps({"message": {"model": "claude-opus-5", "usage": usage}})
        delta = json.dumps({"delta": {"type": "text_delta", "text": "x" * 40}})
        upstream.headers = [(b"content-type", b"text/event-stream")]
        upstream.pieces = [
            f"event: message_start\ndata: {start}\n\n".encode(),
            f"event: content_block_delta\ndata: {delta}\n\n".encode(),
        ]
        await relay.ctx.accounts.set_enabled("main", enabled=False)
        await relay.ctx.accounts.add("scripted", secret="s", base_url=upstream.base_url)
        text = await stream_text(relay)
    event, data = last_event(text)
    assert (event, data["error"]["type"]) == ("error", "api_error")
    total = (await relay.report()).total
    assert (total["input_tokens"], total["output_tokens"], total["estimated"]) == (10, 10, 1)


async def test_an_error_event_of_the_upstream_passes_and_is_booked_as_a_floor(relay: Running):
    relay.sim.script.append(Fault(error_event="overloaded_error", after_events=5))
    text = await stream_text(relay)
    event, data = last_event(text)
    assert (event, data["error"]["type"]) == ("error", "overloaded_error")
    assert text.count("event: error") == 1
    total = (await relay.report()).total
    assert (total["estimated"], total["errors"]) == (1, 1)


@pytest.mark.parametrize("length", [[], [(b"content-length", b"9999")]])
async def test_a_silent_stream_gets_pings_and_in_the_end_an_error(
    redis_url: str, tmp_path: Path, length: list[tuple[bytes, bytes]]
):
    quick = {"ping_interval_s": 0.05, "silence_timeout_s": 0.3}
    async with relay_running(redis_url, tmp_path, **quick) as relay:
        async with scripted_upstream() as upstream:
            upstream.headers = [(b"content-type", b"text/event-stream"), *length]
            upstream.pieces = [b"event: ping\ndata: {}\n\n"]
            upstream.holds_open = True
            await relay.ctx.accounts.set_enabled("main", enabled=False)
            await relay.ctx.accounts.add("scripted", secret="s", base_url=upstream.base_url)
            text = await stream_text(relay)
        assert text.count('event: ping\ndata: {"type": "ping"}') >= 3
        event, data = last_event(text)
        assert (event, data["error"]["type"]) == ("error", "timeout_error")


async def test_a_silence_inside_an_event_gets_no_ping(redis_url: str, tmp_path: Path):
    quick = {"ping_interval_s": 0.05, "silence_timeout_s": 0.3}
    async with (
        relay_running(redis_url, tmp_path, **quick) as relay,
        scripted_upstream() as upstream,
    ):
        upstream.headers = [(b"content-type", b"text/event-stream")]
        upstream.pieces = [b"event: content_b"]
        upstream.holds_open = True
        await relay.ctx.accounts.set_enabled("main", enabled=False)
        await relay.ctx.accounts.add("scripted", secret="s", base_url=upstream.base_url)
        async with await relay.raw(STREAM) as stream:
            received = b"".join([part async for part in stream])
        assert received.endswith(b"\r\n\r\n10\r\nevent: content_b\r\n")


async def test_a_dripping_stream_arrives_whole(relay: Running):
    relay.sim.script.append(Fault(drip=0.0))
    assert "event: message_stop" in await stream_text(relay)
    assert (await relay.report()).total["estimated"] == 0


async def test_a_packed_stream_passes_as_it_is_and_is_booked(relay: Running):
    relay.sim.script.append(Fault(pack=True))
    text = await stream_text(relay)
    assert "event: message_stop" in text
    total = (await relay.report()).total
    assert (total["estimated"], total["requests"]) == (0, 1)
    assert total["output_tokens"] > 1


def long_answer(size: int) -> dict:
    """A request whose simulated answer is over `size` bytes long."""
    return {**BODY, "max_tokens": size, "messages": [{"role": "user", "content": "x" * size}]}


async def test_a_short_answer_that_is_cut_is_a_502_and_booked_as_estimated(relay: Running):
    relay.sim.script.append(Fault(cut_at=HEAD_BYTES))
    async with relay.client(headers={**relay.headers, "accept-encoding": "identity"}) as client:
        answer = await client.post("/api/v1/messages", json=long_answer(3000))
    assert answer.status_code == 502
    total = (await relay.report()).total
    assert (total["errors"], total["estimated"]) == (1, 1)


async def test_a_long_answer_that_is_cut_reaches_the_client_as_cut(relay: Running):
    relay.sim.script.append(Fault(cut_at=900_000))
    async with relay.client(headers={**relay.headers, "accept-encoding": "identity"}) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/api/v1/messages", json=long_answer(1_000_000))
    total = (await relay.report()).total
    assert (total["errors"], total["estimated"]) == (1, 1)
