"""The events of Claude's answer as the chunks of a chat completion: one in, at most a few out."""

from typing import Any

import msgspec

from relay.dialects.chat import answer
from relay.dialects.openai import failures
from relay.dialects.openai.answered import Frame, as_object, refused
from relay.dialects.openai.fields import Json


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _BlockDelta(msgspec.Struct):
    delta: _Delta


_decode_delta = msgspec.json.Decoder(_BlockDelta).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


class Stream:
    """Turns the events of one answer into chunks."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._asked: Json = frame.asked.echo
        self._out: list[bytes] = []
        self._front = self._back = b""
        self._calls = 0
        self._is_call = self._has_arguments = False
        self._stop_reason = ""
        self._stop_details: Any = None
        self._has_begun = self._has_ended = False

    def event(self, name: bytes, data: bytes) -> bytes:
        """What an upstream's event becomes; nothing for one that cannot be read."""
        if self._has_ended:
            return b""
        try:
            if name == b"content_block_delta":
                self._more(_decode_delta(data).delta)
            elif name in _READERS:
                _READERS[name](self, _decode(data))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return b""
        out, self._out = b"".join(self._out), []
        return out

    def broken(self, kind: str, message: str) -> bytes:
        """The event by which an answer that broke off says so; no [DONE] follows.

        Args:
            kind: the error's type in Claude's words.
        """
        if self._has_ended:
            return b""
        self._has_ended = True
        told = failures.encoded(failures.of(kind or "api_error", message), streams=True)
        return b"data: " + told + b"\n\n"

    def start(self, fields: Json) -> None:
        self._frame.begin(as_object(fields.get("message")))
        head = _encode(answer.head(self._frame, "chat.completion.chunk"))
        self._front = b"data: " + head[:-1] + b',"choices":['
        # The last chunk brings the usage where it was asked for, and all others have none.
        usage = b',"usage":null' if self._asked["include_usage"] else b""
        self._back = b"]" + usage + b"}\n\n"
        self._has_begun = True
        self._delta(b'{"role":"assistant","content":"","refusal":null}')

    def open(self, fields: Json) -> None:
        block = as_object(fields.get("content_block"))
        self._is_call = self._has_begun and block.get("type") == "tool_use"
        self._has_arguments = False
        if self._is_call:
            name = self._frame.asked.box.tool(str(block.get("name"))).name
            function = {"name": name, "arguments": ""}
            if self._asked["is_old"]:
                self._delta(_encode({"function_call": function}))
            else:
                call = {"index": self._calls, "id": str(block.get("id")), "type": "function"}
                self._delta(_encode({"tool_calls": [{**call, "function": function}]}))
            if block.get("input"):
                self._arguments(_encode(block["input"]).decode())
        elif self._has_begun and block.get("text"):
            self._more(_Delta(text=str(block["text"])))

    def stop(self, fields: Json) -> None:
        if self._is_call:
            if not self._has_arguments:
                # Claude leaves out the arguments of a tool that takes none.
                self._arguments("{}")
            self._is_call = False
            self._calls += 1

    def ending(self, fields: Json) -> None:
        delta = as_object(fields.get("delta"))
        self._stop_reason = str(delta.get("stop_reason") or self._stop_reason)
        self._stop_details = delta.get("stop_details") or self._stop_details
        self._frame.add_usage(fields.get("usage"))

    def finish(self, fields: Json) -> None:
        if not self._has_begun:
            return
        if self._stop_reason == "refusal":
            self._delta(_encode({"refusal": refused(self._stop_details)}))
        self._delta(b"{}", _encode(answer.finish_reason(self._frame, self._stop_reason)))
        if self._asked["include_usage"]:
            usage = _encode(answer.usage(self._frame.usage))
            self._out.append(self._front + b'],"usage":' + usage + b"}\n\n")
        self._out.append(b"data: [DONE]\n\n")
        self._has_ended = True

    def fail(self, fields: Json) -> None:
        error = as_object(fields.get("error"))
        told = self.broken(str(error.get("type") or ""), str(error.get("message") or ""))
        self._out.append(told)

    def _more(self, delta: _Delta) -> None:
        if not self._has_begun:
            return
        if delta.text:
            self._delta(b'{"content":' + _encode(delta.text) + b"}")
        elif delta.thinking:
            self._delta(b'{"reasoning_content":' + _encode(delta.thinking) + b"}")
        elif delta.partial_json and self._is_call:
            self._arguments(delta.partial_json)

    def _arguments(self, text: str) -> None:
        self._has_arguments = True
        told = b'{"arguments":' + _encode(text) + b"}"
        if self._asked["is_old"]:
            self._delta(b'{"function_call":' + told + b"}")
        else:
            self._delta(b'{"tool_calls":[{"index":%d,"function":%b}]}' % (self._calls, told))

    def _delta(self, delta: bytes, reason: bytes = b"null") -> None:
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (delta, reason)
        self._out.append(self._front + choice + self._back)


_READERS = {
    b"message_start": Stream.start,
    b"content_block_start": Stream.open,
    b"content_block_stop": Stream.stop,
    b"message_delta": Stream.ending,
    b"message_stop": Stream.finish,
    b"error": Stream.fail,
}
