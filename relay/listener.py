"""The door: listening sockets, one connection per client, and the way to stop.

It serves any ASGI application over HTTP/1.0 and 1.1 by hypercorn's classes (`connection`), and
plain requests by the express lane (`http`) where there is one. It knows nothing of what the
application does, and never lets one connection's failure reach another.
"""

import contextlib
import errno
import logging
import math
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.utils import repr_socket_addr

from relay.connection import Connection, Limits, Server
from relay.http import Handler, Lane, Ports, Surroundings
from relay.http1 import Refuse

__all__ = ["Limits", "ListenError", "open_listeners", "serve"]

# Connections that the kernel holds until they are accepted: a burst, not a queue to live with.
BACKLOG = 1024
# The largest request head. The clients that were looked at stay below 4 KiB.
MAX_HEAD_BYTES = 64 * 1024
# How often it is logged that no connection can be accepted.
COMPLAINT_EVERY_S = 60.0
# A silent client is asked whether it is still there after this long.
KEEPALIVE_IDLE_S = 60

Application = Callable[[Any, Any, Any], Awaitable[None]]
HandlerOf = Callable[[bytes], Handler | None]
Serve = Callable[[trio.SocketStream], Awaitable[None]]

log = logging.getLogger("relay.listener")


class ListenError(Exception):
    """The sockets could not be opened; the text is a sentence for the operator."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Bind and listen on every address that `host` stands for.

    Args:
        host: A name, an IPv4 or an IPv6 address.
        port: 0 lets the kernel choose one (per address).

    Raises:
        ListenError: The port is taken or not permitted, or the host is not one of ours.
    """
    if not 0 <= port <= 65535:
        raise ListenError(f"There is no port {port}: ports go from 0 to 65535.")
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except UnicodeError as error:
        raise ListenError(f"The host {host!r} is not a host name or address.") from error
    except OSError as error:
        raise ListenError(_sentence(error, host, port)) from error


def _sentence(error: OSError, host: str, port: int) -> str:
    where = f"Port {port} on {host}"
    if isinstance(error, socket.gaierror):
        return f"The host {host} is not known here: {error.strerror}."
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is taken: another program (or another relay) listens there. "
            "Stop it, or choose another port."
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{where} is not permitted to this user: choose a port from 1024 on."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} cannot be opened: {host} is not an address of this machine."
    return f"{where} cannot be opened: {error.strerror or error}."


class _OnceAMinute(logging.Filter):
    """Lets the complaint that no connection can be accepted through once a minute, as a line.

    trio complains with a traceback at every try, ten times a second, and goes on trying.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next_at = -math.inf
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next_at:
            self._held_back += 1
            return False
        reason = record.exc_info[1] if record.exc_info else record.getMessage()
        record.msg = "connections cannot be accepted: %s (%d times since the last line)"
        record.args = (str(reason), self._held_back + 1)
        record.exc_info = record.exc_text = None
        self._next_at, self._held_back = now + COMPLAINT_EVERY_S, 0
        return True


@contextlib.contextmanager
def accept_failures_once_a_minute() -> Iterator[None]:
    """Keep accept failures from filling the log, within the block."""
    complaints, once = logging.getLogger("trio.serve_listeners"), _OnceAMinute()
    complaints.addFilter(once)
    try:
        yield
    finally:
        complaints.removeFilter(once)


async def serve(
    app: Application,
    listeners: list[trio.SocketListener],
    limits: Limits,
    *,
    stop: trio.Event,
    drain_timeout_s: float,
    refuse: Refuse,
    lane: HandlerOf | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stop` is set, then let the running requests end.

    Reports the bound URLs as started. The listeners are closed on every way out.

    Args:
        app: An ASGI 3 application; it sees `http` scopes only (no lifespan, no websocket). When
            its client leaves, `receive` gives `http.disconnect` and `send` does nothing. An empty
            body message with `more_body` sends the head at once.
        limits: How long a client may take.
        stop: Closes the listeners and the idle connections.
        drain_timeout_s: What running requests get after `stop`, before they are cancelled.
        refuse: Makes headers and body of an own error: 400, 405, 408, 431, 500, 501 or 505.
        lane: What answers plain requests to a path on the express lane; None for a path that
            `app` answers. Where the kernel has no epoll there is no lane.
    """
    server = Server(limits, refuse)
    async with trio.open_nursery() as watching:
        handler = _by_hypercorn(app, server)
        if lane is not None and Ports.is_possible:
            ports = Ports()
            watching.start_soon(ports.run)
            handler = _by_lane(lane, ports, server, handler)
        async with trio.open_nursery() as connections:
            with accept_failures_once_a_minute():
                await _accept(handler, listeners, limits, connections, stop, task_status)
            await server.terminated.set()
            for connection in list(server.connections):
                connection.retire()
            connections.cancel_scope.deadline = trio.current_time() + drain_timeout_s
        watching.cancel_scope.cancel()
    if connections.cancel_scope.cancelled_caught:
        log.warning("requests still ran after %s s of draining and were cut", drain_timeout_s)


def _by_hypercorn(app: Application, server: Server) -> Serve:
    wrapped, config = ASGIWrapper(app), _config()

    async def serve_all(stream: trio.SocketStream, data: bytes = b"") -> None:
        connection = Connection(wrapped, config, server, stream)
        connection.read_before = data
        await connection.run()

    return serve_all


def _by_lane(lane: HandlerOf, ports: Ports, server: Server, hand_over: Any) -> Serve:
    around = Surroundings(
        ports, lane, hand_over, server.limits, server.refusal, server.terminated.is_set
    )

    async def serve_plain(stream: trio.SocketStream) -> None:
        connection = Lane(around, stream)
        server.connections.add(connection)
        try:
            await connection.run()
        finally:
            server.connections.discard(connection)

    return serve_plain


async def _accept(
    handler: Serve,
    listeners: list[trio.SocketListener],
    limits: Limits,
    connections: trio.Nursery,
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    """Accept connections into a nursery until `stop` is set; closes the listeners."""
    async with trio.open_nursery() as accepting:
        for listener in listeners:
            _watch_for_dead_clients(listener, limits.write_timeout_s)
        accepting.start_soon(
            partial(trio.serve_listeners, handler, listeners, handler_nursery=connections)
        )
        task_status.started([_url(listener) for listener in listeners])
        await stop.wait()
        accepting.cancel_scope.cancel()


def _config() -> Config:
    config = Config()
    config.errorlog = None
    config.include_server_header = False
    config.keep_alive_max_requests = sys.maxsize
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    return config


def _url(listener: trio.SocketListener) -> str:
    address: Any = listener.socket.getsockname()
    return f"http://{repr_socket_addr(listener.socket.family, address)}"


def _watch_for_dead_clients(listener: trio.SocketListener, timeout_s: float) -> None:
    """Have the kernel end connections whose client vanished; accepted sockets inherit it."""
    bound = listener.socket
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
