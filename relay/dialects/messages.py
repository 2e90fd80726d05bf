"""The Anthropic Messages dialect: the few fields of a request that are read.

Nothing here changes a byte. A request's body is checked only so far that what the relay reads
is what the upstream will read.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from relay import errors, sse
from relay.body import LARGE_BYTES, fields_of
from relay.call import Call, Headers, Meter, Named
from relay.dialects import bounds, meters, named_models, state
from relay.dialects.models import Traits
from relay.pricing import MOST_TOKENS, Reach

name = "anthropic"
ping = sse.encode("ping", b'{"type": "ping"}')
retells = False
meter = meters.meter

# More is no metadata, and no other field that is decoded is longer than this.
_LONGEST_METADATA, _LONGEST_VALUE = 64 * 1024, 16 * 1024
# More turns than this are not looked through for the first user's.
_MOST_TURNS = 20_000
_BEGINNING_BYTES = 64 * 1024

_FIELD_FIRST = re.compile(r"[a-z_]+[.:]")


def read(
    kind: str, method: str, target: bytes, body: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> Call:
    """What the relay needs to know of a messages request.

    Raises:
        errors.BadRequest: the body could be read in two ways, or lacks what must be there.
    """
    refuse_encoded(headers)
    named = dict(headers)
    fields = fields_of(body)
    model, max_tokens = _model_and_bound(fields)
    session = _session(named, fields)
    unbounded, reach = bounds.of(body, fields)
    return Call(
        kind=kind,
        method=method,
        target=target,
        body=body,
        model=model,
        max_tokens=max_tokens,
        stream=_field(fields, "stream", bool, False),
        session=session,
        thread=session or _beginning(fields),
        agent=_text(named.get(b"x-claude-code-agent-id", b"")),
        unbounded=unbounded,
        reach=reach,
        also=named_models.beside(fields),
        named=state.named_by(fields),
        has_thread="thread" in fields,
    )


@dataclass(frozen=True, slots=True)
class Params:
    """What a request inside of a batch can cost by: its model, its size and its bounds."""

    model: str
    max_tokens: int
    size: int
    unbounded: str
    reach: Reach
    also: Mapping[str, str]
    named: tuple[Named, ...]


def params_of(request: bytes) -> Params:
    """What the relay needs to know of one request of a batch.

    Raises:
        errors.BadRequest: it could be read in two ways, or lacks what must be there; the field's
            name begins the message.
    """
    fields = fields_of(request)
    if "params" not in fields:
        raise errors.BadRequest("params: this field is required.")
    params = bytes(fields["params"])
    try:
        inner = fields_of(params)
        model, max_tokens = _model_and_bound(inner)
        unbounded, reach = bounds.of(params, inner)
        named = state.named_by(inner)
        beside = named_models.beside(inner)
    except errors.BadRequest as error:
        raise errors.BadRequest(below("params", error.message)) from None
    also = {name: f"params.{place}" for name, place in beside.items()}
    named = tuple(replace(one, place=f"params.{one.place}") for one in named)
    return Params(model, max_tokens, len(params), unbounded, reach, also, named)


def below(place: str, message: str) -> str:
    """A message about a field, or about a whole, as one about what stands below `place`."""
    if _FIELD_FIRST.match(message):
        return f"{place}.{message}"
    return f"{place}: {message}"


def _model_and_bound(fields: dict[str, msgspec.Raw]) -> tuple[str, int]:
    model = _field(fields, "model", str, None)
    if not model:
        raise errors.BadRequest("model: this field is required and names a model.")
    if len(model) > 256 or not model.isprintable():
        raise errors.BadRequest("model: a model's name has at most 256 printable characters.")
    max_tokens = _field(fields, "max_tokens", int, 0)
    if max_tokens < 0:
        raise errors.BadRequest("max_tokens: must not be negative.")
    if max_tokens > MOST_TOKENS:
        raise errors.BadRequest(f"max_tokens: must be at most {MOST_TOKENS}.")
    return model, max_tokens


def suited(_traits: Traits, _most_tokens: int) -> None:
    """What a client asks for in Claude's own words is sent as it came."""


def refuse_encoded(headers: Headers) -> None:
    """A body that the relay would read differently from the upstream is refused."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise errors.BadRequest("Content-Encoding: send the body uncompressed.")


def _field(fields: dict[str, msgspec.Raw], name: str, kind: type, default: Any) -> Any:
    raw = fields.get(name)
    if raw is None:
        return default
    if len(memoryview(raw)) > _LONGEST_VALUE:
        raise errors.BadRequest(f"{name}: must be {_WORDS[kind]} of at most 16 KiB.")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise errors.BadRequest(f"{name}: must be {_WORDS[kind]}.") from None


_WORDS: dict[type, str] = {str: "a string", int: "a whole number", bool: "true or false"}


def _session(headers: dict[bytes, bytes], fields: dict[str, msgspec.Raw]) -> str:
    """The client's conversation: Claude Code's header, else what its metadata says."""
    if header := headers.get(b"x-claude-code-session-id"):
        return _text(header)
    metadata = fields.get("metadata", msgspec.Raw(b"{}"))
    if len(memoryview(metadata)) > _LONGEST_METADATA:
        return ""
    try:
        user_id = msgspec.json.decode(metadata, type=_Metadata).user_id
        return _text(msgspec.json.decode(user_id or "{}", type=_UserId).session_id.encode())
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError):
        return ""


def _beginning(fields: dict[str, msgspec.Raw]) -> str:
    """A hash of the system prompt and the first user message: what a prompt cache begins with."""
    digest = hashlib.sha256(memoryview(fields.get("system", _NOTHING)))
    messages = fields.get("messages", _NOTHING)
    if len(memoryview(messages)) > LARGE_BYTES and bytes(messages).count(b"{") > _MOST_TURNS:
        # Turns take more memory than their JSON does; how it begins tells conversations apart too.
        digest.update(memoryview(messages)[:_BEGINNING_BYTES])
        return digest.hexdigest()
    try:
        msgspec.json.decode(messages, type=list[_Turn])
    except _FirstTurn as first:
        digest.update(b"|")
        digest.update(memoryview(first.content))
    except (msgspec.ValidationError, msgspec.DecodeError):
        return ""
    return digest.hexdigest()


def _text(value: bytes) -> str:
    text = value.decode("latin-1")[:128]
    return text if text.isprintable() else ""


_NOTHING = msgspec.Raw(b"")


class _FirstTurn(Exception):
    """The first turn of the user was decoded; all that follows it does not matter."""

    def __init__(self, content: msgspec.Raw) -> None:
        super().__init__()
        self.content = content


class _Turn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = _NOTHING

    def __post_init__(self) -> None:
        if self.role == "user":
            raise _FirstTurn(self.content)


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _UserId(msgspec.Struct):
    session_id: str = ""


def error_frame(error: errors.RelayError, request_id: str) -> bytes:
    """The event by which a stream that broke off says so."""
    return sse.encode("error", errors.envelope(error, request_id))


def retold(meter: Meter, data: bytes) -> bytes:
    """The client gets every byte as it came, and events that came without a name under theirs."""
    return meter.passed(data)


def retold_whole(body: bytes) -> bytes:
    """The client gets every byte as it came."""
    return body
