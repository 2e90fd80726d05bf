"""The models that a request names beside the one that it asks for, and where.

Source: platform.claude.com/docs/en/api/messages: `fallbacks`, advisor tools, definitions of tools
that stand in messages, and what manages the context, which may be given a model of its own. A
request is judged by its decoded values, however it is spelled.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from relay import errors
from relay.call import ANY_FALLBACK

# Where a message may define a tool, as its bytes show it: by name, or with letters as escapes.
_IN_MESSAGES = (b"tool_addition", b"advisor_", b"\\u00")
_ADVISOR = "advisor_"
_MANAGES = ("context_management", "compaction")
_IN_MANAGEMENT = (b"model", b"\\u00")
_DEEPEST = 50
_MOST_MODELS, _LONGEST_MODEL = 64, 256


def beside(fields: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    """The models by their names, each with the first place at which it stands.

    `fallbacks: "default"` names none and allows any; it is given as a model named "default".

    Args:
        fields: a request's top-level fields, undecoded, by their decoded names.

    Raises:
        errors.BadRequest: there are more than anyone needs, or one can be no model's name.
    """
    found: dict[str, str] = {}
    for place, model in _named(fields):
        if len(model) > _LONGEST_MODEL or not model.isprintable():
            raise errors.BadRequest(
                f"{place}: a model's name has at most {_LONGEST_MODEL} printable characters."
            )
        if model and model not in found:
            found[model] = place
            if len(found) > _MOST_MODELS:
                raise errors.BadRequest(f"{place}: a request names up to {_MOST_MODELS} models.")
    return found


def _named(fields: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, str]]:
    """Each model with its place; one may come more than once."""
    if "fallbacks" in fields:
        yield from _fallbacks(_decoded(fields["fallbacks"]))
    for name in ("tools", "messages"):
        raw = fields.get(name)
        if raw is not None and any(word in bytes(raw) for word in _IN_MESSAGES):
            yield from _models(_decoded(raw), name, _ADVISOR)
    for name in _MANAGES:
        raw = fields.get(name)
        if raw is not None and any(word in bytes(raw) for word in _IN_MANAGEMENT):
            yield from _models(_decoded(raw), name)


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _fallbacks(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield "fallbacks", value or ANY_FALLBACK
    for number, entry in enumerate(value if isinstance(value, list) else ()):
        model = entry.get("model") if isinstance(entry, dict) else entry
        if isinstance(model, str):
            yield f"fallbacks[{number}].model", model


def _models(
    value: object, place: str, beginning: str = "", depth: int = 0
) -> Iterator[tuple[str, str]]:
    """The models of objects, wherever within a value they stand, whose type begins with a word."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _models(inner, f"{place}[{number}]", beginning, depth + 1)
    if not isinstance(value, dict):
        return
    kind, model = value.get("type", ""), value.get("model")
    if isinstance(kind, str) and kind.startswith(beginning) and isinstance(model, str):
        yield f"{place}.model", model
    for name, inner in value.items():
        if isinstance(inner, dict | list):
            yield from _models(inner, f"{place}.{name}", beginning, depth + 1)
