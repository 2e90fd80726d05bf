"""An upstream that does to each connection what a test's script says, byte by byte."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio

from relay.upstream import Reply, Upstreams

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DEADLINE_S = 10


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._read_on()
        return self._taken(self._buffer.index(mark) + len(mark))

    async def read_request(self) -> bytes:
        """A whole request whose body, if any, has a content-length or is chunked."""
        head = await self.read_until(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head:
            return head + await self.read_until(b"0\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(self._buffer) < length:
            await self._read_on()
        return head + self._taken(length)

    async def _read_on(self) -> None:
        data = await self.stream.receive_some()
        assert data, "the connection ended in a request"
        self._buffer += data

    def _taken(self, length: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    async def answer(self, *answers: bytes) -> None:
        """Answer one request after the other."""
        for one in answers:
            await self.read_request()
            await self.stream.send_all(one)

    async def wait_for_end(self) -> None:
        """Until the client has closed, one way or the other."""
        with contextlib.suppress(trio.BrokenResourceError):
            while await self.stream.receive_some():
                pass


Script = Callable[[Peer], Awaitable[None]]


def answering(*answers: bytes) -> Script:
    """Answers one request with each of these, then waits for the client to close."""

    async def script(peer: Peer) -> None:
        await peer.answer(*answers)
        await peer.wait_for_end()

    return script


class Upstream:
    """Where the scripted upstream listens and what has happened there."""

    def __init__(self, port: int, scheme: str) -> None:
        self.base_url = f"{scheme}://127.0.0.1:{port}"
        self.accepted = 0
        self.ended = 0
        self._changed = trio.Event()

    def change(self, accepted: int = 0, ended: int = 0) -> None:
        self.accepted += accepted
        self.ended += ended
        self._changed.set()
        self._changed = trio.Event()

    async def wait_ended(self, count: int) -> None:
        """Until so many connections are over, scripts included."""
        while self.ended < count:
            await self._changed.wait()


@contextlib.asynccontextmanager
async def upstream(
    *scripts: Script, context: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """Serve each connection by the next script; under TLS with a context."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    scheme = "https" if context else "http"
    served = Upstream(listeners[0].socket.getsockname()[1], scheme)

    async def serve(stream: trio.SocketStream) -> None:
        script = scripts[served.accepted]
        served.change(accepted=1)
        tls = None
        if context is not None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await script(Peer(tls or stream))
        finally:
            stream.socket.close()
            served.change(ended=1)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, serve, listeners)
            yield served
            nursery.cancel_scope.cancel()


def opened(
    upstreams: Upstreams,
    base_url: str,
    body: bytes = b"{}",
    silence_timeout_s: float = DEADLINE_S,
) -> contextlib.AbstractAsyncContextManager[Reply]:
    """A request's answer, to be received step by step."""
    return upstreams.send(
        base_url,
        "POST",
        b"/v1/messages",
        [],
        body,
        headers_timeout_s=DEADLINE_S,
        silence_timeout_s=silence_timeout_s,
    )


@contextlib.asynccontextmanager
async def client(**options: Any) -> AsyncIterator[Upstreams]:
    """Upstreams that must have let go of every connection in the end."""
    upstreams = Upstreams(**options)
    try:
        yield upstreams
    finally:
        with trio.move_on_after(1, shield=True):
            await upstreams.aclose()
        assert (upstreams.open_connections, upstreams.idle_connections) == (0, 0)


async def fetch(
    upstreams: Upstreams,
    base_url: str,
    method: str = "POST",
    target: bytes = b"/v1/messages",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes | AsyncIterator[bytes] = b"{}",
    headers_timeout_s: float = DEADLINE_S,
    proxy: str | None = None,
) -> tuple[int, bytes]:
    """One request; its answer's status and whole body."""
    async with upstreams.send(
        base_url,
        method,
        target,
        headers or [],
        body,
        headers_timeout_s=headers_timeout_s,
        silence_timeout_s=DEADLINE_S,
        proxy=proxy,
    ) as reply:
        pieces = []
        while data := await reply.receive():
            pieces.append(data)
        return reply.status, b"".join(pieces)
