"""OpenAI's Responses API over Claude's Messages API.

request.py and what it reads with (items, parts, tools) make Claude's request of the client's;
stream.py and what it writes with (blocks, answer) make the client's answer of Claude's. All of that
is pure functions over plain data and events. Here they are one dialect of the exchange.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import msgspec

from relay import errors
from relay.call import Call, Headers, Meter
from relay.dialects import messages
from relay.dialects.responses import request, stream
from relay.dialects.responses.answer import Frame
from relay.dialects.responses.fields import Json

# Newer versions refuse temperature and top_p.
VERSION = b"2023-06-01"
_TARGET = b"/v1/messages"


class Teller(Protocol):
    """Tells the events of one answer in another API's words."""

    def event(self, name: bytes, data: bytes) -> bytes:
        """What an upstream's event becomes."""

    def broken(self, kind: str, message: str) -> bytes:
        """What says that the answer broke off."""


class Responses:
    """The dialect of one request: it knows what was asked and how far the answer has come."""

    name = "openai-responses"
    retells = True
    # A comment, which every reader of events passes over.
    ping = b": ping\n\n"

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._frame: Frame | None = None
        self._meter: _Meter | None = None

    @property
    def frame(self) -> Frame:
        """What was asked, once it has been read."""
        if self._frame is None:
            raise RuntimeError("an answer comes after its request")
        return self._frame

    def read(self, headers: Headers, body: bytes) -> Call:
        """The call to Claude's API that a request becomes; raises errors.BadRequest."""
        messages.refuse_encoded(headers)
        try:
            asked = self._translate(request.parse(body))
            body = msgspec.json.encode(asked.body)
        except RecursionError:
            raise errors.BadRequest("The request's body is nested too deeply.") from None
        self._frame = Frame(self._request_id, asked)
        call = messages.read("messages", "POST", _TARGET, body, headers)
        if not asked.session:
            return call
        return replace(call, session=asked.session, thread=asked.session)

    def _translate(self, fields: Json) -> request.Translated:
        return request.translate(fields)

    def _teller(self) -> Teller:
        return stream.Stream(self.frame)

    def _whole(self, message: Json) -> Json:
        return stream.whole(self.frame, message)

    def meter(self, status: int, headers: Headers, *, stream: bool) -> Meter:
        """A meter that tells the answer's events as it reads them."""
        made = partial(_Meter, self._teller())
        meter = messages.meter(status, headers, stream=stream, of_stream=made)
        self._meter = meter if isinstance(meter, _Meter) else None
        return meter

    def retold(self, meter: Meter, data: bytes) -> bytes:
        """The events that the bytes which the meter has just read become."""
        return self._meter.take() if self._meter else b""

    def retold_whole(self, body: bytes) -> bytes:
        """The Response object of an answer; raises errors.BadGateway."""
        try:
            message = msgspec.json.decode(body, type=Json)
        except (msgspec.DecodeError, RecursionError):
            raise errors.BadGateway("The upstream's answer is no message.") from None
        return msgspec.json.encode(self._whole(message))

    def error_frame(self, error: errors.RelayError, request_id: str) -> bytes:
        """The events by which a stream that broke off says so."""
        return self._meter.broken(error) if self._meter else b""


class _Meter(messages.StreamMeter):
    """Reads usage out of the events, and tells them in the client's words."""

    def __init__(self, teller: Teller, unpack: Any) -> None:
        super().__init__(unpack)
        self._stream = teller
        self._told: list[bytes] = []

    @property
    def at_boundary(self) -> bool:
        """What the client gets are whole events always."""
        return True

    def _see(self, event: bytes, data: bytes) -> None:
        super()._see(event, data)
        if told := self._stream.event(event, data):
            self._told.append(told)

    def take(self) -> bytes:
        """The events since the last time."""
        told, self._told = b"".join(self._told), []
        return told

    def broken(self, error: errors.RelayError) -> bytes:
        """The events that end a stream which has broken off."""
        return self._stream.broken(error.type, error.message)
