"""What goes over the wire: one request, one answer, and the events of a stream.

Every upstream and every stand-in sends exactly these, so that contenders differ in nothing but
themselves. A stream's chunk carries the time of its sending on the clock that all processes of
this machine share.
"""

import json
import re
import time

MODEL = "claude-opus-5"
CHUNK_EVERY_S = 0.02
# Where a chunk keeps the time of its sending, in nanoseconds of time.monotonic_ns.
STAMP = re.compile(rb"sent at (\d+);")
LAST_EVENT = b"event: message_stop\n"
LAST_OF_CHAT = b"data: [DONE]"
LAST_OF_RESPONSES = b"event: response.completed\n"
# Its later events say the whole text again.
STAMP_OF_RESPONSES = re.compile(rb'"delta":"sent at (\d+);')
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON_HEADERS = [(b"content-type", b"application/json")]

_SENTENCE = "The quick brown fox jumps over the lazy dog while the relay counts its tokens. "
_FILLER = "and so on, a few words more in each chunk, as a model would write them"


def request(*, chunks: int | None = None) -> bytes:
    """A Messages request of about 1.9 KB. With `chunks`, it asks for a stream of that many."""
    body: dict[str, object] = {
        "model": MODEL,
        "max_tokens": chunks or 1024,
        "system": "You are a careful assistant who answers in short plain sentences.",
        "messages": [{"role": "user", "content": _SENTENCE * 22}],
    }
    if chunks is not None:
        body["stream"] = True
    return json.dumps(body, separators=(",", ":")).encode()


def chat_request(*, chunks: int | None = None) -> bytes:
    """The same request in OpenAI's words."""
    asked = json.loads(request(chunks=chunks))
    system = {"role": "system", "content": asked.pop("system")}
    asked["messages"].insert(0, system)
    return json.dumps(asked, separators=(",", ":")).encode()


def responses_request(*, chunks: int | None = None) -> bytes:
    """The same request in the words of OpenAI's newer API."""
    asked = json.loads(request(chunks=chunks))
    asked["instructions"] = asked.pop("system")
    asked["input"] = asked.pop("messages")
    asked["max_output_tokens"] = asked.pop("max_tokens")
    return json.dumps(asked, separators=(",", ":")).encode()


def answer_text() -> str:
    """What the answer says."""
    return (_SENTENCE * 11).strip()


def chunks_wanted(body: bytes) -> int:
    """How many chunks a streaming request asks for: its max_tokens."""
    return int(json.loads(body)["max_tokens"])


def answer() -> bytes:
    """A Messages answer of about 1.1 KB."""
    message = {
        **_message(),
        "content": [{"type": "text", "text": answer_text()}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 412, "output_tokens": 180},
    }
    return json.dumps(message, separators=(",", ":")).encode()


def opening() -> bytes:
    """The events before a stream's first chunk."""
    start = {"type": "message_start", "message": _message()}
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    return _event(start) + _event(block)


def chunk() -> bytes:
    """One chunk, stamped with the time of this call."""
    text = f"sent at {time.monotonic_ns()}; {_FILLER}"
    delta = {"type": "text_delta", "text": text}
    return _event({"type": "content_block_delta", "index": 0, "delta": delta})


def closing(chunks: int) -> bytes:
    """The events after a stream's last chunk."""
    return (
        _event({"type": "content_block_stop", "index": 0})
        + _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": chunks},
            }
        )
        + _event({"type": "message_stop"})
    )


def _message() -> dict[str, object]:
    return {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 412, "output_tokens": 1},
    }


def _event(data: dict[str, object]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
