"""One request on the lane: what its client sends, and the answer's way back to it."""

from collections import deque
from collections.abc import Awaitable, Callable

import h11
import trio

from relay.http.answer import CONTINUE, Framing, Headers
from relay.http.head import MOST_BYTES, Head
from relay.http.ports import Port

RECEIVE_BYTES = 64 * 1024
# What may be held of a body that nobody has asked for yet.
_AHEAD_BYTES = 256 * 1024
_CHUNKED = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"


class Gone(Exception):
    """The client closed its connection, or sent what is no body, before its request was whole."""


class Request:
    """One plain HTTP/1.1 request. One task reads its body and writes its answer.

    Nothing is sent any more once the client has left; `on_gone` is called when that is seen.

    Args:
        rest: what came behind the head already.
        write: sends bytes to the client; returns whether it is still there.
        cancel: cancels what handles the request, and ends the connection.
        is_ending: whether the server takes no more requests.
    """

    __slots__ = ("_chunks", "_framing", "_is_ending", "_left", "_pieces", "_port", "_unsent",
                 "_write", "address", "cancel", "closes", "has_sent", "headers", "is_begun",
                 "is_body_in", "is_ended", "is_gone", "method", "on_gone", "path", "query",
                 "refusal", "rest")  # fmt: skip

    def __init__(
        self,
        head: Head,
        rest: bytes,
        address: str,
        port: Port,
        write: Callable[[bytes], Awaitable[bool]],
        cancel: Callable[[], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self.method = head.method
        self.path, _, self.query = head.target.partition(b"?")
        self.headers = head.headers
        self.address = address
        self.on_gone: Callable[[], None] | None = None
        self.cancel = cancel
        self.closes = head.closes
        # What came after the body: the requests that follow.
        self.rest = rest
        # Whether the client has left with nothing more to come, so that nothing is sent to it.
        self.is_gone = False
        # How far the answer is: a piece of it was written, some of it left, all was written.
        self.is_begun = self.has_sent = self.is_ended = False
        # Why the body is none, as a status.
        self.refusal: int | None = None
        self._port = port
        self._write = write
        self._is_ending = is_ending
        self._framing: Framing | None = None
        self._unsent = b""
        self._pieces: deque[bytes] = deque()
        self._left = head.length
        self._chunks: h11.Connection | None = None
        if head.is_chunked:
            self._chunks = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_BYTES)
            self._chunks.receive_data(_CHUNKED)
            self._chunks.next_event()
        # Whether all of the body was received; it may still be unread.
        self.is_body_in = not head.length and not head.is_chunked
        if rest and not self.is_body_in:
            self._take_in()
        port.on_left = self._note_leaving
        if port.has_left:
            self._note_leaving()

    @property
    def is_body_read(self) -> bool:
        """Whether all of the body was received and read."""
        return self.is_body_in and not self._pieces

    @property
    def has_left(self) -> bool:
        """Whether the client has closed, or cannot be written to. Its body may still be whole."""
        return self.is_gone or self._port.has_left

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the answer."""
        return self._framing is None or self._framing.is_last

    def _note_leaving(self) -> None:
        # What was sent before is still read: the body may become whole.
        self.is_gone = self.is_gone or self.is_body_in
        if self.on_gone is not None:
            self.on_gone()

    def read_now(self) -> bytes | None:
        """The next piece of the body: empty after the last, None while nothing is here.

        Raises:
            Gone: there will be none.
        """
        while not self._pieces:
            if self.is_body_in:
                return b""
            if not self._pull():
                return None
        return self._pieces.popleft()

    async def read(self) -> bytes:
        """The next piece of the body, empty after the last; raises as `read_now` does."""
        while (piece := self.read_now()) is None:
            self._came(await self._port.receive(RECEIVE_BYTES))
        return piece

    def _pull(self) -> bool:
        """Take in what the socket has. Returns False for nothing yet; raises Gone."""
        if self.refusal is not None:
            raise Gone
        data = self._port.receive_now(RECEIVE_BYTES)
        if data is None:
            return False
        self._came(data)
        return True

    def _came(self, data: bytes) -> None:
        if not data:
            self.is_gone = True
            raise Gone
        self.rest += data
        self._take_in()

    def _take_in(self) -> None:
        """Sort what has come in into the body and what follows it."""
        if self._chunks is not None:
            self._take_in_chunks(self._chunks)
        else:
            piece, self.rest = self.rest[: self._left], self.rest[self._left :]
            self._left -= len(piece)
            if piece:
                self._pieces.append(piece)
            self.is_body_in = not self._left
        self.is_gone = self._port.has_left and self.is_body_in

    def _take_in_chunks(self, chunks: h11.Connection) -> None:
        chunks.receive_data(self.rest)
        self.rest = b""
        try:
            while isinstance(event := chunks.next_event(), h11.Data):
                self._pieces.append(bytes(event.data))
        except h11.RemoteProtocolError as error:
            self.refusal = error.error_status_hint
            return
        if isinstance(event, h11.EndOfMessage):
            self.is_body_in = True
            self.rest = chunks.trailing_data[0]

    def _is_body_coming(self) -> bool:
        """Whether more of the body is to come than what has arrived by now."""
        try:
            while not self.is_body_in and sum(map(len, self._pieces)) < _AHEAD_BYTES:
                if not self._pull():
                    break
        except Gone:
            pass
        return not self.is_body_in

    async def encourage(self) -> None:
        """Say that the body may come, to a client that waits to hear so."""
        if not await self._write(CONTINUE):
            self.is_gone = True

    def start(self, status: int, headers: Headers) -> None:
        """Set the answer's head, which leaves with what is written first.

        Raises:
            BadAnswer: it is not HTTP.
        """
        if self._framing is not None or self.is_ended:
            raise RuntimeError("the answer has begun")
        # What goes on coming would be taken for the next request.
        is_last = self._is_body_coming() or self._is_ending()
        is_to_head = self.method == "HEAD"
        framing = Framing(
            status, headers, is_to_head=is_to_head, is_last=is_last, is_asked=self.closes
        )
        self._framing, self._unsent = framing, framing.head

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer's body; an empty one sends the head at least."""
        if self.is_gone:
            await trio.lowlevel.checkpoint()
        else:
            await self._send(self._piece(data, is_last=False))

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""
        if self.is_gone:
            await trio.lowlevel.checkpoint()
        else:
            piece = self._piece(data, is_last=True)
            self.is_ended = True
            await self._send(piece)

    def _piece(self, data: bytes, *, is_last: bool) -> bytes:
        if self._framing is None or self.is_ended:
            raise RuntimeError("the answer has no head yet, or has ended")
        self.is_begun = True
        piece = self._framing.piece(data, is_last=is_last)
        if self._unsent:
            piece, self._unsent = self._unsent + piece, b""
        return piece

    async def _send(self, data: bytes) -> None:
        if data and self.refusal is None:
            self.has_sent = True
            if not await self._write(data):
                self.is_gone = True
                self._note_leaving()
