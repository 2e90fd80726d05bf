"""Claude's blocks inside of `encrypted_content`, so that a client brings them back.

Claude wants its thinking back exactly as it gave it, signature and all, when a conversation goes
on. The Responses API has one opaque string for that. It holds one block of thinking, or all of
a turn whose blocks have no counterpart (searches of the web).
"""

import base64
import binascii
from typing import Any

import msgspec

Json = dict[str, Any]

_MARK = "claude1."
_TURN = "turn"
_FIELDS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}


def pack_block(block: Json) -> str:
    """The string for one block of thinking."""
    kind = block["type"]
    return _pack({"type": kind, **{name: str(block.get(name) or "") for name in _FIELDS[kind]}})


def pack_turn(blocks: list[Json]) -> str:
    """The string for all blocks of one answer."""
    return _pack({"type": _TURN, "content": blocks})


def _pack(value: Json) -> str:
    return _MARK + base64.b64encode(msgspec.json.encode(value)).decode()


def unpack(text: str) -> tuple[list[Json], bool] | None:
    """The blocks, and whether they are a whole turn; None when the string is not of our making."""
    if not text.startswith(_MARK):
        return None
    try:
        value = msgspec.json.decode(base64.b64decode(text[len(_MARK) :], validate=True), type=Json)
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
        return None
    if value.get("type") == _TURN:
        blocks = value.get("content")
        if not isinstance(blocks, list) or not all(map(_is_block, blocks)):
            return None
        # Claude's own texts may be blank, between calls say, but it does not take them back.
        said = [block for block in blocks if str(block.get("text", "-")).strip()]
        return (said, True) if said else None
    return ([value], False) if _is_thinking(value) else None


def _is_block(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    if value["type"] == "tool_use":
        texts = all(isinstance(value.get(name), str) for name in ("id", "name"))
        return texts and isinstance(value.get("input"), dict)
    return value["type"] != "text" or isinstance(value.get("text"), str)


def _is_thinking(value: Json) -> bool:
    names = _FIELDS.get(str(value.get("type")), ())
    return bool(names) and all(isinstance(value.get(name), str) for name in names)
