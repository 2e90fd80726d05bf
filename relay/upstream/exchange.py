"""One request and its answer on one connection, and when it may be sent a second time."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol

import trio

from relay.upstream.answer import Answer
from relay.upstream.connection import Connection
from relay.upstream.errors import (
    FAILURES,
    Stage,
    UpstreamError,
    UpstreamTimeoutError,
    is_ours,
    sentence,
    was_held_up,
)
from relay.upstream.origin import Address, Origin

RECEIVE_BYTES = 64 * 1024
# Up to here head and body leave in one send, which the socket's buffer takes at once. Larger
# bodies are sent while listening, since an upstream may answer before it has read them.
_ONE_SEND_BYTES = 64 * 1024
# Bounds what TLS copies of a large body at a time.
_SLICE_BYTES = 256 * 1024
_CLOSE_DEADLINE_S = 1.0


class Pool(Protocol):
    """Where connections come from and go back to."""

    async def take(self, address: Address) -> Connection | None:
        """The idle connection that was used last, if it is still good."""

    async def open(self, origin: Origin) -> Connection:
        """A new connection, TLS included."""

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""

    def close(self, connection: Connection) -> None:
        """Close a connection that was taken or opened."""


class Reply:
    """An upstream's answer.

    Attributes:
        status: 200 to 999.
        headers: names in lower case, order and duplicates kept, without transfer-encoding.
    """

    def __init__(
        self, answer: Answer, stream: trio.abc.ReceiveStream, silence_timeout_s: float
    ) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._answer = answer
        self._stream = stream
        self._silence_timeout_s = silence_timeout_s

    async def receive(self) -> bytes:
        """The body's next bytes, at once if any are there; b"" at its proper end.

        Cancellation: loses nothing, the next call goes on where this one was.

        Raises:
            UpstreamTimeoutError: nothing came for the request's `silence_timeout_s`.
            UpstreamError: the body ended before its announced end, or is malformed.
        """
        answer = self._answer
        pieces = answer.pieces
        while not pieces:
            if answer.is_complete:
                return b""
            if answer.problem:
                raise UpstreamError("body", answer.problem)
            await self._read_on()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    async def _read_on(self) -> None:
        with trio.move_on_after(self._silence_timeout_s) as waiting:
            try:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            except FAILURES as error:
                raise UpstreamError("body", sentence(error), is_ours=is_ours(error)) from error
            if data:
                self._answer.feed(data)
            else:
                self._answer.feed_eof()
            return
        waited = f"{self._silence_timeout_s:g} s"
        reason, local = f"The upstream fell silent for {waited}.", was_held_up(waiting.deadline)
        raise UpstreamTimeoutError("body", reason, is_local=local)


class Exchange(AbstractAsyncContextManager[Reply]):
    """One request and its answer: what `Upstreams.send` returns.

    `announced_bytes` is the body's length, None if it goes in chunks.
    """

    _answer: Answer
    _connection: Connection
    _uploading: trio.CancelScope

    def __init__(
        self,
        pool: Pool,
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterable[bytes],
        announced_bytes: int | None,
        headers_timeout_s: float,
        silence_timeout_s: float,
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._head = head
        self._body = body
        self._announced_bytes = announced_bytes
        self._headers_timeout_s = headers_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._is_sent = False

    async def __aenter__(self) -> Reply:
        pool = self._pool
        connection = await pool.take(self._origin.address)
        if connection is not None:
            try:
                return await self._attempt(connection)
            except UpstreamError as error:
                # Paying twice is worse than failing: again only what cannot have been processed.
                if not error.never_left or not isinstance(self._body, bytes):
                    raise
        return await self._attempt(await pool.open(self._origin))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        answer = self._answer
        if answer.keeps_alive and answer.is_complete and self._is_sent:
            self._pool.put_back(self._connection)
        else:
            self._pool.close(self._connection)
        answer.forget_parser()

    async def _attempt(self, connection: Connection) -> Reply:
        self._connection = connection
        self._answer = answer = Answer(is_to_head=self._head.startswith(b"HEAD "))
        try:
            with trio.move_on_after(self._headers_timeout_s) as waiting:
                if isinstance(self._body, bytes) and len(self._body) <= _ONE_SEND_BYTES:
                    self._is_sent = await connection.send(self._head + self._body)
                    await self._read_head()
                else:
                    await self._send_and_listen()
                return Reply(answer, connection.stream, self._silence_timeout_s)
            waited = f"{self._headers_timeout_s:g} s"
            raise UpstreamTimeoutError(
                self._stage,
                f"The upstream did not answer within {waited}.",
                is_local=was_held_up(waiting.deadline),
            )
        except BaseException:
            self._pool.close(connection)
            answer.forget_parser()
            raise

    @property
    def _stage(self) -> Stage:
        return "headers" if self._is_sent else "send"

    async def _read_head(self) -> None:
        answer, stream = self._answer, self._connection.stream
        while not answer.has_head:
            try:
                data = await stream.receive_some(RECEIVE_BYTES)
                if not data:
                    raise EOFError
            except FAILURES as error:
                never_left = not self._is_sent and not answer.has_begun
                raise UpstreamError(
                    self._stage, sentence(error), never_left=never_left, is_ours=is_ours(error)
                ) from error
            answer.feed(data)
            if answer.problem and not answer.has_head:
                raise UpstreamError("headers", answer.problem)

    async def _send_and_listen(self) -> None:
        """Send a body of many pieces; an answer that comes before its end ends the sending."""
        self._uploading = trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._upload)
                await self._read_head()
                self._stop_uploading()
        except BaseExceptionGroup as group:
            raise _first_of(group) from None

    def _stop_uploading(self) -> None:
        if not self._connection.abandon_send():
            self._uploading.cancel()

    async def _upload(self) -> None:
        try:
            with self._uploading:
                if await self._connection.send(self._head):
                    await self._send_body()
        finally:
            if isinstance(self._body, AsyncGenerator):
                with trio.move_on_after(_CLOSE_DEADLINE_S, shield=True):
                    await self._body.aclose()
        if self._uploading.cancelled_caught:
            self._is_sent = False

    async def _send_body(self) -> None:
        if isinstance(self._body, bytes):
            view = memoryview(self._body)
            for start in range(0, len(view), _SLICE_BYTES):
                end = start + _SLICE_BYTES
                if not await self._send_piece(view[start:end], is_last=end >= len(view)):
                    return
        elif self._announced_bytes is None:
            async for piece in self._body:
                chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
                if piece and not await self._send_piece(chunk):
                    return
            await self._send_piece(b"0\r\n\r\n", is_last=True)
        else:
            await self._send_announced(self._body, self._announced_bytes)

    async def _send_announced(self, body: AsyncIterable[bytes], left: int) -> None:
        self._is_sent = left == 0
        async for piece in body:
            left -= len(piece)
            if left < 0:
                break
            if piece and not await self._send_piece(piece, is_last=left == 0):
                return
        if left != 0:
            raise UpstreamError("send", "The request's body has not the announced length.")

    async def _send_piece(self, piece: bytes | memoryview, *, is_last: bool = False) -> bool:
        """Send a piece. Returns whether more of the body is wanted."""
        if self._answer.has_head:
            return False
        # Set before the sending: the other task may see the connection end before this one
        # hears that its last byte has left, and must not take the request for unsent then.
        self._is_sent = is_last
        has_left = await self._connection.send(piece)
        self._is_sent = is_last and has_left
        return has_left


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that broke a nursery, or the cancellation if that came from outside."""
    cancelled, others = group.split(trio.Cancelled)
    error: BaseException = cancelled or others or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
