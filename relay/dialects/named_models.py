"""The models that a request names beside the one that it asks for, and where.

Source: platform.claude.com/docs/en/api/messages: `fallbacks`, advisor tools, and definitions of
tools that stand in messages. A request is judged by its decoded values, however it is spelled.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

# Where a message may define a tool, as its bytes show it: by name, or with letters as escapes.
_IN_MESSAGES = (b"tool_addition", b"advisor_", b"\\u00")
_ADVISOR = "advisor_"
_DEEPEST = 50


def beside(fields: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    """The models by their names, each with the first place at which it stands.

    `fallbacks: "default"` names none and allows any; it is given as a model named "default".

    Args:
        fields: a request's top-level fields, undecoded, by their decoded names.
    """
    found: dict[str, str] = {}
    if "fallbacks" in fields:
        for place, model in _fallbacks(_decoded(fields["fallbacks"])):
            found.setdefault(model, place)
    for name in ("tools", "messages"):
        raw = fields.get(name)
        if raw is None or not any(word in bytes(raw) for word in _IN_MESSAGES):
            continue
        for place, model in _advisors(_decoded(raw), name):
            found.setdefault(model, place)
    return found


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _fallbacks(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield "fallbacks", value
    for number, entry in enumerate(value if isinstance(value, list) else ()):
        model = entry.get("model") if isinstance(entry, dict) else entry
        if isinstance(model, str):
            yield f"fallbacks[{number}].model", model


def _advisors(value: object, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The models of advisor tools, wherever within a value one is defined."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _advisors(inner, f"{place}[{number}]", depth + 1)
    if not isinstance(value, dict):
        return
    kind, model = value.get("type"), value.get("model")
    if isinstance(kind, str) and kind.startswith(_ADVISOR) and isinstance(model, str):
        yield f"{place}.model", model
    for name, inner in value.items():
        if isinstance(inner, dict | list):
            yield from _advisors(inner, f"{place}.{name}", depth + 1)
