"""One client's connection: h11 over a trio socket, so that an answer can break at any byte.

It reads requests, sends what it is given for each, and notices at once when the client goes away.
What is answered is decided elsewhere.
"""

import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import h11
import trio

from relay.simulator.api import Reply
from relay.simulator.faults import Fault
from relay.simulator.journal import Received

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_RECEIVE_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_IDLE_DEADLINE_S = 600.0
_ANSWER_DEADLINE_S = 3600.0
_LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)
_GARBAGE = b"\x00\xffzz this is no HTTP\r\n\r\n"
_BAD_REQUEST = b'{"type":"error","error":{"type":"invalid_request_error","message":"Bad request"}}'


class Connection:
    """A connection whose requests are answered by `reply_to` one after the other."""

    def __init__(
        self, stream: trio.SocketStream, reply_to: Callable[[Received], Awaitable[Reply]]
    ) -> None:
        self._stream = stream
        self._reply_to = reply_to
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def run(self) -> None:
        """Serve until the client leaves or a fault ends it.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: the connection is gone.
            h11.LocalProtocolError: a fault asked for an answer that HTTP does not allow.
        """
        while received := await self._next():
            try:
                with trio.move_on_after(_ANSWER_DEADLINE_S):
                    await self._serve(received)
            finally:
                if not received.answered:
                    received.mark_closed()
            if not received.answered or self._http.our_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _serve(self, received: Received) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, received, nursery.cancel_scope)
            reply = await self._reply_to(received)
            await self._send(reply, received)
            nursery.cancel_scope.cancel()

    async def _watch(self, received: Received, scope: trio.CancelScope) -> None:
        """End the answer when the client closes; what it sends early is kept for later."""
        with suppress(*GONE):
            while data := await self._stream.receive_some(_RECEIVE_BYTES):
                self._http.receive_data(data)
        if not received.answered:
            received.mark_closed()
            scope.cancel()

    async def _next(self) -> Received | None:
        """The next request with its whole body; None when no other comes."""
        try:
            with trio.move_on_after(_IDLE_DEADLINE_S):
                return await self._receive()
        except h11.RemoteProtocolError:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                headers = {"content-type": "application/json", "connection": "close"}
                await self._send(Reply(400, headers, _BAD_REQUEST), Received("", "", [], b""))
        return None

    async def _receive(self) -> Received | None:
        request: h11.Request | None = None
        body: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._stream.send_all(self._http.send(go_on) or b"")
                self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                method, target = request.method.decode(), request.target.decode("latin-1")
                return Received(method, target, list(request.headers), b"".join(body))
            else:
                return None

    async def _send(self, reply: Reply, received: Received) -> None:
        """Send an answer, and note whether it left whole."""
        headers = dict(reply.headers)
        if isinstance(reply.body, bytes):
            headers.setdefault("content-length", str(len(reply.body)))
        pairs = [
            (name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        sender = Sender(self._stream, reply.fault)
        head = h11.Response(status_code=reply.status, headers=pairs)
        is_going = await sender.send_head(self._http.send(head) or b"")
        last = b""
        if received.method != "HEAD" and isinstance(reply.body, bytes):
            last = self._http.send(h11.Data(data=reply.body)) or b""
        elif not isinstance(reply.body, bytes) and received.method != "HEAD" and is_going:
            is_going = await self._send_pieces(sender, reply.body, reply.pause_s)
        if is_going:
            last += self._http.send(h11.EndOfMessage()) or b""
            await self._finish(sender, last, received)

    async def _send_pieces(self, sender: "Sender", pieces: Iterator[bytes], pause_s: float) -> bool:
        for piece in pieces:
            await trio.sleep(pause_s)
            if not await sender.send(self._http.send(h11.Data(data=piece)) or b""):
                return False
        return True

    async def _finish(self, sender: "Sender", data: bytes, received: Received) -> None:
        """Send the answer's last bytes."""
        # A client may have them all and close before this task runs again: no early leaving.
        received.answered = sender.is_sound
        try:
            received.answered = await sender.send(data)
        except GONE:
            received.answered = False
            raise


class Sender:
    """Sends bytes until the fault's place in the answer is reached."""

    def __init__(self, stream: trio.SocketStream, fault: Fault) -> None:
        self._stream = stream
        self._fault = fault
        self._left = fault.breaks_at

    @property
    def is_sound(self) -> bool:
        """Whether what is sent goes out whole and at once."""
        return self._fault.breaks_at is None and self._fault.drip is None

    async def send_head(self, data: bytes) -> bool:
        """Send the head, which does not count where places are of the body."""
        if not self._fault.of_body:
            return await self.send(data)
        await self._send(data)
        return True

    async def send(self, data: bytes) -> bool:
        """Returns whether the connection is still of use."""
        if self._left is None or len(data) < self._left:
            self._left = None if self._left is None else self._left - len(data)
            await self._send(data)
            return True
        await self._send(data[: self._left])
        await self.spoil()
        return False

    async def spoil(self) -> None:
        """Do to the connection what the fault says."""
        fault = self._fault
        if fault.garbage_at is not None:
            await self._stream.send_all(_GARBAGE)
        if fault.silent_at is not None:
            await trio.sleep(_ANSWER_DEADLINE_S)
        if fault.reset_at is not None:
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NOTHING)
        await trio.aclose_forcefully(self._stream)

    async def _send(self, data: bytes) -> None:
        if self._fault.drip is None:
            await self._stream.send_all(data)
            return
        size = max(1, self._fault.drip_bytes)
        for start in range(0, len(data), size):
            await self._stream.send_all(data[start : start + size])
            await trio.sleep(self._fault.drip)
