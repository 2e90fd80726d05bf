"""Answers of an upstream that have an unusual shape: what they are, and the usual shape of them.

A whole message where a stream was asked for and the other way round, events without names, and
errors under a status that says that all is well. Pure functions over bytes and plain data.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from relay import sse

Json = dict[str, Any]

# What is no name of an event of this API, but stands where there is none ("message" is what the
# standard of server-sent events calls an event without a name).
NAMELESS = (b"", b"message")
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_STREAM_STARTS = (b"event:", b"data:", b":", b"id:", b"retry:")
_encode = msgspec.json.encode


def _object(data: bytes) -> Json:
    try:
        return msgspec.json.decode(data, type=Json)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def event_name(data: bytes) -> bytes:
    """The name of an event that came without one, by its data; empty for what is none."""
    fields = _object(data)
    if isinstance(kind := fields.get("type"), str):
        return kind.encode(errors="replace").replace(b"\n", b"")
    return b"error" if isinstance(fields.get("error"), dict) else b""


def is_stream(data: bytes) -> bool:
    """Whether an answer begins like events, whatever its headers say."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_STREAM_STARTS)


def is_object(data: bytes) -> bool:
    """Whether an answer begins like one JSON object."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def error_of(data: bytes, *, is_event: bool = False) -> tuple[int, bytes] | None:
    """The status that an error would have come with, and its body; None for what is no error.

    Args:
        is_event: it came as an event that says of itself that it is an error.
    """
    fields = _object(data)
    error = fields.get("error")
    if not isinstance(error, dict):
        if not is_event and fields.get("type") != "error":
            return None
        error = {"type": "api_error", "message": "The upstream failed, and did not say why."}
        fields = {}
    status = _STATUS.get(str(error.get("type")), 500)
    if fields.get("type") == "error" and isinstance(error.get("message"), str):
        return status, data
    told = {**error, "type": str(error.get("type") or "api_error")}
    told["message"] = str(error.get("message") or "The upstream failed, and did not say why.")
    return status, _encode({"type": "error", "error": told})


def is_message(data: bytes) -> bool:
    """Whether a whole answer is a message."""
    fields = _object(data)
    return isinstance(fields.get("content"), list) or isinstance(fields.get("usage"), dict)


def as_events(data: bytes) -> bytes:
    """The events of a whole message, as one stream."""
    message = _object(data)
    usage = message.get("usage")
    begun = dict(usage) if isinstance(usage, dict) else {}
    head = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": begun}
    events: list[Json] = [{"type": "message_start", "message": head}]
    content = message.get("content")
    blocks = (
        [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    )
    for index, block in enumerate(blocks):
        events.extend(_events_of(index, block))
    ending = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    for name in ("stop_details", "container"):
        if name in message:
            ending[name] = message[name]
    events.append({"type": "message_delta", "delta": ending, "usage": begun})
    events.append({"type": "message_stop"})
    return b"".join(sse.encode(event["type"], _encode(event)) for event in events)


def _events_of(index: int, block: Json) -> Iterator[Json]:
    """A block of content as its events: what grows comes as a delta, the rest as it is."""
    kind, deltas, begun = block.get("type"), [], dict(block)
    for whole, delta, field in (
        ("thinking", "thinking_delta", "thinking"),
        ("thinking", "signature_delta", "signature"),
        ("text", "text_delta", "text"),
    ):
        if kind == whole and isinstance(block.get(field), str):
            begun[field] = ""
            deltas.append({"type": delta, field: block[field]})
    if kind == "text" and isinstance(block.get("citations"), list):
        begun["citations"] = []
        cited = ({"type": "citations_delta", "citation": one} for one in block["citations"])
        deltas.extend(cited)
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        begun["input"] = {}
        text = _encode(block.get("input") or {}).decode()
        deltas.append({"type": "input_json_delta", "partial_json": text})
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta_fields in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta_fields}
    yield {"type": "content_block_stop", "index": index}


def as_message(data: bytes) -> bytes | None:
    """The whole message that a stream tells, or its error; None when it does not end."""
    message: Json = {}
    blocks: dict[int, Json] = {}
    partial: dict[int, str] = {}
    for name, fields in _events(sse.Framer().feed(data + b"\n\n")):
        if name == b"error":
            return error_body(fields)
        if name == b"message_start" and isinstance(fields.get("message"), dict):
            message = dict(fields["message"])
        elif name == b"message_delta":
            message |= _known(fields.get("delta"))
            message["usage"] = _known(message.get("usage")) | _known(fields.get("usage"))
        elif name == b"message_stop" and message:
            return _encode({**message, "content": _finished(blocks, partial)})
        elif isinstance(index := fields.get("index"), int):
            _grow(name, index, fields, blocks, partial)
    return None


def error_body(fields: Json) -> bytes:
    """An error's event as the body of an answer."""
    found = error_of(_encode(fields), is_event=True)
    return found[1] if found else b""


def _events(frames: Iterable[sse.Frame]) -> Iterator[tuple[bytes, Json]]:
    for frame in frames:
        name = event_name(frame.data) if frame.event in NAMELESS else frame.event
        yield name, _object(frame.data)


def _known(value: Any) -> Json:
    if not isinstance(value, dict):
        return {}
    return {name: figure for name, figure in value.items() if figure is not None}


def _grow(
    name: bytes, index: int, fields: Json, blocks: dict[int, Json], partial: dict[int, str]
) -> None:
    """Let an event of a block of content add to that block."""
    if name == b"content_block_start" and isinstance(fields.get("content_block"), dict):
        blocks[index] = dict(fields["content_block"])
    delta, block = fields.get("delta"), blocks.get(index)
    if name != b"content_block_delta" or not isinstance(delta, dict) or block is None:
        return
    for field in ("text", "thinking", "signature"):
        if isinstance(delta.get(field), str):
            block[field] = str(block.get(field) or "") + delta[field]
    if isinstance(delta.get("partial_json"), str):
        partial[index] = partial.get(index, "") + delta["partial_json"]
    if "citation" in delta:
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _finished(blocks: dict[int, Json], partial: dict[int, str]) -> list[Json]:
    """The blocks in their order, each tool's input read."""
    for index, text in partial.items():
        if text:
            blocks[index]["input"] = _object(text.encode(errors="replace"))
    return [blocks[index] for index in sorted(blocks)]
