"""Usage out of Claude's answers, read on the side: of streams, of whole answers, of batches."""

import zlib
from collections.abc import Callable

import msgspec

from relay import sse
from relay.call import Headers
from relay.pricing import Tokens

_MOST_USAGE_BYTES = 64 * 1024 * 1024


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _ServerToolUse(msgspec.Struct):
    web_search_requests: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


class _Result(msgspec.Struct):
    type: str = ""
    message: _Message | None = None


class _ResultLine(msgspec.Struct):
    result: _Result


_decode_line = msgspec.json.Decoder(_ResultLine).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode


class _Figures:
    """Usage as it is reported piece by piece: the last word on each figure wins."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None

    def update(self, usage: _Usage) -> None:
        old = self.tokens or Tokens()
        write_5m, write_1h = old.cache_write_5m, old.cache_write_1h
        if usage.cache_creation is not None:
            write_5m = _last(usage.cache_creation.ephemeral_5m_input_tokens, write_5m)
            write_1h = _last(usage.cache_creation.ephemeral_1h_input_tokens, write_1h)
        elif usage.cache_creation_input_tokens is not None:
            # Without the split what is not known to live an hour lives five minutes.
            write_5m = max(0, usage.cache_creation_input_tokens - write_1h)
        searches = old.web_searches
        if usage.server_tool_use is not None:
            searches = _last(usage.server_tool_use.web_search_requests, searches)
        self.tokens = Tokens(
            input=_last(usage.input_tokens, old.input),
            output=_last(usage.output_tokens, old.output),
            cache_read=_last(usage.cache_read_input_tokens, old.cache_read),
            cache_write_5m=write_5m,
            cache_write_1h=write_1h,
            web_searches=searches,
        )


def _last(new: int | None, old: int) -> int:
    return old if new is None else max(0, new)


def result_of(line: bytes) -> tuple[str, str, Tokens]:
    """One line of a batch's results: how the request ended, the model that answered, its usage.

    Raises:
        ValueError: it is no such line.
    """
    try:
        result = _decode_line(line).result
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"a line of results that cannot be read: {error}") from None
    figures = _Figures()
    if result.message is not None and result.message.usage is not None:
        figures.update(result.message.usage)
    model = (result.message.model if result.message else None) or ""
    return result.type, model, figures.tokens or Tokens()


class _Unpacker:
    """Decompresses on the side; bounded, and blind from the first fault on."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=47)
        self._left = _MOST_USAGE_BYTES

    def feed(self, data: bytes) -> bytes:
        if self._left <= 0:
            return b""
        try:
            plain = self._zlib.decompress(data, self._left)
        except zlib.error:
            self._left = 0
            return b""
        self._left -= len(plain)
        return plain


class StreamMeter:
    """Usage of a stream of events, and whether it has reached its end."""

    def __init__(self, unpack: _Unpacker | None) -> None:
        self._framer = sse.Framer()
        self._figures = _Figures()
        self._unpack = unpack
        self.chars = 0
        self.model = ""
        self.stop_reason = ""
        self.is_complete = False
        self.has_ended = False
        self.has_begun = False

    @property
    def tokens(self) -> Tokens | None:
        return self._figures.tokens

    @property
    def at_boundary(self) -> bool:
        return self._unpack is None and self._framer.at_boundary and not self._framer.broken

    def feed(self, data: bytes) -> None:
        if self._unpack is not None:
            data = self._unpack.feed(data)
        for frame in self._framer.feed(data):
            self._see(frame.event, frame.data)

    def _see(self, event: bytes, data: bytes) -> None:
        if event in (b"message_stop", b"error"):
            self.has_ended = True
            self.is_complete = event == b"message_stop"
            return
        if event not in (b"content_block_delta", b"message_start", b"message_delta"):
            return
        self.has_begun = True
        try:
            seen = _decode_event(data)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError):
            return
        if seen.message is not None:
            self.model = seen.message.model or ""
            if seen.message.usage is not None:
                self._figures.update(seen.message.usage)
        if seen.usage is not None:
            self._figures.update(seen.usage)
        if seen.delta is not None:
            delta = seen.delta
            self.chars += len(delta.text or delta.thinking or delta.partial_json or "")
            self.stop_reason = delta.stop_reason or self.stop_reason

    def finish(self) -> None:
        """A stream has told everything by its events."""


class BodyMeter:
    """Usage of an answer that comes as one JSON object."""

    chars = 0
    at_boundary = False
    has_begun = False
    has_ended = False

    def __init__(self, unpack: _Unpacker | None) -> None:
        self._figures = _Figures()
        self._unpack = unpack
        self._parts: list[bytes] = []
        self._size = 0
        self.model = ""
        self.stop_reason = ""
        self.is_complete = False

    @property
    def tokens(self) -> Tokens | None:
        return self._figures.tokens

    def feed(self, data: bytes) -> None:
        if self._unpack is not None:
            data = self._unpack.feed(data)
        self._size += len(data)
        if self._size <= _MOST_USAGE_BYTES:
            self._parts.append(data)

    def finish(self) -> None:
        try:
            message = _decode_message(b"".join(self._parts))
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError):
            return
        self.model = message.model or ""
        self.stop_reason = message.stop_reason or ""
        if message.usage is not None:
            self._figures.update(message.usage)
            self.is_complete = True


def meter(
    status: int,
    headers: Headers,
    *,
    stream: bool,
    of_stream: Callable[[_Unpacker | None], StreamMeter] = StreamMeter,
) -> StreamMeter | BodyMeter:
    """A meter for one answer; a stream's only when it really is one.

    Args:
        of_stream: makes a stream's meter, of what unpacks the stream.
    """
    named = dict(headers)
    packed = named.get(b"content-encoding", b"identity") in (b"gzip", b"deflate")
    unpack = _Unpacker() if packed else None
    is_events = named.get(b"content-type", b"").startswith(b"text/event-stream")
    if stream and status == 200 and is_events:
        return of_stream(unpack)
    return BodyMeter(unpack)
