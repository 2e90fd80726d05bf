"""The relay's stack doing nothing: two ASGI applications for a plain hypercorn on trio.

`answer` answers from memory: what the server alone costs. `passthrough` forwards by httpx as one
would write it at first: what doing without the relay's own client costs. Paths that begin with
/streams mean the streaming upstream. Neither may ever learn anything that a relay does.
"""

import os
from typing import Any

import httpx
import trio

from tests.bench import payloads

STREAMS = "/streams"
REQUESTS_VARIABLE = "BENCH_REQUESTS_URL"
STREAMS_VARIABLE = "BENCH_STREAMS_URL"

_ANSWER = payloads.answer()
_DROPPED = {b"host", b"connection", b"transfer-encoding", b"content-length"}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that answers from memory."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    body = await _read(receive)
    if scope["path"].startswith(STREAMS):
        await _stream(payloads.chunks_wanted(body), send)
        return
    await _start(send, 200, [*payloads.JSON_HEADERS, (b"content-length", b"%d" % len(_ANSWER))])
    await _body(send, _ANSWER, more=False)


async def _stream(chunks: int, send: Any) -> None:
    await _start(send, 200, payloads.STREAM_HEADERS)
    await _body(send, payloads.opening())
    started = trio.current_time()
    for number in range(1, chunks + 1):
        await trio.sleep_until(started + number * payloads.CHUNK_EVERY_S)
        await _body(send, payloads.chunk())
    await _body(send, payloads.closing(chunks), more=False)


class Passthrough:
    """An ASGI application that forwards everything by one httpx client."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._forward(scope, receive, send)
            return
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as self._client:
            await _lifespan(receive, send)

    async def _forward(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        base = os.environ[STREAMS_VARIABLE if path.startswith(STREAMS) else REQUESTS_VARIABLE]
        headers = [(name, value) for name, value in scope["headers"] if name not in _DROPPED]
        url = base + path.removeprefix(STREAMS)
        body = await _read(receive)
        async with self._client.stream(
            scope["method"], url, headers=headers, content=body
        ) as reply:
            kept = [
                (name.lower(), value)
                for name, value in reply.headers.raw
                if name.lower() not in {b"connection", b"transfer-encoding"}
            ]
            await _start(send, reply.status_code, kept)
            async for data in reply.aiter_raw():
                await _body(send, data)
            await _body(send, b"", more=False)


passthrough = Passthrough()


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _read(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _start(send: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _body(send: Any, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
