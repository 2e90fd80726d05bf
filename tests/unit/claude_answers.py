"""Messages of Claude's, and the events that they come in."""

import json
from collections.abc import Iterator
from typing import Any

from .responses_corpus import Json

USED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
PATCHED = {"type": "tool_use", "id": "toolu_2", "name": "apply_patch",
           "input": {"input": 'say "hi"\n\U0001f600 \\ end'}}  # fmt: skip
CLOSED = {"type": "tool_use", "id": "toolu_3", "name": "agents__close", "input": {}}
CITED = {"type": "text", "text": "Rust 2.", "citations": [
    {"type": "web_search_result_location", "cited_text": "Rust 2 is out", "title": "Rust",
     "url": "https://rust.test/2", "encrypted_index": "ei"}]}  # fmt: skip
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
          "input": {"query": "rust"}}  # fmt: skip
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
    {"type": "web_search_result", "url": "https://rust.test/2", "title": "Rust",
     "encrypted_content": "ec", "page_age": None}]}  # fmt: skip
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 5,
         "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}  # fmt: skip


def message(*content: Json, stop_reason: str = "end_turn", **more: Any) -> Json:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6-x",
            "content": list(content), "stop_reason": stop_reason, "stop_sequence": None,
            "usage": USAGE, **more}  # fmt: skip


def claude_events(answer: Json, size: int = 3) -> Iterator[tuple[str, Json]]:
    """A message as the API's events, its texts in deltas of `size` characters."""
    started = {**answer, "content": [], "stop_reason": None}
    started["usage"] = {**answer["usage"], "output_tokens": 1}
    yield "message_start", {"message": started}
    yield "ping", {}
    for index, block in enumerate(answer["content"]):
        begun, deltas = _taken_apart(block, size)
        yield "content_block_start", {"index": index, "content_block": begun}
        for delta in deltas:
            yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    ended = {name: answer.get(name) for name in ("stop_reason", "stop_details")}
    yield "message_delta", {"delta": ended, "usage": {"output_tokens": 7}}
    yield "message_stop", {}


def _taken_apart(block: Json, size: int) -> tuple[Json, list[Json]]:
    def pieces(value: str, kind: str, name: str) -> list[Json]:
        cut = [value[at : at + size] for at in range(0, len(value), size)]
        return [{"type": kind, name: piece} for piece in cut]

    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        return {"type": "text", "text": ""}, [*cited, *pieces(block["text"], "text_delta", "text")]
    if kind == "thinking":
        thought = pieces(block["thinking"], "thinking_delta", "thinking")
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*thought, signed]
    if kind in ("tool_use", "server_tool_use"):
        written = json.dumps(block["input"]) if block["input"] else ""
        return {**block, "input": {}}, pieces(written, "input_json_delta", "partial_json")
    return block, []
