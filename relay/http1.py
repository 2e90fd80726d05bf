"""HTTP/1 as clients speak it to us: hypercorn's protocol, stream and task group, subclassed.

Hypercorn parses (by h11), builds the scope and keeps the order of things. Different here: a bounded
inbox that a disconnect always gets through, refusals of our own, an answer's head that leaves with
its first bytes, and no way to another protocol. An unfinished answer must never look finished.
"""

import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, H11SendableEvent, Scope
from hypercorn.utils import UnexpectedMessageError, build_and_validate_headers, suppress_body

# What one connection may hold of a body, or of later requests, that nobody has asked for yet.
AHEAD_BYTES = 256 * 1024
# What a message takes besides its body, about; a client may send a body in chunks of one byte.
MESSAGE_BYTES = 512

_AUTHORITY_END = re.compile(rb"[/?#]")

OVER = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})

Headers = list[tuple[bytes, bytes]]
Refuse = Callable[[int], tuple[Headers, bytes]]
Message = dict[str, Any]

log = logging.getLogger("relay.listener")


class Context(WorkerContext):
    """What all requests of one server share: `terminated`, and how to refuse."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(max_requests=None)
        self._refuse = refuse

    def refusal(self, status: int) -> tuple[Headers, bytes]:
        """The whole answer to what is refused here; it always ends the connection."""
        headers, body = self._refuse(status)
        length = (b"content-length", b"%d" % len(body))
        return [*headers, length, (b"connection", b"close")], body


class Inbox:
    """What the client sent and the application has not read: bounded, closed by a disconnect."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._held_bytes = 0
        self._is_closed = False
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()

    async def put(self, message: Message) -> None:
        """Add a message; a body chunk waits for room, a disconnect never waits and frees all."""
        if message["type"] == "http.disconnect":
            self._is_closed = True
            self._writers.unpark_all()
        else:
            self._messages.append(message)
            self._held_bytes += len(message["body"]) + MESSAGE_BYTES
        self._readers.unpark_all()
        while message.get("more_body") and self._held_bytes > AHEAD_BYTES and not self._is_closed:
            await self._writers.park()

    async def receive(self) -> Message:
        """The ASGI `receive`: what came before a disconnect is delivered before it."""
        while not self._messages:
            if self._is_closed:
                await trio.lowlevel.checkpoint()
                return {"type": "http.disconnect"}
            await self._readers.park()
        message = self._messages.popleft()
        self._held_bytes -= len(message["body"]) + MESSAGE_BYTES
        if self._held_bytes <= AHEAD_BYTES:
            self._writers.unpark_all()
        return message


class Applications(TaskGroup):
    """The nursery of one connection's requests."""

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        inbox = Inbox()
        self.spawn(_run, app, scope, inbox.receive, send)
        return inbox.put


async def _run(app: AppWrapper, scope: Any, receive: Any, send: Any) -> None:
    try:
        await app(scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
    except* Exception:
        log.exception("the application failed at %s %r", scope["method"], scope["raw_path"])
    await send(None)


@dataclass(frozen=True)
class Flush(events.Event):
    """Send what has been written so far."""


class Stream(HTTPStream):
    """One request. The head of its answer waits for the first body message, even an empty one."""

    context: Context

    async def app_send(self, message: Any) -> None:
        if self.closed:
            await trio.lowlevel.checkpoint()
        elif message is None:
            await self._application_ended()
        elif message["type"] == "http.response.start" and not self._has_head:
            self.response = message
        elif message["type"] == "http.response.body" and self._has_head:
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise UnexpectedMessageError(self.state, message["type"])

    @property
    def _has_head(self) -> bool:
        return hasattr(self, "response")

    async def _send_body(self, body: bytes, more: bool) -> None:
        status = self.response["status"]
        if self.state is ASGIHTTPState.REQUEST:
            headers = build_and_validate_headers(self.response.get("headers", []))
            await self.send(events.Response(self.stream_id, headers, status))
            self.state = ASGIHTTPState.RESPONSE
        if body and not suppress_body(self.scope["method"], status):
            await self.send(events.Body(self.stream_id, bytes(body)))
        if more:
            await self.send(Flush(self.stream_id))
        else:
            await self._send_end()

    async def _send_end(self) -> None:
        await self.send(events.EndBody(self.stream_id))
        self.state = ASGIHTTPState.CLOSED
        await self.send(events.StreamClosed(self.stream_id))

    async def _application_ended(self) -> None:
        # A begun answer is left unfinished: the protocol then closes without its end.
        if self.state is ASGIHTTPState.REQUEST:
            headers, body = self.context.refusal(500)
            self.response = {"type": "http.response.start", "status": 500, "headers": headers}
            await self._send_body(body, more=False)
        else:
            await self.send(events.StreamClosed(self.stream_id))


class Protocol(H11Protocol):
    """HTTP/1.0 and 1.1 on one connection, and no way to any other protocol."""

    connection: h11.Connection
    context: Context
    stream: Stream | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unsent: list[bytes] = []
        self._method = b""
        self.is_paused = False

    @property
    def held_bytes(self) -> int:
        """Received, but not part of any request that has begun."""
        return len(self.connection.trailing_data[0])

    @property
    def is_answered(self) -> bool:
        return self.connection.our_state in OVER

    @property
    def is_input_over(self) -> bool:
        return self.connection.their_state in OVER and not self.held_bytes

    @property
    def looks_whole_when_cut(self) -> bool:
        """An HTTP/1.0 body may end with the connection: only a reset then tells that it is cut."""
        is_under_way = self.connection.our_state not in OVER | {h11.IDLE}
        return is_under_way and self.connection.their_http_version == b"1.0"

    async def resume(self) -> None:
        """Go on with a request that came while another one ran."""
        await self._handle_events()

    async def reject(self, status: int) -> None:
        """Answer what is no request with a refusal, if an answer is still possible, and close."""
        await self._close_stream()
        state = self.connection.our_state
        if state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers, body = self.context.refusal(status)
            await self.stream_send(events.Response(STREAM_ID, headers, status))
            if state is h11.IDLE or self._method != b"HEAD":
                await self.stream_send(events.Body(STREAM_ID, body))
            await self.stream_send(events.EndBody(STREAM_ID))
        await self.send(Closed())

    async def stream_send(self, event: events.Event) -> None:
        if isinstance(event, Flush):
            await self._flush()
            return
        if isinstance(event, events.Response) and self._is_last_answer:
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)
        if isinstance(event, events.EndBody):
            await self._flush()

    @property
    def _is_last_answer(self) -> bool:
        return self.context.terminated.is_set() or self.connection.their_state is h11.SEND_BODY

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        self._unsent.append(self.connection.send(event))

    async def _flush(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if data:
            await self.send(RawData(data))

    async def _handle_events(self) -> None:
        # Unlike hypercorn's, this never waits for a running answer, so that the reader goes on
        # watching for the client's going away.
        self.is_paused = False
        while True:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
                await self._flush()
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self.reject(error.error_status_hint)
                return
            if isinstance(event, h11.Request):
                await self._begin(event)
            elif isinstance(event, h11.Data) and self.stream is not None:
                await self.stream.handle(events.Body(STREAM_ID, event.data))
            elif isinstance(event, h11.EndOfMessage) and self.stream is not None:
                await self.stream.handle(events.EndBody(STREAM_ID))
            else:
                self.is_paused = event is h11.PAUSED
                return

    async def _begin(self, request: h11.Request) -> None:
        self._method = request.method
        await self.send(Updated(idle=False))
        status = _objection(request)
        if status is not None:
            await self.reject(status)
            return
        self.stream = Stream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        target, headers = _origin_form(request)
        await self.stream.handle(
            events.Request(
                STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode(),
                raw_path=target,
                state=self.connection_state,
            )
        )


def _origin_form(request: h11.Request) -> tuple[bytes, Headers]:
    """A request's target below its host, and its headers; some clients behind a proxy write the
    whole address, whose host counts then (RFC 9112, section 3.2.2)."""
    headers = list(request.headers)
    scheme, separator, rest = request.target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return request.target, headers
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    others = [pair for pair in headers if pair[0] != b"host"]
    host = (b"host", authority.rpartition(b"@")[2])
    return (path if path.startswith(b"/") else b"/" + path), [*others, host]


def _objection(request: h11.Request) -> int | None:
    """The status for what h11 lets through and we do not."""
    if request.http_version not in {b"1.0", b"1.1"}:
        return 505
    if request.method == b"CONNECT":
        return 405
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and (
        b"content-length" in names or request.http_version == b"1.0"
    ):
        return 400  # two readers could disagree on where this request ends
    return None
