"""What the simulated API answers to messages: pure functions from a request to a message.

The rules are simple, so that figures can be checked by hand. A token is four characters begun: for
input those of `system`, `messages` and `tools` as compact JSON, for output those of each block.
A stream and a plain answer to the same request say the same.
"""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from relay.simulator.cache import NOT_CACHED, Cached

CHARS_PER_TOKEN = 4
MAX_BODY_BYTES = 32 * 1000 * 1000
MAX_BATCH_BYTES = 256 * 1000 * 1000
_INPUT_FIELDS = ("system", "messages", "tools")
_TEXT_OF = {"text": "text", "thinking": "thinking"}

Json = dict[str, Any]


class ApiError(Exception):
    """An error as the real API would answer it."""

    def __init__(self, status: int, kind: str, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.kind = kind
        self.message = message


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message)


def not_found(message: str) -> ApiError:
    return ApiError(404, "not_found_error", message)


def error_body(kind: str, message: str, request_id: str, details: Json | None = None) -> Json:
    error: Json = {"type": kind, "message": message}
    if details is not None:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": request_id}


@dataclass(frozen=True, slots=True)
class Steering:
    """What a client or a test wants the answer to be.

    Attributes:
        text: said instead of the echo.
        usage: figures that are reported instead of the rule's.
        chunks: deltas of a stream's text. A text with fewer characters is said so many times;
            max_tokens does not cut that.
        delay_s: before each event.
        citations: how many of them the text carries.
        refusal: the model refuses, for this category.
        is_open_batch: a batch stays in progress until it is cancelled or the test ends it.
    """

    text: str | None = None
    usage: Json = field(default_factory=dict)
    chunks: int = 4
    delay_s: float = 0.0
    citations: int = 0
    refusal: str | None = None
    is_open_batch: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One message: its content blocks, how it stops, and its exact usage."""

    id: str
    model: str
    content: list[Json]
    stop_reason: str
    stop_sequence: str | None
    usage: Json
    stop_details: Json | None = None
    container: Json | None = None

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
            **({"stop_details": self.stop_details} if self.stop_details else {}),
            **({"container": self.container} if self.container else {}),
        }


def now(ahead: timedelta = timedelta()) -> str:
    """The time in UTC as the API writes it (RFC 3339)."""
    return (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")


def tokens_of(text: str) -> int:
    """How many tokens a text is, by the simulator's rule."""
    return -(-len(text) // CHARS_PER_TOKEN)


def input_tokens_of(fields: Json) -> int:
    """How many tokens of input a request is, by the simulator's rule."""
    counted = {name: fields[name] for name in _INPUT_FIELDS if name in fields}
    return tokens_of(json.dumps(counted, separators=(",", ":"), ensure_ascii=False))


def parse(body: bytes, most_bytes: int = MAX_BODY_BYTES) -> Json:
    """The fields of a JSON body. Raises ApiError."""
    if len(body) > most_bytes:
        raise ApiError(413, "request_too_large", "Request exceeds the maximum size")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise invalid("The body is not a JSON object.")
    return fields


def check(fields: Json, *required: str) -> None:
    """Raises ApiError where the real API would refuse a message of these fields."""
    for name in required:
        if name not in fields:
            raise invalid(f"{name}: Field required")
    most = fields.get("max_tokens", 1)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise invalid("max_tokens: Input should be an integer of at least 1")
    messages = fields["messages"]
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    if not all(isinstance(one, dict) and {"role", "content"} <= one.keys() for one in messages):
        raise invalid("messages: each needs a role and content")
    if "claude" not in str(fields["model"]):
        raise not_found(f"model: {fields['model']}")


def answer(fields: Json, number: int, steering: Steering, cached: Cached = NOT_CACHED) -> Answer:
    """The message that answers a request which `check` let pass; `number` makes ids unique."""
    content, stop_reason, stop_sequence = _content(fields, number, steering)
    written = cached.written_5m + cached.written_1h
    usage = {
        "input_tokens": max(0, input_tokens_of(fields) - cached.read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": cached.written_5m,
            "ephemeral_1h_input_tokens": cached.written_1h,
        },
        "output_tokens": sum(tokens_of(plain(block)) for block in content),
        "service_tier": "standard",
        **steering.usage,
    }
    name, message_id = str(fields["model"]), f"msg_sim{number:08d}"
    if steering.refusal:
        token = f"credit_sim{number:08d}"
        details = {
            "type": "refusal",
            "category": steering.refusal,
            "fallback_credit_token": token,
        }
        return Answer(message_id, name, content, "refusal", None, usage, details)
    return Answer(message_id, name, content, stop_reason, stop_sequence, usage)


def _content(fields: Json, number: int, steering: Steering) -> tuple[list[Json], str, str | None]:
    """The blocks, the stop reason, and the stop sequence that was met."""
    asked, has_result = _last_said(fields["messages"])
    said = f"Simulated answer to: {asked}" if steering.text is None else steering.text
    form = _object(_object(fields.get("output_config")).get("format"))
    if form.get("type") == "json_schema" and steering.text is None:
        said = json.dumps(_filled(_object(form.get("schema")), asked))
    text, met = _stopped(said, fields.get("stop_sequences"))
    blocks: list[Json] = []
    if _object(fields.get("thinking")).get("type") in ("enabled", "adaptive"):
        # Each answer's own, as the API's are.
        signature = base64.b64encode(f"simulated signature {number:08d}".encode()).decode()
        blocks.append({"type": "thinking", "thinking": "Let me see.", "signature": signature})
    blocks.append({"type": "text", "text": text})
    use = None if met else _tool_use(fields, asked, number, may_ask=not has_result)
    blocks += [use] if use else []
    fitting = _fitting(blocks, fields["max_tokens"])
    is_cut = fitting != blocks
    content = [_steered(block, steering) for block in fitting]
    if is_cut:
        return content, "max_tokens", None
    return content, "stop_sequence" if met else "tool_use" if use else "end_turn", met


def _last_said(messages: list[Json]) -> tuple[str, bool]:
    """The text that the user said last, and whether a tool's result came with it."""
    content = next((one["content"] for one in reversed(messages) if one["role"] == "user"), "")
    if isinstance(content, str):
        return content, False
    blocks = [block for block in _list(content) if isinstance(block, dict)]
    texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
    results = [block.get("content") for block in blocks if block.get("type") == "tool_result"]
    said = texts or [one if isinstance(one, str) else json.dumps(one) for one in results]
    return said[-1] if said else "", bool(results)


def _stopped(text: str, sequences: object) -> tuple[str, str | None]:
    """The text up to the first stop sequence in it, and that sequence."""
    met = [one for one in _list(sequences) if isinstance(one, str) and one and one in text]
    if not met:
        return text, None
    first = min(met, key=text.index)
    return text[: text.index(first)], first


def _fitting(blocks: list[Json], left: int) -> list[Json]:
    """As much of the blocks as `left` tokens hold; half a tool call is none."""
    kept = []
    for block in blocks:
        text = plain(block)
        if tokens_of(text) <= left:
            kept.append(block)
            left -= tokens_of(text)
            continue
        if left and (name := _TEXT_OF.get(block["type"])):
            kept.append({**block, name: text[: left * CHARS_PER_TOKEN]})
        break
    return kept


def _steered(block: Json, steering: Steering) -> Json:
    """A text block said often enough for its chunks, with its citations; others as they are."""
    if block["type"] != "text":
        return block
    text = block["text"]
    if len(text) < steering.chunks:
        text *= steering.chunks
    if not steering.citations:
        return {"type": "text", "text": text}
    citation = {
        "type": "char_location",
        "cited_text": text[:20],
        "document_index": 0,
        "document_title": "Simulated",
        "start_char_index": 0,
        "end_char_index": len(text[:20]),
    }
    return {"type": "text", "text": text, "citations": [citation] * steering.citations}


def _tool_use(fields: Json, asked: str, number: int, *, may_ask: bool) -> Json | None:
    listed = [tool for tool in _list(fields.get("tools")) if isinstance(tool, dict)]
    choice = _object(fields.get("tool_choice"))
    is_forced = choice.get("type") in ("any", "tool")
    is_asked = may_ask and choice.get("type") != "none" and "use tool" in asked.lower()
    if not listed or not (is_forced or is_asked):
        return None
    tool = next((one for one in listed if one.get("name") == choice.get("name")), listed[0])
    given = _filled(_object(tool.get("input_schema")), asked)
    return {"type": "tool_use", "id": f"toolu_sim{number:08d}", "name": tool.get("name"),
            "input": given or {"text": asked}}  # fmt: skip


def _filled(schema: Json, asked: str) -> Json:
    """An object with what a plain JSON schema requires."""
    properties = _object(schema.get("properties"))
    required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    return {name: _sample(_object(properties.get(name)), asked) for name in required}


def _sample(schema: Json, asked: str) -> Any:
    """A value that a plain JSON schema allows."""
    if allowed := _list(schema.get("enum")):
        return allowed[0]
    samples = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    return samples.get(str(schema.get("type")), asked)


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def plain(block: Json) -> str:
    """What a block says, as its deltas add up to it."""
    if block["type"] == "tool_use":
        return json.dumps(block["input"])
    return str(block[_TEXT_OF[block["type"]]])
