"""Usage out of Claude's answers, read on the side: of streams, of whole answers, of batches."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from relay import sse
from relay.call import CHARS_PER_TOKEN, Headers
from relay.dialects import bill, shapes, state
from relay.pricing import Bill, Tokens, canonical

_MOST_USAGE_BYTES = 64 * 1024 * 1024


class _Message(msgspec.Struct):
    """An answer's message. What the relay reads of it may be of any shape."""

    id: Any = None
    model: Any = None
    container: Any = None
    stop_reason: Any = None
    stop_details: Any = None
    usage: Any = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _TextDelta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None


class _BlockDelta(msgspec.Struct):
    delta: _TextDelta | None = None


class _Ending(msgspec.Struct):
    stop_reason: Any = None
    stop_details: Any = None
    container: Any = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    delta: _Ending | None = None
    usage: Any = None
    content_block: Any = None


class _Result(msgspec.Struct):
    type: str = ""
    message: _Message | None = None


class _ResultLine(msgspec.Struct):
    result: _Result


_decode_line = msgspec.json.Decoder(_ResultLine).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_blocks = msgspec.json.Decoder(list[Any]).decode


@dataclass(slots=True)
class _Hop:
    """A model that began an answer and declined to go on with it."""

    model: str
    usage: bill.Usage
    chars: int


class _Reading:
    """What an answer has said so far of its model, its end and its usage."""

    def __init__(self) -> None:
        self.model = ""
        self.stop_reason = ""
        self.category: str | None = None
        self.usage: bill.Usage | None = None
        self._id: Any = None
        self._container: Any = None
        self._details: Any = None
        self.signature = ""
        self._declined: dict[str, str | None] = {}
        self._hops: list[_Hop] = []

    @property
    def has_usage(self) -> bool:
        """Whether the answer has said anything of what it used."""
        return self.usage is not None

    @property
    def tokens(self) -> Tokens | None:
        """What the model that serves has used so far; None before anything was said."""
        return None if self.usage is None else bill.top_level(self.usage)

    def message(self, message: _Message) -> None:
        """The head of a stream, or a whole answer."""
        self._id = message.id
        self.model = message.model if isinstance(message.model, str) else ""
        self.ending(message.stop_reason, message.stop_details, message.container)
        content = bytes(message.content)
        self.signature = next(state.signatures(content, 1), "")
        if b'"fallback"' in content:
            for block in _blocks(content):
                self.block(block)
        self.update(message.usage)

    @property
    def made(self) -> Iterator[tuple[str, str]]:
        """Kind and id of what the answer names and a later request may name."""
        return state.made_by(self._id, self._container, self._details, self.signature)

    def ending(self, stop_reason: object, stop_details: object, container: object) -> None:
        """Why the answer ended, and the container that it used."""
        self._container = container or self._container
        self._details = stop_details or self._details
        if isinstance(stop_reason, str) and stop_reason:
            self.stop_reason = stop_reason
        if isinstance(stop_details, dict) and isinstance(stop_details.get("category"), str):
            self.category = stop_details["category"]

    def update(self, usage: object) -> None:
        """More of the answer's usage."""
        if isinstance(usage, dict):
            self.usage = bill.merged(self.usage, usage)
            self.model = bill.served_by(usage) or self.model

    def block(self, block: object, chars: int = 0) -> None:
        """A block of content begins: perhaps that from which another model goes on.

        Args:
            chars: characters of output that the model before it has put out.
        """
        if not isinstance(block, dict) or block.get("type") != "fallback":
            return
        before, after = _named(block.get("from")) or self.model, _named(block.get("to"))
        trigger = block.get("trigger")
        category = trigger.get("category") if isinstance(trigger, dict) else None
        self._declined[canonical(before)] = category if isinstance(category, str) else None
        if self.usage is not None:
            self._hops.append(_Hop(before, self.usage, chars))
            self.usage = bill.without_figures(self.usage)
        self.model = after or self.model

    def bill(self, requested: str, chars: int, *, writes_long: bool) -> Bill:
        """All that the answer is billed so far; see bill.Answer for what is asked.

        Args:
            chars: of output that the upstream may not have counted yet.
        """
        answer = bill.Answer(
            self.model or requested,
            requested,
            self.stop_reason,
            self.category,
            self._declined,
            writes_long,
        )
        usage = self.usage or {}
        billed = bill.bill_of(usage, answer).with_output(chars // CHARS_PER_TOKEN)
        if usage.get("iterations"):
            return billed
        lost = (
            bill.declined_part(hop.model, hop.usage, hop.chars // CHARS_PER_TOKEN, answer)
            for hop in self._hops
        )
        return replace(billed, parts=(*billed.parts, *lost))


def _named(place: object) -> str:
    model = place.get("model") if isinstance(place, dict) else None
    return model if isinstance(model, str) else ""


def _blocks(content: bytes) -> list[Any]:
    try:
        return _decode_blocks(content)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []


def result_of(line: bytes) -> tuple[str, Bill, Sequence[tuple[str, str]]]:
    """One line of a batch's results: how the request ended, what it is billed, and kind and id of
    what its answer names.

    Raises:
        ValueError: it is no such line.
    """
    try:
        result = _decode_line(line).result
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"a line of results that cannot be read: {error}") from None
    reading = _Reading()
    if result.message is not None:
        reading.message(result.message)
    return result.type, reading.bill("", 0, writes_long=False), list(reading.made)


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


class _Meter:
    """What the meters of streams and of whole answers have in common."""

    def __init__(self, unpack: _Unpacker | None) -> None:
        self._reading = _Reading()
        self._unpack = unpack
        self.chars = 0
        self.is_complete = False
        self.has_ended = False
        self.has_begun = False
        # Whether an event has come that is neither a ping nor an error.
        self.has_started = False
        # The data of an error that came before any such event.
        self.first_error: bytes | None = None
        # Of models that declined.
        self._chars_before = 0

    @property
    def tokens(self) -> Tokens | None:
        return self._reading.tokens

    @property
    def has_usage(self) -> bool:
        return self._reading.has_usage

    @property
    def model(self) -> str:
        return self._reading.model

    @property
    def made(self) -> Iterator[tuple[str, str]]:
        return self._reading.made

    @property
    def stop_reason(self) -> str:
        return self._reading.stop_reason

    @property
    def body(self) -> bytes:
        """A whole answer as it was read, uncompressed."""
        return b""

    def bill(self, requested: str, *, writes_long: bool) -> Bill:
        uncounted = 0 if self.is_complete else self.chars - self._chars_before
        return self._reading.bill(requested, uncounted, writes_long=writes_long)


class StreamMeter(_Meter):
    """Usage of a stream of events, and whether it has reached its end."""

    def __init__(self, unpack: _Unpacker | None) -> None:
        super().__init__(unpack)
        self._framer = sse.Framer()
        # The events under the names that they came without; None while they have names.
        self._named: list[bytes] | None = None

    @property
    def at_boundary(self) -> bool:
        return self._unpack is None and self._framer.at_boundary and not self._framer.broken

    def feed(self, data: bytes) -> None:
        if self._unpack is not None:
            data = self._unpack.feed(data)
        for frame in self._framer.feed(data):
            event = frame.event
            if event in shapes.NAMELESS:
                event = shapes.event_name(frame.data)
                if self._named is None and not self.has_started and self._unpack is None:
                    self._named = []
            if self._named is not None and event:
                self._named.append(sse.encode(event.decode("latin-1"), frame.data))
            if not self.has_started:
                self._begin(event, frame.data)
            self._see(event, frame.data)

    def _begin(self, event: bytes, data: bytes) -> None:
        if event == b"error":
            self.first_error = data if self.first_error is None else self.first_error
        elif event and event != b"ping":
            self.has_started = True

    def passed(self, data: bytes) -> bytes:
        """What a client gets of the bytes that were just read: events have their names."""
        if self._named is None:
            return data
        named, self._named = b"".join(self._named), []
        return named

    def _see(self, event: bytes, data: bytes) -> None:
        if event in (b"message_stop", b"error"):
            self.has_ended = True
            self.is_complete = event == b"message_stop"
            return
        read = _READERS.get(event)
        if read is None:
            return
        self.has_begun = self.has_begun or event != b"content_block_start"
        try:
            read(self, data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return

    def _see_delta(self, data: bytes) -> None:
        delta = _decode_delta(data).delta
        if delta is not None:
            self.chars += len(delta.text or delta.thinking or delta.partial_json or "")
            self._reading.signature = delta.signature or self._reading.signature

    def _see_block(self, data: bytes) -> None:
        if b'"redacted_thinking"' in data:
            self._reading.signature = next(state.signatures(data, 1), "")
        if b'"fallback"' not in data:
            return
        self._reading.block(_decode_event(data).content_block, self.chars - self._chars_before)
        self._chars_before = self.chars

    def _see_message(self, data: bytes) -> None:
        seen = _decode_event(data)
        if seen.message is not None:
            self._reading.message(seen.message)
        if seen.delta is not None:
            ending = seen.delta
            self._reading.ending(ending.stop_reason, ending.stop_details, ending.container)
        self._reading.update(seen.usage)

    def finish(self) -> None:
        """A stream has told everything by its events."""


_READERS = {
    b"content_block_delta": StreamMeter._see_delta,
    b"content_block_start": StreamMeter._see_block,
    b"message_start": StreamMeter._see_message,
    b"message_delta": StreamMeter._see_message,
}


class BodyMeter(_Meter):
    """Usage of an answer that comes as one JSON object."""

    at_boundary = False

    def __init__(self, unpack: _Unpacker | None) -> None:
        super().__init__(unpack)
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def passed(self, data: bytes) -> bytes:
        """A whole answer passes as it came."""
        return data

    def feed(self, data: bytes) -> None:
        if self._unpack is not None:
            data = self._unpack.feed(data)
        self._size += len(data)
        if self._size <= _MOST_USAGE_BYTES:
            self._parts.append(data)

    def finish(self) -> None:
        try:
            message = _decode_message(b"".join(self._parts))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return
        self._reading.message(message)
        self.is_complete = self._reading.usage is not None


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
