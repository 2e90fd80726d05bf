"""Streams through a stock nginx: nothing is held back, though nobody configured it for that."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, SOON_S, Running

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {upstream}; }}
    }}
}}
"""
CHAT = {"model": "claude-opus-5", "messages": BODY["messages"]}
RESPONSE = {"model": "claude-opus-5", "input": "hello"}


@pytest.fixture
async def nginx(relay: Running, tmp_path: Path) -> AsyncIterator[str]:
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path, port=port, upstream=relay.url))
    process = await trio.lowlevel.open_process(
        ["nginx", "-c", configuration, "-p", tmp_path], stderr=subprocess.DEVNULL
    )
    try:
        with trio.fail_after(SOON_S):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    await trio.sleep(0.02)
                    continue
                await stream.aclose()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.mark.parametrize(
    ("path", "body", "first"),
    [
        ("/api/v1/messages", BODY, "message_start"),
        ("/openai/claude/v1/chat/completions", CHAT, "chat.completion.chunk"),
        ("/openai/claude/v1/responses", RESPONSE, "response.created"),
    ],
)
async def test_the_first_event_comes_before_there_is_a_second(
    relay: Running, nginx: str, path: str, body: dict[str, object], first: str
):
    relay.sim.script.append(Fault(silent_at=700, of_body=True))
    content = json.dumps({**body, "stream": True})
    head = [f"POST {path} HTTP/1.1", "host: relay", f"x-api-key: {relay.key}",
            f"content-length: {len(content)}", "", content]  # fmt: skip
    stream = await trio.open_tcp_stream("127.0.0.1", int(nginx.rpartition(":")[2]))
    seen = b""
    async with stream:
        with trio.fail_after(SOON_S):
            await stream.send_all("\r\n".join(head).encode())
            while first.encode() not in seen:
                part = await stream.receive_some()
                assert part, seen
                seen += part
    assert b"text/event-stream" in seen


@pytest.mark.parametrize("path", ["/api/v1/messages", "/openai/claude/v1/responses"])
async def test_a_proxy_is_asked_to_hold_no_events_back(relay: Running, path: str):
    body = RESPONSE if path.endswith("responses") else BODY
    relay.sim.script += [
        Fault(headers={"x-accel-buffering": "yes"}),
        Fault(headers={"x-accel-buffering": "yes"}),
    ]
    async with relay.client() as client:
        streamed = await client.post(path, json={**body, "stream": True})
        whole = await client.post(path, json=body)
    assert streamed.headers.get_list("x-accel-buffering") == ["no"]
    assert "x-accel-buffering" not in whole.headers
