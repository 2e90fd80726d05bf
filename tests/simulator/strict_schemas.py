"""The schemas that Claude cannot hold an answer or a strict tool to.

Source: platform.claude.com/docs/en/build-with-claude/structured-outputs (limitations, and the
limits on the sum of all schemas), and what Anthropic's own SDK leaves out of a schema before it
sends it (anthropic/lib/_parse/_transform.py). The sentences: github.com/agentjido/req_llm/issues/
302, github.com/elie222/inbox-zero/pull/2662.
"""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

MOST_STRICT_TOOLS = 20
MOST_OPTIONAL = 24
MOST_UNIONS = 16
_EVERYWHERE = {"title", "description", "default", "$defs", "definitions", "enum", "const"}
_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems"},
    "string": {"format"},
}
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6",
            "uuid"}  # fmt: skip
_REFERENCES = ("#/$defs/", "#/definitions/")


def refused_schemas(fields: Json) -> Iterator[str]:
    """The sentence of each refusal of a request's schemas."""
    strict = [tool for tool in fields.get("tools") or [] if tool.get("strict")]
    if len(strict) > MOST_STRICT_TOOLS:
        yield f"Too many strict tools ({len(strict)}). The maximum is {MOST_STRICT_TOOLS}."
    held = [(f"tools.{tool['name']}.input_schema", tool["input_schema"]) for tool in strict]
    wanted = (fields.get("output_config") or {}).get("format")
    if wanted:
        held.append(("output_config.format.schema", wanted["schema"]))
    optional = unions = 0
    for place, schema in held:
        for sentence in _refused(schema, schema, ()):
            yield f"{place}: {sentence}"
        for node in _nodes(schema):
            named = node.get("properties", {})
            optional += len(named.keys() - set(node.get("required", ())))
            unions += sum("anyOf" in one or isinstance(one.get("type"), list)
                          for one in named.values())  # fmt: skip
    if optional > MOST_OPTIONAL:
        yield f"Schemas contains too many optional parameters ({optional}) (limit: 24)."
    if unions > MOST_UNIONS:
        yield f"Schemas contains too many parameters with union types ({unions}) (limit: 16)."


def _nodes(schema: Json) -> Iterator[Json]:
    """A schema and all inside of it."""
    yield schema
    for one in _inside(schema):
        yield from _nodes(one)


def _inside(schema: Json) -> list[Json]:
    inside = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    inside += [schema["items"]] if "items" in schema else []
    for name in ("properties", "$defs", "definitions"):
        inside += schema.get(name, {}).values()
    return inside


def _refused(root: Json, schema: Any, within: tuple[str, ...]) -> Iterator[str]:
    """Why a schema cannot be compiled; `within` are the references that lead to it."""
    if not isinstance(schema, dict):
        yield f"a schema must be an object, not {schema}"
        return
    if "$ref" in schema:
        yield from _refused_reference(root, schema, within)
        return
    for rule in (_refused_keywords, _refused_values, _refused_type):
        yield from rule(schema)
    for one in _inside(schema):
        yield from _refused(root, one, within)


def _kinds(schema: Json) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _refused_type(schema: Json) -> Iterator[str]:
    kinds = _kinds(schema)
    if not kinds and not schema.keys() & {"anyOf", "allOf", "enum", "const"}:
        yield "Schema must have a 'type', 'anyOf', or 'allOf' field"
    if unknown := set(kinds) - _TYPES:
        yield f"type {min(unknown)} is not supported"
    if "object" in kinds and schema.get("additionalProperties") is not False:
        yield "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if "array" in kinds and "items" not in schema:
        yield "For 'array' type, 'items' is required"


def _refused_keywords(schema: Json) -> Iterator[str]:
    kinds = _kinds(schema)
    known = _EVERYWHERE.union({"type", "anyOf", "allOf"}, *(_OF_TYPE.get(one, ()) for one in kinds))
    for name in sorted(schema.keys() - known):
        yield f"For '{'|'.join(kinds)}' type, property '{name}' is not supported"
    if any(isinstance(one, dict) and "$ref" in one for one in schema.get("allOf", ())):
        yield "allOf with $ref is not supported"


def _refused_values(schema: Json) -> Iterator[str]:
    if schema.get("minItems", 0) not in (0, 1):
        yield "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if schema.get("format", "date") not in _FORMATS:
        yield f"For 'string' type, format '{schema['format']}' is not supported"
    if not schema.get("enum", [None]):
        yield "enum must not be empty"
    values = [*schema.get("enum", ()), schema.get("const")]
    if any(isinstance(value, dict | list) for value in values):
        yield "complex types in enums are not supported"
    if unknown := set(schema.get("required", ())) - schema.get("properties", {}).keys():
        yield f"required property '{min(unknown)}' is not defined"


def _refused_reference(root: Json, schema: Json, within: tuple[str, ...]) -> Iterator[str]:
    target = schema["$ref"]
    if more := schema.keys() - {"$ref", "$defs", "definitions"}:
        yield f"'{min(more)}' beside a $ref is not supported"
    prefix = next((one for one in _REFERENCES if target.startswith(one)), None)
    found = root.get(prefix[2:-1], {}).get(target[len(prefix) :]) if prefix else None
    if found is None:
        yield f"the reference {target} cannot be resolved"
    elif target in within:
        yield "Recursive schemas are not supported"
    else:
        yield from _refused(root, found, (*within, target))
    for name in ("$defs", "definitions"):
        for one in schema.get(name, {}).values():
            yield from _refused(root, one, within)
