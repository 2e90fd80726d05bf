"""JSON schemas as Claude can hold an answer or a tool's input to them.

Claude compiles a schema into a grammar and takes a part of JSON Schema only. What it does not take
and only narrows a value is left out and said in the description, as Anthropic's own SDKs do. What
cannot be compiled at all (recursion, objects with any properties) is not enforced: an answer's
schema goes into the system prompt, and a tool is sent not strict.

The limits: platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache

import msgspec

from relay.dialects.openai.asked import JSON_ONLY
from relay.dialects.openai.drafts import sound
from relay.dialects.openai.fields import Json
from relay.dialects.openai.fitting import Fitting, Unfit, flat

_MOST_KEPT, _LONGEST_KEPT = 32, 64 * 1024
# What Claude takes for the name of a tool's parameter.
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_ALSO = "It takes these parameters as well:"
_BY_PROMPT = "It follows this JSON schema:"


@dataclass
class _Room:
    """What is left of Claude's limits on all schemas of one request together."""

    tools: int = 20
    optional: int = 24
    unions: int = 16

    def take(self, schema: Json, *, tools: int) -> bool:
        """Whether a schema has room; it takes its part where it has."""
        nodes = list(_nodes(schema))
        optional = sum(
            len(node.get("properties", {}).keys() - set(node.get("required", ()))) for node in nodes
        )
        unions = sum("anyOf" in node or isinstance(node.get("type"), list) for node in nodes)
        if tools > self.tools or optional > self.optional or unions > self.unions:
            return False
        self.tools -= tools
        self.optional -= optional
        self.unions -= unions
        return True


def of_tool(schema: Json) -> Json:
    """A tool's schema as Claude takes it of one that is not strict: an object's, of its draft."""
    return flat({"properties": {}} | sound(schema) | {"type": "object"})


def can_hold(schema: Json) -> bool:
    """Whether Claude can be held to a schema, as far as no other one is in the request."""
    return _held(schema, _Room(), tools=1) is not None


def settle(body: Json, *, is_held: bool) -> None:
    """Make of a request's schemas what Claude takes; changes the request in place.

    The answer's schema comes first where not all have room, then the tools in their order.

    Args:
        is_held: whether the model can be held to schemas at all.
    """
    room = _Room() if is_held else _Room(-1, -1, -1)
    config = body.get("output_config", {})
    if "format" in config:
        held = _held(config["format"]["schema"], room, tools=0)
        if held is not None:
            body["output_config"] = {**config, "format": {**config["format"], "schema": held}}
        else:
            _ask(body)
    if tools := body.get("tools"):
        encoded = msgspec.json.encode(tools)
        fit = _fit_again if len(encoded) <= _LONGEST_KEPT else _fit
        # Marks of the cache are set in them.
        body["tools"] = [dict(tool) for tool in fit(encoded, *astuple(room))]


def _fit(encoded: bytes, *limits: int) -> list[Json]:
    """Tools as Claude takes them, within what is left of its limits."""
    room = _Room(*limits)
    tools: list[Json] = msgspec.json.decode(encoded)
    return [_tool(tool, room) if "input_schema" in tool else tool for tool in tools]


# Every turn of a conversation sends the same tools.
_fit_again = lru_cache(maxsize=_MOST_KEPT)(_fit)


def _tool(tool: Json, room: _Room) -> Json:
    """A tool that is strict where it can be."""
    schema = of_tool(tool["input_schema"])
    known = {name: value for name, value in tool.items() if name != "strict"}
    odd = [name for name in schema["properties"] if not _PROPERTY.fullmatch(name)]
    if odd:
        return _with_odd_names(known, schema, odd)
    if tool.get("strict"):
        held = _held(schema | {"nullable": False}, room, tools=1)
        if held is not None:
            return {**tool, "input_schema": held}
    return {**known, "input_schema": schema}


def _with_odd_names(tool: Json, schema: Json, odd: list[str]) -> Json:
    """A tool with parameters that its schema cannot name; what is not strict may have them all."""
    named = schema["properties"]
    left = {name: value for name, value in named.items() if name not in odd}
    said = msgspec.json.encode({name: named[name] for name in odd}).decode()
    required = [name for name in schema.get("required", ()) if name not in odd]
    words = f"{tool.get('description', '')}\n\n{_ALSO} {said}".strip()
    schema = {**schema, "properties": left, "required": required}
    return {**tool, "description": words, "input_schema": schema}


def _held(schema: Json, room: _Room, *, tools: int) -> Json | None:
    """A schema that Claude can be held to, or None."""
    try:
        fitted = Fitting(schema).fitted()
    except (Unfit, RecursionError):
        return None
    return fitted if room.take(fitted, tools=tools) else None


def _ask(body: Json) -> None:
    """Ask in the system prompt for an answer that Claude cannot be held to."""
    config = dict(body["output_config"])
    schema = msgspec.json.encode(config.pop("format")["schema"]).decode()
    text = f"{JSON_ONLY} {_BY_PROMPT}\n{schema}"
    body["system"] = [*body.get("system", ()), {"type": "text", "text": text}]
    body["output_config"] = config
    if not config:
        del body["output_config"]


def _nodes(schema: Json) -> Iterator[Json]:
    """A fitted schema and every schema inside of it."""
    yield schema
    inside = [*schema.get("anyOf", ())]
    inside += [schema["items"]] if "items" in schema else []
    for name in ("properties", "$defs", "definitions"):
        inside += schema.get(name, {}).values()
    for one in inside:
        yield from _nodes(one)
