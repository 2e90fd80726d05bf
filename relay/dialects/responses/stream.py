"""Claude's answer, whole or in events, as the Responses API tells it.

One event in, at most a few out; what has come is kept only because the last events repeat it.
"""

from typing import Any

import msgspec

from relay.dialects.openai import failures
from relay.dialects.openai.answered import as_object, as_objects
from relay.dialects.openai.fields import Json
from relay.dialects.openai.tools import SEARCH
from relay.dialects.responses import answer
from relay.dialects.responses.answer import Frame
from relay.dialects.responses.blocks import (
    CallItem,
    Item,
    MessageItem,
    ReasoningItem,
    SearchItem,
    Writer,
)

# What the API's errors are called in a Response, where clients do not recover by another code;
# every other one is the server's, also a busy one's: clients ask it again.
_CODES = {"invalid_request_error": "invalid_prompt"}
_RECOVERED_BY = frozenset({failures.TOO_LONG, "rate_limit_exceeded", "insufficient_quota"})


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Json | None = None


class _BlockDelta(msgspec.Struct):
    delta: _Delta


_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


class Stream:
    """Turns the events of one answer into those of the Responses API."""

    def __init__(self, frame: Frame, *, is_mute: bool = False) -> None:
        self._frame = frame
        self._writer = Writer(is_mute=is_mute)
        self._output: list[Json] = []
        self._open: Item | None = None
        self._record = _Record() if frame.asked.box.searches else None
        self._stop_reason = ""
        self._stop_details: Json | None = None
        self._has_begun = False
        self._has_ended = False
        self.response: Json = {}

    def event(self, name: bytes, data: bytes) -> bytes:
        """What an upstream's event becomes; nothing for one that cannot be read."""
        if self._has_ended:
            return b""
        try:
            if name == b"content_block_delta":
                self._delta(_decode_delta(data).delta)
            elif name in _READERS:
                _READERS[name](self, _decode(data))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return b""
        return self._writer.take()

    def broken(self, kind: str, message: str) -> bytes:
        """The events by which an answer that broke off says so.

        Args:
            kind: the error's type in Claude's words.
        """
        self._fail(kind, message)
        return self._writer.take()

    def refused(self, failure: failures.Failure) -> bytes:
        """All events of an answer that the upstream refused to begin."""
        self.start({})
        self._fail(failure.type, failure.message)
        return self._writer.take()

    def start(self, fields: Json) -> None:
        self._frame.begin(as_object(fields.get("message")))
        self._has_begun = True
        response = self._frame.response("in_progress", [])
        self._writer.emit("response.created", {"response": response})
        self._writer.emit("response.in_progress", {"response": response})

    def open(self, fields: Json) -> None:
        block = as_object(fields.get("content_block"))
        if not self._has_begun or not isinstance(block.get("type"), str):
            return
        if self._record:
            self._record.open(block)
        kind = block["type"]
        if kind == "text":
            self._open_text(block)
        elif kind == "web_search_tool_result" and isinstance(self._open, SearchItem):
            self._open.found(block)
        else:
            self._close()
            self._open = self._opened(kind, block)

    def _open_text(self, block: Json) -> None:
        if not isinstance(self._open, MessageItem):
            self._close()
            self._open = MessageItem(self._writer, *self._place("msg"))
        self._open.end()
        self._open.begin()
        self._open.text(str(block.get("text") or ""))
        for citation in as_objects(block.get("citations")):
            self._open.cite(citation)

    def _opened(self, kind: str, block: Json) -> Item | None:
        asked = self._frame.asked
        if kind in ("thinking", "redacted_thinking"):
            place = self._place("rs")
            return ReasoningItem(self._writer, *place, block, shown=asked.shows_thinking)
        if kind == "tool_use":
            tool = asked.box.tool(str(block.get("name")))
            place = self._place("ctc" if tool.kind == "custom" else "fc")
            call = CallItem(self._writer, *place, str(block.get("id")), tool)
            _give_input(call, block)
            return call
        if kind == "server_tool_use" and block.get("name") == SEARCH:
            place = self._place("ws")
            search = SearchItem(self._writer, *place, names_sources=asked.names_sources)
            _give_input(search, block)
            return search
        return None

    def _place(self, kind: str) -> tuple[str, int]:
        return self._frame.item_id(kind, len(self._output)), len(self._output)

    def _delta(self, delta: _Delta) -> None:
        item = self._open
        if self._record:
            self._record.delta(delta)
        if isinstance(item, MessageItem):
            if delta.text:
                item.text(delta.text)
            if delta.citation:
                item.cite(delta.citation)
        elif isinstance(item, CallItem | SearchItem):
            item.json(delta.partial_json or "")
        elif isinstance(item, ReasoningItem):
            item.text(delta.thinking or "")
            item.sign(delta.signature or "")

    def stop(self, fields: Json) -> None:
        if self._record:
            self._record.stop()
        if self._open is not None:
            self._open.end()

    def ending(self, fields: Json) -> None:
        delta = as_object(fields.get("delta"))
        self._stop_reason = str(delta.get("stop_reason") or self._stop_reason)
        self._stop_details = as_object(delta.get("stop_details")) or self._stop_details
        self._frame.add_usage(fields.get("usage"))

    def finish(self, fields: Json) -> None:
        if not self._has_begun:
            return
        cut = self._stop_reason in ("max_tokens", "model_context_window_exceeded")
        self._close("incomplete" if cut else "completed")
        if self._stop_reason == "refusal":
            refused = MessageItem(self._writer, *self._place("msg"))
            refused.refuse(answer.refusal_part(self._stop_details))
            self._output.append(refused.close("completed"))
        if self._record and self._record.is_needed:
            self._add_record(self._record.blocks)
        self._has_ended = True
        self.response = self._frame.ended(self._output, self._stop_reason)
        self._writer.emit(f"response.{self.response['status']}", {"response": self.response})

    def _add_record(self, blocks: list[Json]) -> None:
        item_id, index = self._place("rs")
        empty = answer.reasoning(item_id, None, shown=False)
        whole = answer.whole_turn(item_id, blocks)
        self._writer.emit("response.output_item.added", {"output_index": index, "item": empty})
        self._writer.emit("response.output_item.done", {"output_index": index, "item": whole})
        self._output.append(whole)

    def fail(self, fields: Json) -> None:
        error = as_object(fields.get("error"))
        self._fail(str(error.get("type") or ""), str(error.get("message") or ""))

    def _fail(self, kind: str, message: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        failure = failures.of(kind or "api_error", message)
        message = failure.message_in_stream
        code = failure.code if failure.code in _RECOVERED_BY else None
        code = code or _CODES.get(kind, "server_error")
        if self._has_begun:
            error = {"code": code, "message": message}
            self.response = self._frame.response("failed", self._output, error=error)
            self._writer.emit("response.failed", {"response": self.response})
        # The SDKs raise at the object `error`; the flat fields are the API's own form.
        flat: Json = {"code": code, "message": message, "param": None}
        self._writer.emit("error", {**flat, "error": {"type": kind or "api_error", **flat}})

    def _close(self, status: str = "completed") -> None:
        if self._open is not None:
            item, self._open = self._open, None
            self._output.append(item.close(status))


_READERS = {
    b"message_start": Stream.start,
    b"content_block_start": Stream.open,
    b"content_block_stop": Stream.stop,
    b"message_delta": Stream.ending,
    b"message_stop": Stream.finish,
    b"error": Stream.fail,
}


def whole(frame: Frame, message: Json) -> Json:
    """The Response object of an answer that came whole."""
    stream = Stream(frame, is_mute=True)
    stream.start({"message": message})
    for block in as_objects(message.get("content")):
        stream.open({"content_block": block})
        stream.stop({})
    stream.ending({"delta": message})
    stream.finish({})
    return stream.response


class _Record:
    """An answer's blocks as they came, for the turn's own record."""

    def __init__(self) -> None:
        self.blocks: list[Json] = []
        self.is_needed = False
        self._parts: dict[str, list[str]] = {}

    def open(self, block: Json) -> None:
        self.blocks.append(dict(block))
        self._parts = {}
        is_told = block["type"] in ("text", "thinking", "redacted_thinking", "tool_use")
        if not is_told or block.get("citations"):
            self.is_needed = True

    def delta(self, delta: _Delta) -> None:
        if not self.blocks:
            return
        for name in ("text", "thinking", "signature", "partial_json"):
            if more := getattr(delta, name):
                self._parts.setdefault(name, []).append(more)
        if delta.citation:
            block = self.blocks[-1]
            block["citations"] = [*as_objects(block.get("citations")), delta.citation]
            self.is_needed = True

    def stop(self) -> None:
        parts, self._parts = self._parts, {}
        for name, texts in parts.items():
            block, text = self.blocks[-1], "".join(texts)
            if name != "partial_json":
                block[name] = str(block.get(name) or "") + text
                continue
            try:
                block["input"] = msgspec.json.decode(text)
            except msgspec.DecodeError:
                block["input"] = {}


def _give_input(item: CallItem | SearchItem, block: Json) -> None:
    """The arguments where a block has them at its start, as in an answer that came whole."""
    if block.get("input"):
        item.json(_encode(block["input"]).decode())
