"""A message as the stream of events that the API makes of it.

Pure functions: when an event is sent, and what goes wrong with it, is decided elsewhere.
"""

import json
from collections.abc import Iterator

from relay.simulator import answers
from relay.simulator.answers import Json


def frames(message: answers.Answer, chunks: int) -> Iterator[bytes]:
    """The stream of a message, event by event: each block's text in at most `chunks` deltas.

    `message_start` reports at most one token of output and `message_delta` the final figures, as
    the real API does.
    """
    start = message.to_json()
    start |= {"content": [], "stop_reason": None, "stop_sequence": None}
    late: Json = {name: start.pop(name) for name in ("stop_details", "container") if name in start}
    begun = {name: value for name, value in message.usage.items() if name != "iterations"}
    start["usage"] = {**begun, "output_tokens": min(1, message.usage["output_tokens"])}
    yield frame("message_start", {"message": start})
    yield frame("ping", {})
    for index, block in enumerate(message.content):
        yield from _block_frames(index, block, chunks)
    left_out = ("cache_creation", "service_tier", "speed", "inference_geo")
    usage = {name: value for name, value in message.usage.items() if name not in left_out}
    end = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence, **late}
    yield frame("message_delta", {"delta": end, "usage": usage})
    yield frame("message_stop", {})


def _block_frames(index: int, block: Json, chunks: int) -> Iterator[bytes]:
    empty, name, field_name = {
        "text": ({"type": "text", "text": ""}, "text_delta", "text"),
        "thinking": (
            {"type": "thinking", "thinking": "", "signature": ""},
            "thinking_delta",
            "thinking",
        ),
        "tool_use": ({**block, "input": {}}, "input_json_delta", "partial_json"),
    }[block["type"]]
    deltas = [{"type": name, field_name: part} for part in _parts(answers.plain(block), chunks)]
    if "signature" in block:
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    cited = block.get("citations", ())
    deltas += [{"type": "citations_delta", "citation": citation} for citation in cited]
    yield frame("content_block_start", {"index": index, "content_block": empty})
    for delta in deltas:
        yield frame("content_block_delta", {"index": index, "delta": delta})
    yield frame("content_block_stop", {"index": index})


def _parts(text: str, count: int) -> list[str]:
    """`text` in `count` parts of nearly one length, none of them empty."""
    count = min(count, len(text))
    return [
        text[place * len(text) // count : (place + 1) * len(text) // count]
        for place in range(count)
    ]


def frame(event: str, fields: Json) -> bytes:
    """One event; its type stands in its data, too."""
    return f"event: {event}\ndata: {json.dumps({'type': event, **fields})}\n\n".encode()
