"""A call that a client forces, with models that refuse to be forced.

A single function becomes the form of the answer: structured outputs hold Claude to its schema, and
the answer's text is told as the call. Where that cannot be, Claude is told to call, by strict tools
if they can be.
"""

from typing import Any

import msgspec

from relay.dialects import models
from relay.dialects.openai import schemas
from relay.dialects.openai.fields import Json
from relay.dialects.openai.tools import Toolbox

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def settle(body: Json, box: Toolbox, traits: models.Traits) -> str:
    """Replace a tool_choice that the model refuses, in place.

    Returns: the tool whose call the answer's text will be, or nothing.
    """
    wanted = body.get("tool_choice") or {}
    if traits.takes_forced or wanted.get("type") not in ("any", "tool"):
        return ""
    meant = [tool for tool in box.described if wanted.get("name") in (None, tool["name"])]
    name = str(meant[0]["name"]) if len(meant) == 1 else ""
    form = _form(body, meant[0], box) if name and traits.structures else None
    if form:
        body["output_config"] = {**body.get("output_config", {}), "format": form}
        body["tool_choice"] = {"type": "none"}
        _say(body, f"Answer with the arguments of one call of the tool {name}.")
        return name
    for tool in meant:
        schema = tool.get("input_schema")
        if isinstance(schema, dict) and traits.structures and schemas.can_hold(schema):
            tool["strict"] = True
    rest = {part: value for part, value in wanted.items() if part not in ("type", "name")}
    body.pop("tool_choice")
    if rest:
        body["tool_choice"] = {"type": "auto", **rest}
    which = f"the tool {name}" if name else "one of the tools"
    _say(body, f"Call {which} now; do not answer in words alone.")
    return ""


def _form(body: Json, tool: Json, box: Toolbox) -> Json | None:
    """The tool's arguments as the form of the answer, where they can be that."""
    schema = tool.get("input_schema")
    if body.get("output_config", {}).get("format") or box.tool(tool["name"]).kind != "function":
        return None
    if not isinstance(schema, dict):
        return None
    schema = schemas.of_tool(schema)
    return {"type": "json_schema", "schema": schema} if schemas.can_hold(schema) else None


def _say(body: Json, line: str) -> None:
    body["system"] = [*body.get("system", ()), {"type": "text", "text": line}]


class AsCall:
    """Turns the events of an answer, or a whole one, so that its text is a call."""

    def __init__(self, name: str, call_id: str) -> None:
        self._block: Json = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        self._texts: set[Any] = set()

    def event(self, name: bytes, data: bytes) -> bytes:
        """An event's data; what cannot be read stays as it is."""
        if name not in (b"content_block_start", b"content_block_delta", b"message_delta"):
            return data
        try:
            fields = _decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return data
        if name == b"content_block_start":
            return self._open(fields, data)
        delta = fields.get("delta")
        if not isinstance(delta, dict):
            return data
        if name == b"message_delta":
            if delta.get("stop_reason") != "end_turn":
                return data
            return _encode({**fields, "delta": {**delta, "stop_reason": "tool_use"}})
        if fields.get("index") not in self._texts or not isinstance(delta.get("text"), str):
            return data
        part = {"type": "input_json_delta", "partial_json": delta["text"]}
        return _encode({**fields, "delta": part})

    def _open(self, fields: Json, data: bytes) -> bytes:
        block = fields.get("content_block")
        # Only the first: a tool is called once.
        if self._texts or not isinstance(block, dict) or block.get("type") != "text":
            return data
        self._texts.add(fields.get("index"))
        return _encode({**fields, "content_block": self._block})

    def whole(self, message: Json) -> Json:
        """A whole answer, with its text as the call; as it is if that is no object."""
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        texts = [str(block.get("text") or "") for block in blocks if _is_text(block)]
        try:
            given = _decode("".join(texts))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return message
        others = [block for block in blocks if not _is_text(block)]
        reason = message.get("stop_reason")
        return {
            **message,
            "content": [*others, {**self._block, "input": given}],
            "stop_reason": "tool_use" if reason == "end_turn" else reason,
        }


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "text"
