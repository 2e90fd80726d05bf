"""A simulator on a free port, and what its tests say to it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from relay.simulator import Simulator, serve

KEY = "right-key"
SOON_S = 10.0
PATH = "/v1/messages?beta=true"
BODY = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
STREAM = {**BODY, "stream": True}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve, api_keys=frozenset({KEY})))
        nursery.cancel_scope.cancel()


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-api-key": KEY}
    options = {"base_url": sim.base_url, "headers": headers, "timeout": SOON_S}
    async with httpx.AsyncClient(trust_env=False, **options) as made:
        yield made


@contextmanager
def soon() -> Iterator[None]:
    with trio.fail_after(SOON_S):
        yield


def head_of(content: bytes, method: str = "POST", path: str = PATH, **headers: str) -> bytes:
    """A request's head by hand."""
    given = {"host": "sim", "x-api-key": KEY, "content-length": str(len(content)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


async def connect(sim: Simulator) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", sim.port)


async def post(sim: Simulator, body: object = STREAM, **headers: str) -> trio.SocketStream:
    """The socket of a request that was sent; the caller reads and closes it."""
    content = json.dumps(body).encode()
    stream = await connect(sim)
    await stream.send_all(head_of(content, **headers) + content)
    return stream


async def rest_of(stream: trio.SocketStream) -> tuple[bytes, bool]:
    """All bytes until the end, and whether that was a reset."""
    received = b""
    with soon():
        try:
            while part := await stream.receive_some():
                received += part
        except trio.BrokenResourceError:
            return received, True
    return received, False


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of every event of a stream."""
    frames = [frame.split("\n", 1) for frame in text.strip().split("\n\n")]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in frames
    ]
