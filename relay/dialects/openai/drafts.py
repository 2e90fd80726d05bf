"""A tool's schema as JSON Schema's draft 2020-12 has it: Claude refuses others, one and all.

Tools come from many makers, and their schemas from older drafts: OpenAI's APIs pass over what they
do not know. So does this: what is of the wrong kind is left out, the rest stays as it is.
"""

from collections.abc import Callable
from typing import Any

from relay.dialects.openai.fields import Json

TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_SCHEMAS = ("items", "not", "if", "then", "else", "contains", "propertyNames",
            "additionalProperties", "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _are_names(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return texts and len(set(value)) == len(value)


def _are_types(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and _are_names(value) and TYPES.issuperset(value)
    return isinstance(value, str) and value in TYPES


def _are_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_names, value.values()))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "type": _are_types,
    "required": _are_names,
    "dependentRequired": _are_dependencies,
    "dependencies": _are_dependencies,
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties",
                     "maxProperties", "minContains", "maxContains"), _is_count),
    **dict.fromkeys(("pattern", "format", "title", "description", "$comment", "$schema", "$ref",
                     "$dynamicRef", "contentEncoding", "contentMediaType"), _is_text),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _is_switch),
    **dict.fromkeys(("enum", "examples"), _is_list),
}  # fmt: skip
# Names of places, which nothing here refers to.
_DROPPED = frozenset({"$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$recursiveRef",
                      "$vocabulary"})  # fmt: skip


def sound(schema: Json) -> Json:
    """The schema without what draft 2020-12 does not allow in it."""
    done: Json = {}
    for name, value in _converted(schema).items():
        if name in _SCHEMAS:
            if isinstance(value, dict | bool):
                done[name] = _inside(value)
        elif name in _LISTS:
            if listed := [_inside(one) for one in value if isinstance(one, dict | bool)]:
                done[name] = listed
        elif name in _MAPS:
            done[name] = {
                key: _inside(one) for key, one in value.items() if isinstance(one, dict | bool)
            }
        elif name not in _DROPPED and _KINDS.get(name, _is_anything)(value):
            done[name] = value
    return done


def _inside(schema: Any) -> Any:
    return sound(schema) if isinstance(schema, dict) else schema


def _is_anything(value: Any) -> bool:
    return True


def _converted(schema: Json) -> Json:
    """What older drafts say in another way; lists and maps of schemas are some."""
    done = dict(schema)
    if isinstance(done.get("items"), list):
        done.setdefault("prefixItems", done.pop("items"))
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if done.get(exclusive) is True and _is_number(done.get(bound)):
            done[exclusive] = done.pop(bound)
    for names, kind in ((_LISTS, list), (_MAPS, dict)):
        for name in names:
            if not isinstance(done.get(name, kind()), kind):
                del done[name]
    return done
