"""A client's connection on the express lane: one task reads requests and answers them in order.

Whatever is not plain goes with its bytes to the other server, and stays there. Nothing here may
hold a shutdown: there is no shield, and a client that cannot be written to is dropped.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from relay.http import head
from relay.http.answer import Framing, Headers
from relay.http.ports import Port, Ports
from relay.http.request import RECEIVE_BYTES, Request

Handler = Callable[[Request], Awaitable[None]]
HandOver = Callable[[trio.SocketStream, bytes], Awaitable[None]]

# How long an answered client may go on sending what nobody reads, before the reset that a close
# with unread input causes (and that would take the answer with it).
_LINGER_S = 5.0

log = logging.getLogger("relay.listener")


class Times(Protocol):
    """How long a client may take, in seconds."""

    @property
    def write_timeout_s(self) -> float:
        """To read a slice of the answer."""

    @property
    def keep_alive_s(self) -> float:
        """To come back with another request."""

    @property
    def headers_timeout_s(self) -> float:
        """To send a whole head after its first byte."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lanes of one server share.

    Args:
        handler_of: what answers a path; None for what belongs to the other server.
        hand_over: serves a connection on, from the given bytes.
        refusal: the whole answer to what is refused here.
        is_ending: whether no more requests are taken.
    """

    ports: Ports
    handler_of: Callable[[bytes], Handler | None]
    hand_over: HandOver
    limits: Times
    refusal: Callable[[int], tuple[Headers, bytes]]
    is_ending: Callable[[], bool]


class Lane:
    """One client's connection."""

    def __init__(self, around: Surroundings, stream: trio.SocketStream) -> None:
        self._around = around
        self._stream = stream
        self._address = ""
        self._buffer = b""
        self._is_idle = True
        self._port: Port | None = None
        self._scope = trio.CancelScope()

    def retire(self) -> None:
        """Close the connection if no request has begun on it; called when the server stops."""
        if self._is_idle and not self._buffer and self._port is not None:
            self._port.close()

    async def run(self) -> None:
        """Serve the connection until the client or the server closes it."""
        sock = socket.socket(fileno=self._stream.socket.detach())
        try:
            self._address = sock.getpeername()[0]
            port = self._port = self._around.ports.open(sock)
        except OSError:
            sock.close()  # it has left already, or there is no room for it
            return
        is_odd = False
        try:
            with self._scope:
                while await self._serve_next(port):
                    pass
        except head.Odd:
            is_odd = True
        except Exception:
            log.exception("a connection failed")
        finally:
            if not is_odd:
                port.close()
        if is_odd:
            self._port = None
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(port.give_up()))
            data, self._buffer = self._buffer, b""
            await self._around.hand_over(stream, data)

    async def _serve_next(self, port: Port) -> bool:
        """Answer the next request. Returns whether another one may follow."""
        self._is_idle = True
        found = await self._next_head(port)
        if found is None:
            return False
        plain, body_at = found
        handler = self._around.handler_of(plain.target.partition(b"?")[0])
        if handler is None:
            raise head.Odd
        self._is_idle = False
        rest, self._buffer = self._buffer[body_at:], b""
        request = Request(
            plain,
            rest,
            self._address,
            port,
            self._write,
            self._scope.cancel,
            self._around.is_ending,
        )
        if plain.expects:
            await request.encourage()
        await _handle(handler, request)
        port.on_left = None
        return await self._conclude(port, request)

    async def _next_head(self, port: Port) -> tuple[head.Head, int] | None:
        """The next head; None when there will be none, and the client has heard why."""
        limits = self._around.limits
        if self._buffer and (found := head.read(self._buffer)) is not None:
            # Nobody may have the loop for all the requests that one client sends at once.
            await trio.lowlevel.checkpoint()
            return found
        seen, has_begun = len(self._buffer), bool(self._buffer)
        patience_s = limits.headers_timeout_s if has_begun else limits.keep_alive_s
        with trio.CancelScope(deadline=trio.current_time() + patience_s) as scope:
            while data := await port.receive(RECEIVE_BYTES):
                self._buffer = self._buffer + data if self._buffer else data
                if (found := head.read(self._buffer, seen)) is not None:
                    return found
                seen = len(self._buffer)
                if not has_begun:
                    has_begun = True
                    scope.deadline = trio.current_time() + limits.headers_timeout_s
        if scope.cancelled_caught and self._buffer:
            self._is_idle = False
            await self._refuse(port, 408, is_input_over=False)
        return None

    async def _conclude(self, port: Port, request: Request) -> bool:
        """What becomes of the connection once its request was handled."""
        is_input_over = request.is_body_in and not request.rest
        if request.is_gone:
            return False
        if request.refusal is not None:
            if not request.has_sent:
                await self._refuse(port, request.refusal, request, is_input_over=False)
        elif not request.is_begun:
            await self._refuse(port, 500, request, is_input_over=is_input_over)
        elif request.is_ended and (request.is_last or self._around.is_ending()):
            await self._finish(port, is_input_over=is_input_over)
        elif request.is_ended:
            self._buffer = request.rest
            return True
        # An answer that was begun and not ended must not look whole: the close cuts it.
        return False

    async def _refuse(
        self, port: Port, status: int, request: Request | None = None, *, is_input_over: bool
    ) -> None:
        """Answer with a refusal and close."""
        headers, body = self._around.refusal(status)
        framing = Framing(
            status,
            headers,
            is_to_head=request is not None and request.method == "HEAD",
            is_last=True,
            is_asked=request is not None and request.closes,
        )
        if await self._write(framing.head + framing.piece(body, is_last=True)):
            await self._finish(port, is_input_over=is_input_over)

    async def _finish(self, port: Port, *, is_input_over: bool) -> None:
        """Close, but let a client that still sends read its answer first."""
        if not is_input_over and port.end_output():
            with trio.move_on_after(_LINGER_S):
                while await port.receive(RECEIVE_BYTES):
                    pass
        port.close()

    async def _write(self, data: bytes) -> bool:
        port, is_sent = self._port, False
        assert port is not None  # noqa: S101  # mypy: a lane writes as long as it has its port
        try:
            is_sent = await port.send(data, self._around.limits.write_timeout_s)
        finally:
            # Also after a cancel: part of the data may be out, so nothing can follow it.
            if not is_sent:
                port.close(reset=True)
        return is_sent


async def _handle(handler: Handler, request: Request) -> None:
    try:
        await handler(request)
    except* Exception:
        log.exception("the application failed at %s %r", request.method, request.path)
