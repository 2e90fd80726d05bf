"""How a model's answer begins: what of it is read before its client hears of it.

Until then it can still be what its status would have said: an error, no answer at all, or an
answer of another shape than was asked for.
"""

from dataclasses import dataclass

import trio

from relay.call import Dialect, Headers, Meter
from relay.dialects import shapes
from relay.upstream import AnswerTooLargeError, Reply, UpstreamError

MOST_ANSWER_BYTES = 64 * 1024 * 1024
_EVENTS, _JSON = b"text/event-stream", b"application/json"
_PACKED = (b"gzip", b"deflate")
# So much comes of no stream before its first event.
_MOST_HELD_BYTES = 1024 * 1024


class RefusedInside(Exception):
    """An answer that is an error although its status says that all is well.

    Args:
        status: that with which such an error comes otherwise.
        body: the error as the body of an answer.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body


class NoMessageError(UpstreamError):
    """A sound answer that is neither a message nor an error."""

    def __init__(self, reason: str) -> None:
        super().__init__("body", reason)


@dataclass(slots=True)
class Stream:
    """A stream whose first event is there, or long in coming.

    Attributes:
        meter: has read what is `held`.
        held: bytes that have come and no client has got.
        is_made: the events were made of a whole answer.
    """

    reply: Reply
    meter: Meter
    held: bytes = b""
    is_made: bool = False

    async def receive(self) -> bytes:
        """The next bytes; see Reply.receive()."""
        return b"" if self.is_made else await self.reply.receive()

    def headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The answer's headers, without a length that pings and an error event would break."""
        return _retyped(headers, _EVENTS, is_made=self.is_made)


def _retyped(headers: Headers, kind: bytes, *, is_made: bool) -> list[tuple[bytes, bytes]]:
    left_out = {b"content-length", b"content-type"} | ({b"content-encoding"} if is_made else set())
    given = dict(headers).get(b"content-type", b"")
    kept = [pair for pair in headers if pair[0] not in left_out]
    return [*kept, (b"content-type", given if given.startswith(kind) else kind)]


async def begun(dialect: Dialect, reply: Reply, patience_s: float) -> Stream:
    """A stream from its first event on that is neither a ping nor an error.

    Args:
        patience_s: after so long the client hears that an answer begins, whatever has come.

    Raises:
        RefusedInside: nothing but an error has come.
        NoMessageError: nothing at all has come, or no answer.
        UpstreamError: see Reply.receive().
    """
    deadline, held, has_ended = trio.current_time() + patience_s, b"", False
    with trio.move_on_at(deadline):
        while not held.strip() and not has_ended:
            data = await reply.receive()
            held, has_ended = held + data, not data
    encoding = dict(reply.headers).get(b"content-encoding", b"identity")
    if _is_whole(reply, held, is_packed=encoding in _PACKED):
        return _told_as_stream(dialect, reply, held + await collect(reply, MOST_ANSWER_BYTES))
    told = [(b"content-type", _EVENTS), (b"content-encoding", encoding)]
    stream = Stream(reply, dialect.meter(200, told, stream=True), held)
    stream.meter.feed(held)
    with trio.move_on_at(deadline):
        while not (has_ended or _is_told(stream)):
            data = await reply.receive()
            stream.held, has_ended = stream.held + data, not data
            stream.meter.feed(data)
    if not stream.meter.has_started:
        _judge_start(stream.meter.first_error, has_ended=has_ended)
    return stream


def _is_told(stream: Stream) -> bool:
    """Whether more of a stream would say no more of how it begins."""
    meter = stream.meter
    has_begun = meter.has_started or meter.first_error is not None
    return has_begun or len(stream.held) >= _MOST_HELD_BYTES


def _judge_start(error: bytes | None, *, has_ended: bool) -> None:
    if error is not None and (found := shapes.error_of(error, is_event=True)):
        raise RefusedInside(*found)
    if has_ended:
        raise NoMessageError("Its stream ended before its first event.")


def _is_whole(reply: Reply, data: bytes, *, is_packed: bool) -> bool:
    if is_packed:
        return dict(reply.headers).get(b"content-type", b"").startswith(_JSON)
    return shapes.is_object(data)


def _told_as_stream(dialect: Dialect, reply: Reply, body: bytes) -> Stream:
    """A whole answer as the stream that was asked for."""
    whole = dialect.meter(200, reply.headers, stream=False)
    whole.feed(body)
    plain = whole.body
    judge(plain)
    events = shapes.as_events(plain)
    stream = Stream(reply, dialect.meter(200, [(b"content-type", _EVENTS)], stream=True))
    stream.is_made, stream.held = True, events
    stream.meter.feed(events)
    return stream


def judge(body: bytes) -> None:
    """Raises RefusedInside or NoMessageError for a whole answer that is no message."""
    if found := shapes.error_of(body):
        raise RefusedInside(*found)
    if not shapes.is_message(body):
        raise NoMessageError("Its answer is no message.")


def told_as_whole(body: bytes) -> bytes | None:
    """A stream as the whole answer that was asked for; None for what is no stream.

    Raises:
        RefusedInside: the stream ends in an error.
        NoMessageError: it does not end.
    """
    if not shapes.is_stream(body):
        return None
    message = shapes.as_message(body)
    if message is None:
        raise NoMessageError("Its answer is a stream that does not end.")
    judge(message)
    return message


def whole_headers(headers: Headers, body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of an answer whose body was made anew."""
    length = (b"content-length", b"%d" % len(body))
    return [*_retyped(headers, _JSON, is_made=True), length]


async def collect(reply: Reply, most_bytes: int) -> bytes:
    """A whole answer that the relay has to read; UpstreamError when it is too large."""
    parts: list[bytes] = []
    size = 0
    while data := await reply.receive():
        size += len(data)
        if size > most_bytes:
            raise AnswerTooLargeError("body", f"its answer is over {most_bytes} bytes")
        parts.append(data)
    return b"".join(parts)
