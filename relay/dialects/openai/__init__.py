"""What both of OpenAI's APIs share where they are told over Claude's Messages API.

fields, parts, tools, conversation and asked read a request; answered has what every answer
says. Here are the two ends of a dialect of the exchange: a request comes in as bytes, and the
answer's events go out as they are read.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from relay import errors
from relay.call import Call, Headers, Meter
from relay.dialects import messages, meters, models
from relay.dialects.openai import failures
from relay.dialects.openai.answered import Frame
from relay.dialects.openai.asked import Choices, parse
from relay.dialects.openai.fields import Json
from relay.dialects.openai.forced import AsCall

# Newer versions refuse temperature and top_p.
VERSION = b"2023-06-01"
# What a request may grow by: two sentences and the name of a tool.
_SPARE_BYTES = 512
_MOST_NAMED, _LONGEST_NAMED = 10, 100

F = TypeVar("F", bound=Frame)


class Teller(Protocol):
    """Tells the events of one answer in another API's words."""

    def event(self, name: bytes, data: bytes) -> bytes:
        """What an upstream's event becomes."""

    def broken(self, kind: str, message: str) -> bytes:
        """What says that the answer broke off."""


class Translating(ABC, Generic[F]):
    """The dialect of one request: it knows what was asked and how far the answer has come."""

    name = ""
    # What is asked of Claude's API, and where.
    kind, target = "messages", b"/v1/messages"
    retells = True
    # A comment, which every reader of events passes over.
    ping = b": ping\n\n"

    def __init__(self, request_id: str, choices: Choices) -> None:
        self._request_id = request_id
        self._choices = choices
        self._raw = b""
        self._frame: F | None = None
        # What the request was translated for, and how long it may become for another model.
        self._suits: models.Traits | None = None
        self._body = b""
        self._most_bytes = 0
        self._meter: _Meter | None = None

    @abstractmethod
    def _framed(self, fields: Json) -> F:
        """A request that was read; raises errors.BadRequest."""

    @abstractmethod
    def _teller(self) -> Teller:
        """What tells the answer's events."""

    @abstractmethod
    def _whole(self, message: Json) -> Json:
        """What an answer that came whole becomes."""

    @property
    def frame(self) -> F:
        """What was asked, once it has been read."""
        if self._frame is None:
            raise RuntimeError("an answer comes after its request")
        return self._frame

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for, as far as the request has been read."""
        return self._frame is not None and bool(self._frame.asked.body.get("stream"))

    @property
    def beta(self) -> bytes:
        """What the request needs of the upstream that is not for everybody yet, or empty."""
        return b""

    def read(self, headers: Headers, body: bytes) -> Call:
        """The call to Claude's API that a request becomes; raises errors.BadRequest."""
        messages.refuse_encoded(headers)
        self._raw = body
        self._body = body = self._translated()
        self._most_bytes = len(body) + _SPARE_BYTES
        asked = self.frame.asked
        call = messages.read(self.kind, "POST", self.target, body, headers)
        call = replace(call, spare_bytes=_SPARE_BYTES)
        if asked.left_out:
            call = replace(call, left_out=_listed(asked.left_out))
        if not asked.session:
            return call
        return replace(call, session=asked.session, thread=asked.session)

    def suited(self, traits: models.Traits, most_tokens: int) -> bytes | None:
        """The request as it suits a model of such traits: the one that an account has in the
        place of the one asked for. Its name stays that of the one asked for.

        Args:
            most_tokens: the most that the request may ask for: what was admitted.

        Returns: None where that would be longer than what was admitted.
        """
        if traits != self._suits:
            self._choices = replace(
                self._choices, traits=lambda _model: traits, most_tokens=most_tokens
            )
            self._body = self._translated()
        return self._body if len(self._body) <= self._most_bytes else None

    def _translated(self) -> bytes:
        try:
            self._frame = self._framed(parse(self._raw))
            asked = self._frame.asked.body
            self._suits = self._choices.traits(asked["model"])
            return msgspec.json.encode(asked)
        except RecursionError:
            raise errors.BadRequest("The request's body is nested too deeply.") from None

    def meter(self, status: int, headers: Headers, *, stream: bool) -> Meter:
        """A meter that tells the answer's events as it reads them."""
        made = partial(_Meter, self._teller(), self._as_call())
        meter = meters.meter(status, headers, stream=stream, of_stream=made)
        self._meter = meter if isinstance(meter, _Meter) else None
        return meter

    def retold(self, meter: Meter, data: bytes) -> bytes:
        """The events that the bytes which the meter has just read become."""
        return self._meter.take() if self._meter else b""

    def retold_whole(self, body: bytes) -> bytes:
        """What the client gets of an answer that came whole; raises errors.BadGateway."""
        try:
            message = msgspec.json.decode(body, type=Json)
        except (msgspec.DecodeError, RecursionError):
            raise errors.BadGateway("The upstream's answer is no message.") from None
        as_call = self._as_call()
        return msgspec.json.encode(self._whole(as_call.whole(message) if as_call else message))

    def _as_call(self) -> AsCall | None:
        name = self.frame.asked.forced
        return AsCall(name, f"toolu_{self.frame.stem}") if name else None

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, media type and body of an error, of status and body in Claude's words."""
        return failures.in_openais_words(status, body)

    def error_frame(self, error: errors.RelayError, request_id: str) -> bytes:
        """The events by which a stream that broke off says so."""
        return self._meter.broken(error) if self._meter else b""


def _listed(left_out: Sequence[str]) -> tuple[str, ...]:
    """What was left out, as a header and a decision have room for it."""
    shown = [ascii(text)[1:-1][:_LONGEST_NAMED] for text in left_out[:_MOST_NAMED]]
    more = len(left_out) - len(shown)
    return (*shown, f"{more} more") if more else tuple(shown)


class _Meter(meters.StreamMeter):
    """Reads usage out of the events, and tells them in the client's words."""

    def __init__(self, teller: Teller, as_call: AsCall | None, unpack: Any) -> None:
        super().__init__(unpack)
        self._teller = teller
        self._as_call = as_call
        self._told: list[bytes] = []

    @property
    def at_boundary(self) -> bool:
        """What the client gets are whole events always."""
        return True

    def _see(self, event: bytes, data: bytes) -> None:
        super()._see(event, data)
        if self._as_call:
            data = self._as_call.event(event, data)
        if told := self._teller.event(event, data):
            self._told.append(told)

    def take(self) -> bytes:
        """The events since the last time."""
        told, self._told = b"".join(self._told), []
        return told

    def broken(self, error: errors.RelayError) -> bytes:
        """The events that end a stream which has broken off."""
        return self._teller.broken(error.type, error.message)
