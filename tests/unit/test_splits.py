"""However the upstream's bytes are cut on their way, both of OpenAI's dialects say the same."""

import itertools
import json
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import sse
from relay.dialects.chat import request as chat_request
from relay.dialects.chat import stream as chat_stream
from relay.dialects.openai.answered import Frame
from relay.dialects.responses import request as responses_request
from relay.dialects.responses import stream as responses_stream
from relay.dialects.responses.answer import Frame as ResponsesFrame

MODEL = "claude-opus-4-6"
STARTED = {"id": "msg_1", "model": MODEL, "usage": {"input_tokens": 3, "output_tokens": 1}}
USED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("message_start", {"message": STARTED}),
    ("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm é"}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "s"}}),
    ("content_block_stop", {"index": 0}),
    ("ping", {}),
    ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Sonne ☀ und"}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": " Regen\n\n"}}),
    ("content_block_stop", {"index": 1}),
    ("content_block_start", {"index": 2, "content_block": USED}),
    ("content_block_delta",
     {"index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city": "Zü'}}),
    ("content_block_delta",
     {"index": 2, "delta": {"type": "input_json_delta", "partial_json": 'rich"}'}}),
    ("content_block_stop", {"index": 2}),
    ("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
    ("message_stop", {}),
]  # fmt: skip
BYTES = b"".join(
    f"event: {name}\ndata: {json.dumps({'type': name, **fields}, ensure_ascii=False)}\n\n".encode()
    for name, fields in EVENTS
)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": PARAMETERS}


class Retold(Protocol):
    """What makes a dialect's events of Claude's."""

    def event(self, name: bytes, data: bytes) -> bytes: ...


def of_chat() -> Retold:
    function = {name: TOOL[name] for name in ("name", "parameters")}
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True,
             "tools": [{"type": "function", "function": function}]}  # fmt: skip
    return chat_stream.Stream(Frame("req_1", chat_request.translate(asked), now=lambda: 1))


def of_responses() -> Retold:
    asked = {"model": MODEL, "input": "hi", "stream": True, "tools": [TOOL]}
    return responses_stream.Stream(
        ResponsesFrame("req_1", responses_request.translate(asked), now=lambda: 1)
    )


def retold(stream: Retold, pieces: list[bytes]) -> bytes:
    framer = sse.Framer()
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    return b"".join(stream.event(frame.event, frame.data) for frame in frames)


@pytest.mark.parametrize("make", [of_chat, of_responses])
@given(cuts=st.sets(st.integers(1, len(BYTES) - 1), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_split_of_the_bytes_gives_the_same_events(make: Callable[[], Retold], cuts: set[int]):
    places = [0, *sorted(cuts), len(BYTES)]
    pieces = [BYTES[start:end] for start, end in itertools.pairwise(places)]
    whole = retold(make(), [BYTES])

    assert "Zü" in whole.decode()
    assert retold(make(), pieces) == whole
