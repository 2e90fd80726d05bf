"""One of Claude's blocks at a time as the item that it becomes, with the events that tell of it.

An item is opened by its block's start, fed by its deltas, ended when the block ends, and closed
when the next thing begins: only then is it known whether the answer was cut off in it.
"""

from typing import Protocol

import msgspec

from relay.dialects.openai.fields import Json
from relay.dialects.openai.tools import Tool
from relay.dialects.responses import answer
from relay.dialects.responses.custom import InputReader

_encode = msgspec.json.encode


class Writer:
    """Numbers events and writes them; a mute one only counts."""

    def __init__(self, *, is_mute: bool = False) -> None:
        self._out: list[bytes] = []
        self._number = 0
        self._is_mute = is_mute

    def emit(self, kind: str, fields: Json) -> None:
        """One event."""
        if not self._is_mute:
            data = _encode({"type": kind, "sequence_number": self._number, **fields})
            self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        self._number += 1

    def head(self, kind: str, fields: Json) -> bytes:
        """What all deltas of one block begin with."""
        data = _encode({"type": kind, **fields})[:-1]
        return b'event: %b\ndata: %b,"sequence_number":' % (kind.encode(), data)

    def delta(self, head: bytes, text: str) -> None:
        """One delta; most events are these, so little is done for each."""
        if not self._is_mute:
            self._out.append(b'%b%d,"delta":%b}\n\n' % (head, self._number, _encode(text)))
        self._number += 1

    def take(self) -> bytes:
        """The events since the last time."""
        out, self._out = b"".join(self._out), []
        return out


class Item(Protocol):
    """An item of the output that is still coming."""

    def end(self) -> None:
        """The block has ended."""

    def close(self, status: str) -> Json:
        """The item as it stands in the Response, with status "completed" or "incomplete"."""


class MessageItem:
    """Texts that follow each other: one message, a part for each block."""

    def __init__(self, writer: Writer, item_id: str, index: int) -> None:
        self._writer = writer
        self._id = item_id
        self._at: Json = {"item_id": item_id, "output_index": index}
        self._index = index
        self._content: list[Json] = []
        self._texts: list[str] = []
        self._citations: list[Json] = []
        self._head = b""
        self._is_open = False
        item = answer.message(item_id, [], "in_progress")
        writer.emit("response.output_item.added", {"output_index": index, "item": item})

    def begin(self) -> None:
        """A text begins."""
        where = {**self._at, "content_index": len(self._content)}
        part = answer.text_part("", [])
        self._writer.emit("response.content_part.added", {**where, "part": part})
        self._head = self._writer.head("response.output_text.delta", {**where, "logprobs": []})
        self._texts, self._citations, self._is_open = [], [], True

    def text(self, text: str) -> None:
        if text and self._is_open:
            self._texts.append(text)
            self._writer.delta(self._head, text)

    def cite(self, citation: Json) -> None:
        self._citations.append(citation)

    def end(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        where = {**self._at, "content_index": len(self._content)}
        part = answer.text_part("".join(self._texts), self._citations)
        for number, one in enumerate(part["annotations"]):
            fields = {**where, "annotation_index": number, "annotation": one}
            self._writer.emit("response.output_text.annotation.added", fields)
        done = {**where, "text": part["text"], "logprobs": []}
        self._writer.emit("response.output_text.done", done)
        self._writer.emit("response.content_part.done", {**where, "part": part})
        self._content.append(part)

    def refuse(self, part: Json) -> None:
        """A part that says that Claude declined, whole at once."""
        where = {**self._at, "content_index": len(self._content)}
        empty = {**part, "refusal": ""}
        self._writer.emit("response.content_part.added", {**where, "part": empty})
        self._writer.emit("response.refusal.delta", {**where, "delta": part["refusal"]})
        self._writer.emit("response.refusal.done", {**where, "refusal": part["refusal"]})
        self._writer.emit("response.content_part.done", {**where, "part": part})
        self._content.append(part)

    def close(self, status: str) -> Json:
        self.end()
        item = answer.message(self._id, self._content, status)
        _done(self._writer, self._index, item)
        return item


class ReasoningItem:
    """One block of thinking; what is shown of it is its summary."""

    def __init__(
        self, writer: Writer, item_id: str, index: int, block: Json, *, shown: bool
    ) -> None:
        self._writer = writer
        self._id = item_id
        self._index = index
        self._block = block
        self._shown = shown
        self._where: Json = {"item_id": item_id, "output_index": index, "summary_index": 0}
        self._texts: list[str] = []
        self._signature = ""
        self._head = b""
        item = answer.reasoning(item_id, None, shown=shown)
        writer.emit("response.output_item.added", {"output_index": index, "item": item})
        self.text(str(block.get("thinking") or ""))
        self.sign(str(block.get("signature") or ""))

    def text(self, text: str) -> None:
        if not text:
            return
        if self._shown:
            if not self._head:
                part = {"type": "summary_text", "text": ""}
                fields = {**self._where, "part": part}
                self._writer.emit("response.reasoning_summary_part.added", fields)
                kind = "response.reasoning_summary_text.delta"
                self._head = self._writer.head(kind, self._where)
            self._writer.delta(self._head, text)
        self._texts.append(text)

    def sign(self, signature: str) -> None:
        self._signature += signature

    def end(self) -> None:
        if not self._head:
            return
        text = "".join(self._texts)
        fields = {**self._where, "text": text}
        self._writer.emit("response.reasoning_summary_text.done", fields)
        part = {"type": "summary_text", "text": text}
        self._writer.emit("response.reasoning_summary_part.done", {**self._where, "part": part})

    def close(self, status: str) -> Json:
        block = self._block
        if block["type"] == "thinking":
            text = "".join(self._texts)
            block = {"type": "thinking", "thinking": text, "signature": self._signature}
        item = answer.reasoning(self._id, block, shown=self._shown)
        _done(self._writer, self._index, item)
        return item


class CallItem:
    """A call of one of the client's tools."""

    def __init__(self, writer: Writer, item_id: str, index: int, call_id: str, tool: Tool) -> None:
        self._writer = writer
        self._id = item_id
        self._index = index
        self._call_id = call_id
        self._tool = tool
        self._reader = InputReader() if tool.kind == "custom" else None
        kind, self._field = (
            ("custom_tool_call_input", "input")
            if tool.kind == "custom"
            else ("function_call_arguments", "arguments")
        )
        self._where: Json = {"item_id": item_id, "output_index": index}
        self._done_event = f"response.{kind}.done"
        self._head = writer.head(f"response.{kind}.delta", self._where)
        self._texts: list[str] = []
        item = answer.call(item_id, call_id, tool, "", "in_progress")
        writer.emit("response.output_item.added", {"output_index": index, "item": item})

    def json(self, text: str) -> None:
        """More of the arguments' JSON."""
        if self._reader is not None:
            text = self._reader.feed(text)
        if text:
            self._texts.append(text)
            self._writer.delta(self._head, text)

    def end(self) -> None:
        if not self._texts and self._reader is None:
            # Claude leaves out the arguments of a tool that takes none.
            self.json("{}")
        text = "".join(self._texts)
        self._writer.emit(self._done_event, {**self._where, self._field: text})

    def close(self, status: str) -> Json:
        text = "".join(self._texts)
        item = answer.call(self._id, self._call_id, self._tool, text, status)
        _done(self._writer, self._index, item)
        return item


class SearchItem:
    """A search of the web that Claude makes by itself."""

    def __init__(self, writer: Writer, item_id: str, index: int, *, names_sources: bool) -> None:
        self._writer = writer
        self._id = item_id
        self._index = index
        self._where: Json = {"item_id": item_id, "output_index": index}
        self._json: list[str] = []
        self._status = ""
        self._sources: list[Json] | None = [] if names_sources else None
        item = answer.search(item_id, "", "in_progress", None)
        writer.emit("response.output_item.added", {"output_index": index, "item": item})
        writer.emit("response.web_search_call.in_progress", self._where)
        writer.emit("response.web_search_call.searching", self._where)

    def json(self, text: str) -> None:
        self._json.append(text)

    def found(self, result: Json) -> None:
        """The search's result has come."""
        self._status, sources = answer.sources_of(result)
        if self._sources is not None:
            self._sources = sources
        self._writer.emit("response.web_search_call.completed", self._where)

    def end(self) -> None:
        """The search goes on until its result is there."""

    def close(self, status: str) -> Json:
        try:
            asked = msgspec.json.decode("".join(self._json), type=Json)
        except (msgspec.DecodeError, RecursionError):
            asked = {}
        query = str(asked.get("query") or "")
        item = answer.search(self._id, query, self._status or status, self._sources)
        _done(self._writer, self._index, item)
        return item


def _done(writer: Writer, index: int, item: Json) -> None:
    writer.emit("response.output_item.done", {"output_index": index, "item": item})
