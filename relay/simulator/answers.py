"""What the simulated API answers: pure functions from a request to JSON and events.

The rules are simple, so that figures can be checked by hand: a token is four characters begun,
of the request's body for input and of the answer's text for output.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

CHARS_PER_TOKEN = 4
SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="
MODELS = (
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-opus-5", "Claude Opus 5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
)

Json = dict[str, Any]


class ApiError(Exception):
    """An error as the real API would answer it."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def error_body(kind: str, message: str, request_id: str) -> Json:
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


@dataclass(slots=True)
class Answer:
    """One message: its content blocks, how it stops, and its exact usage."""

    id: str
    model: str
    content: list[Json]
    stop_reason: str
    usage: Json
    stop_sequence: str | None = None
    citations: list[Json] = field(default_factory=list)

    def to_json(self) -> Json:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": self.content,
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "usage": self.usage,
        }


def tokens_of(text: str) -> int:
    """How many tokens a text is, by the simulator's rule."""
    return -(-len(text) // CHARS_PER_TOKEN)


def checked(body: bytes, *required: str) -> Json:
    """The request's fields. Raises ApiError where the real API would refuse."""
    try:
        fields = json.loads(body)
    except ValueError:
        raise ApiError(400, "invalid_request_error", "The body is not valid JSON.") from None
    for name in required:
        if not isinstance(fields, dict) or name not in fields:
            raise ApiError(400, "invalid_request_error", f"{name}: Field required")
    if "model" in required and "claude" not in str(fields["model"]):
        raise ApiError(404, "not_found_error", f"model: {fields['model']}")
    return dict(fields)


def last_text(fields: Json) -> str:
    """The text that the user said last."""
    for message in reversed(fields.get("messages") or []):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            return content
        texts = [
            str(block.get("text", ""))
            for block in content or []
            if isinstance(block, dict) and block.get("type") == "text"
        ]
        if texts:
            return texts[-1]
    return ""


def answer(fields: Json, body: bytes, number: int, figures: Mapping[str, Any]) -> Answer:
    """The message that answers a request.

    Args:
        number: makes ids unique.
        figures: usage figures that are to be reported instead of the rule's.
    """
    asked = last_text(fields)
    text = f"Simulated answer to: {asked}"
    content: list[Json] = []
    if (fields.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        content.append({"type": "thinking", "thinking": "Let me see.", "signature": SIGNATURE})
    stop_reason, stop_sequence = "end_turn", None
    for sequence in fields.get("stop_sequences") or []:
        if sequence in text:
            text, stop_reason, stop_sequence = text.split(sequence)[0], "stop_sequence", sequence
    most = int(fields["max_tokens"])
    if tokens_of(text) > most:
        text, stop_reason, stop_sequence = text[: most * CHARS_PER_TOKEN], "max_tokens", None
    content.append({"type": "text", "text": text})
    if use := _tool_use(fields, asked, number):
        content.append(use)
        stop_reason = "tool_use"
    usage = {
        "input_tokens": tokens_of(body.decode("utf-8", "replace")),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": sum(tokens_of(_plain(block)) for block in content),
        "service_tier": "standard",
        **figures,
    }
    return Answer(
        f"msg_sim{number:08d}", fields["model"], content, stop_reason, usage, stop_sequence
    )


def _tool_use(fields: Json, asked: str, number: int) -> Json | None:
    tools = fields.get("tools") or []
    choice = fields.get("tool_choice") or {}
    if not tools or not (choice.get("type") in ("any", "tool") or "use tool" in asked):
        return None
    name = choice.get("name") or tools[0].get("name")
    return {"type": "tool_use", "id": f"toolu_sim{number:08d}", "name": name,
            "input": {"text": asked}}  # fmt: skip


def _plain(block: Json) -> str:
    if block["type"] == "tool_use":
        return json.dumps(block["input"])
    return str(block.get("text") or block.get("thinking") or "")


def events(message: Answer, pieces: int) -> Iterator[tuple[str, Json]]:
    """The stream of a message: each block's text in at most `pieces` deltas.

    `message_start` reports one token of output and `message_delta` the final figures, as the
    real API does.
    """
    start = message.to_json()
    start |= {"content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**message.usage, "output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": start}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(message.content):
        yield from _block_events(index, block, pieces)
    usage = {
        name: value
        for name, value in message.usage.items()
        if name not in ("cache_creation", "service_tier")
    }
    end = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


def _block_events(index: int, block: Json, pieces: int) -> Iterator[tuple[str, Json]]:
    kind = block["type"]
    empty = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": {**block, "input": {}},
    }[kind]
    yield (
        "content_block_start",
        {"type": "content_block_start", "index": index, "content_block": empty},
    )
    name, field_name = {
        "text": ("text_delta", "text"),
        "thinking": ("thinking_delta", "thinking"),
        "tool_use": ("input_json_delta", "partial_json"),
    }[kind]
    for part in _parts(_plain(block), pieces):
        yield _delta(index, {"type": name, field_name: part})
    if kind == "thinking":
        yield _delta(index, {"type": "signature_delta", "signature": block["signature"]})
    for citation in block.get("citations", ()):
        yield _delta(index, {"type": "citations_delta", "citation": citation})
    yield "content_block_stop", {"type": "content_block_stop", "index": index}


def _delta(index: int, delta: Json) -> tuple[str, Json]:
    return (
        "content_block_delta",
        {"type": "content_block_delta", "index": index, "delta": delta},
    )


def _parts(text: str, pieces: int) -> list[str]:
    """`text` in `pieces` parts; a text that is too short for that is repeated to fill them."""
    if len(text) < pieces:
        return [text] * pieces
    size = -(-len(text) // pieces)
    return [text[start : start + size] for start in range(0, len(text), size)]


def frame(event: str, data: Json) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def model_page(query: Mapping[str, str]) -> Json:
    """`GET /v1/models` with limit and after_id."""
    listed = [model(model_id) for model_id, _ in MODELS]
    ids = [model_id for model_id, _ in MODELS]
    start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
    limit = int(query.get("limit", "20"))
    page = listed[start : start + limit]
    return {
        "data": page,
        "has_more": start + limit < len(listed),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def model(model_id: str) -> Json:
    """One model. Raises ApiError when there is none of that id."""
    for known, name in MODELS:
        if known == model_id:
            return {
                "type": "model",
                "id": known,
                "display_name": name,
                "created_at": "2026-01-01T00:00:00Z",
            }
    raise ApiError(404, "not_found_error", f"model: {model_id}")


def uploaded(body: bytes) -> tuple[str, bytes]:
    """Name and content of the file in a multipart upload (RFC 7578). Raises ApiError."""
    boundary = body.split(b"\r\n", 1)[0]
    for part in body.split(boundary)[1:]:
        head, found, content = part.partition(b"\r\n\r\n")
        if found and (name := re.search(rb'filename="([^"]*)"', head)):
            return name[1].decode("utf-8", "replace"), content.removesuffix(b"\r\n")
    raise ApiError(400, "invalid_request_error", "file: Field required")
