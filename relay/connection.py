"""One client's socket: hypercorn's trio TCPServer with a deadline for every wait.

One task reads the socket all its life, so that a client's going away is seen whatever else goes on;
the requests' tasks write to it. Nothing here may hold a shutdown: there is no shield, and a client
that cannot be written to is dropped.
"""

import logging
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from relay.http1 import AHEAD_BYTES, Applications, Context, Protocol, Refuse

if TYPE_CHECKING:
    from relay.http import Lane

# A write deadline covers one slice, so that it bounds a client's silence and not a long answer.
SLICE_BYTES = 256 * 1024
# How long an answered client may go on sending what nobody reads, before the reset that a close
# with unread input causes (and that would take the answer with it).
LINGER_S = 5.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

log = logging.getLogger("relay.listener")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may take, in seconds: to read a slice of the answer, to come back with
    another request, and to send a whole request head after its first byte."""

    write_timeout_s: float
    keep_alive_s: float
    headers_timeout_s: float


class Server(Context):
    """What all connections of one server share."""

    def __init__(self, limits: Limits, refuse: Refuse) -> None:
        super().__init__(refuse)
        self.limits = limits
        self.connections: set[Connection | Lane] = set()


class Connection(TCPServer):
    """A client's socket. One task reads it, all its life; the requests' tasks write to it."""

    context: Server
    protocol: Protocol  # type: ignore[assignment]  # without hypercorn's wrapper, which knows h2
    stream: trio.SocketStream  # type: ignore[assignment]  # never TLS
    # What another server has read of the connection before it handed it over.
    read_before = b""

    def __init__(
        self, app: AppWrapper, config: Config, context: Server, stream: trio.SocketStream
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type]
        self._reading = trio.CancelScope()
        self._is_idle = False
        self._is_lingering = False
        self._is_resumable = False
        self._has_head_begun = False
        self._deadline = inf

    async def run(self) -> None:
        """Serve the connection until the client or the server closes it and its requests end."""
        try:
            client = self.stream.socket.getpeername()
        except OSError:
            return  # it has left already
        self.context.connections.add(self)
        try:
            applications = Applications()
            self.protocol = self._new_protocol(applications, client)
            async with applications:
                await self._read_data()
        except* Exception:
            log.exception("a connection failed")
        finally:
            self.context.connections.discard(self)

    def retire(self) -> None:
        """Close the connection if no request has begun on it; called when the server stops."""
        if self._is_idle and not self.protocol.held_bytes:
            self.drop()

    def drop(self, *, reset: bool = False) -> None:
        """Close the socket now, from any task; whoever waits on it finds out."""
        if reset or self.protocol.looks_whole_when_cut:
            with suppress(OSError):
                self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.stream.socket.close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            await self._finish()
        elif isinstance(event, Updated):
            self._set_idle(event.idle)

    def _new_protocol(self, applications: Applications, client: Any) -> Protocol:
        bound = self.stream.socket
        return Protocol(
            self.app,
            self.config,
            self.context,
            applications,
            ConnectionState({}),
            False,
            parse_socket_addr(bound.family, client),
            parse_socket_addr(bound.family, bound.getsockname()),
            self.protocol_send,
        )

    async def _write(self, data: bytes) -> None:
        is_late = True
        try:
            for start in range(0, len(data), SLICE_BYTES):
                with trio.move_on_after(self.context.limits.write_timeout_s) as scope:
                    await self.stream.send_all(data[start : start + SLICE_BYTES])
                if scope.cancelled_caught:
                    break
            else:
                is_late = False
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass
        finally:
            # Also after a cancel: part of the data may be out, so nothing can follow it.
            if is_late:
                self.drop(reset=True)
        if is_late:
            await self.protocol.handle(Closed())

    async def _finish(self) -> None:
        if self.protocol.is_answered and not self.protocol.is_input_over:
            self._is_lingering = True
            self._wait_until(trio.current_time() + LINGER_S)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.send_eof()
        else:
            self.drop()
        await self.protocol.handle(Closed())

    def _wait_until(self, deadline: float) -> None:
        self._deadline = self._reading.deadline = deadline

    def _set_idle(self, is_idle: bool) -> None:
        self._is_idle = is_idle
        self._has_head_begun = False
        if not is_idle:
            self._wait_until(inf)
        elif self.context.terminated.is_set():
            self._wait_until(-inf)
        else:
            self._wait_until(trio.current_time() + self.context.limits.keep_alive_s)
            if self.protocol.is_paused:
                self._is_resumable = True
                self._reading.cancel()

    async def _read_data(self) -> None:
        self._set_idle(True)
        try:
            while await self._read_once():
                if self._is_idle and not self._has_head_begun and self.protocol.held_bytes:
                    self._has_head_begun = True
                    timeout = self.context.limits.headers_timeout_s
                    self._wait_until(trio.current_time() + timeout)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.drop()
        await self.protocol.handle(Closed())

    async def _read_once(self) -> bool:
        """Read and handle what comes next; False when nothing will."""
        if self._is_resumable:
            self._is_resumable = False
            await self.protocol.resume()
            return True
        with trio.CancelScope(deadline=self._deadline) as self._reading:
            data = await self._receive()
        if self._reading.cancelled_caught:
            return self._is_resumable or await self._time_out()
        if data and not self._is_lingering:
            await self.protocol.handle(RawData(data))
        return bool(data)

    async def _receive(self) -> bytes:
        if self.protocol.is_paused and self.protocol.held_bytes > AHEAD_BYTES:
            await trio.sleep_forever()
        if self.read_before:
            data, self.read_before = self.read_before, b""
            return data
        return bytes(await self.stream.receive_some(MAX_RECV))

    async def _time_out(self) -> bool:
        if self._is_lingering or not self._has_head_begun:
            return False
        await self.protocol.reject(408)
        return True
