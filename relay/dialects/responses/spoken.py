"""Items of tools that Claude does not have, in a conversation's history: they become what they say.

A conversation that began with another model goes on with Claude: it reads what was called and what
came of it, as text in its place.
"""

from typing import Any

import msgspec

from relay.dialects.openai.fields import Json

# What says nothing about the conversation, or nothing that anybody but its maker can read.
_PLUMBING = frozenset({"id", "status", "type", "encrypted_content", "created_by", "phase"})
# Items that are settings, or that refer to what nobody has stored.
SETTINGS = frozenset({"compaction_trigger", "configuration_update"})
_OF_USER = ("_output", "_response")
# Bytes in base64 say nothing to a reader.
_BYTES = {"image_generation_call": "result", "computer_call_output": "output"}
_LONGEST_TEXT = 20_000


def said(item: Json) -> tuple[str, Json] | None:
    """Who says it, and the block of text that an item becomes; None where it says nothing."""
    kind = item["type"]
    silent = {*_PLUMBING, _BYTES.get(kind)}
    known = {name: value for name, value in item.items() if name not in silent and value}
    if not known or kind in SETTINGS:
        return None
    text = msgspec.json.encode(_short(known)).decode()
    role = "user" if kind.endswith(_OF_USER) else "assistant"
    return role, {"type": "text", "text": f"<{kind}>\n{text}\n</{kind}>"}


def _short(value: Any) -> Any:
    """A value whose longest texts, such as the bytes of a picture, are cut."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}… ({len(value)} characters)"
    if isinstance(value, list):
        return [_short(part) for part in value]
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    return value
