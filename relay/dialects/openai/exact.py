"""Which JSON schemas Claude can be held to as they stand."""

from typing import Any

from relay.dialects.openai.fields import Json

# What an object in a schema may say for Claude to keep to it exactly.
_EXACT = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const",
     "description", "title", "anyOf"}
)  # fmt: skip
_MOST_OPTIONAL, _MOST_UNIONS = 24, 16
_DEEPEST = 20


def is_exact(schema: Json) -> bool:
    """Whether Claude can be held to a schema as it stands: closed objects, and no word but those
    that structured outputs know."""
    counts = {"optional": 0, "unions": 0}
    return (
        schema.get("type") == "object"
        and _is_exact(schema, counts, 0)
        and counts["optional"] <= _MOST_OPTIONAL
        and counts["unions"] <= _MOST_UNIONS
    )


def _is_exact(schema: Any, counts: dict[str, int], depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _DEEPEST or not schema.keys() <= _EXACT:
        return False
    kind = schema.get("type")
    within: list[Any] = []
    counts["unions"] += isinstance(kind, list) + ("anyOf" in schema)
    if kind == "object":
        properties, needed = schema.get("properties", {}), schema.get("required", [])
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if not isinstance(needed, list) or not all(isinstance(one, str) for one in needed):
            return False
        counts["optional"] += len(properties.keys() - set(needed))
        within += properties.values()
    elif kind == "array":
        within.append(schema.get("items"))
    elif "anyOf" in schema:
        if not isinstance(schema["anyOf"], list):
            return False
        within += schema["anyOf"]
    elif not kind and not ("enum" in schema or "const" in schema):
        return False
    return all(_is_exact(one, counts, depth + 1) for one in within)
