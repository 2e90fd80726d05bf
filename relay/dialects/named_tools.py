"""What the tools that a request names may cost beyond its own size and max_tokens."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from relay import errors
from relay.pricing import LARGEST_OUTPUT, MOST_TOKENS, MOST_USES, Advisor, Reach

# A type that no tool of the client's own, and nothing in its schema, has.
_OTHER_TYPE = re.compile(
    rb'"type"\s*:\s*"'
    rb'(?!(?:object|string|array|number|integer|boolean|null|custom|ephemeral)")'
)
# Tools that may cost more are decoded, which takes far more memory than their JSON.
_LARGEST = 1024 * 1024
_MOST_ADVISORS, _LONGEST_MODEL = 64, 256
_DEEPEST = 50

# Tokens of the instructions that the upstream adds for tools at all, and for each of a type.
_FOR_TOOLS = Reach(hidden_tokens=1024)
_CLIENTS_TOOLS = (
    ("computer_toolset_", 8192), ("browser_", 12_288), ("computer_", 4096),
    ("text_editor_", 2048), ("bash_", 1024), ("memory_", 4096),
)  # fmt: skip
_UPSTREAMS_TOOL = re.compile(r"web_(?:search|fetch)_")
_ADVISOR, _FOR_UPSTREAMS_TOOL = "advisor_", 4096


class Unbounded(Exception):
    """Nothing in the request bounds what a field may cost."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None
    model: str | None = None
    max_tokens: int | None = None


def of(tools: memoryview, *, is_escaped: bool) -> Reach:
    """What a request's own tools may bring about.

    Raises:
        Unbounded: something in them has no bound.
        errors.BadRequest: a number is larger than anything can be.
    """
    if not is_escaped and not _OTHER_TYPE.search(tools):
        return _FOR_TOOLS
    if len(tools) > _LARGEST:
        raise Unbounded("tools")
    try:
        named = msgspec.json.decode(tools, type=list[_Tool] | None) or []
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise Unbounded("tools") from None
    reach = _FOR_TOOLS
    for number, tool in enumerate(named):
        reach = _with(reach, tool, "tools", f"tools[{number}]")
    return reach


def added(messages: memoryview, count: int, reach: Reach) -> Reach:
    """The same of the `count` tools that messages define, beside what there is.

    Raises as of().
    """
    if len(messages) > _LARGEST:
        raise Unbounded("messages")
    found = list(_additions(json.loads(bytes(messages) or b"[]"), "messages"))
    if len(found) != count:
        raise Unbounded("messages")
    for place, addition in found:
        tool = addition.get("tool")
        definition = tool.get("definition") if isinstance(tool, dict) else None
        if not isinstance(definition, dict):
            raise Unbounded("messages")
        try:
            named = msgspec.convert(definition, _Tool)
        except msgspec.ValidationError:
            raise Unbounded("messages") from None
        reach = _with(reach, named, "messages", f"{place}.tool.definition")
    return replace(reach, hidden_tokens=reach.hidden_tokens + _FOR_TOOLS.hidden_tokens)


def _additions(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    if depth > _DEEPEST:
        raise Unbounded("messages")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _additions(inner, f"{place}[{number}]", depth + 1)
    if isinstance(value, dict):
        if value.get("type") == "tool_addition":
            yield place, value
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _additions(inner, f"{place}.{name}", depth + 1)


def _with(reach: Reach, tool: _Tool, field: str, place: str) -> Reach:
    """What there is and one tool more. Raises as of()."""
    kind = tool.type or "custom"
    if kind == "custom":
        return reach
    for beginning, tokens in _CLIENTS_TOOLS:
        if kind.startswith(beginning):
            return replace(reach, hidden_tokens=reach.hidden_tokens + tokens)
    uses = tool.max_uses
    if uses is not None and uses > MOST_USES:
        raise errors.BadRequest(f"{place}.max_uses: must be at most {MOST_USES}.")
    if uses is None or uses < 0:
        raise Unbounded(field)
    reach = replace(reach, hidden_tokens=reach.hidden_tokens + _FOR_UPSTREAMS_TOOL)
    if _UPSTREAMS_TOOL.match(kind):
        return replace(reach, tool_uses=min(reach.tool_uses + uses, MOST_USES))
    if not kind.startswith(_ADVISOR) or len(reach.advisors) >= _MOST_ADVISORS:
        raise Unbounded(field)
    advisor = Advisor(_model(tool.model, field), uses, _longest(tool.max_tokens, field, place))
    return replace(reach, advisors=(*reach.advisors, advisor))


def _model(model: str | None, field: str) -> str:
    if not model or len(model) > _LONGEST_MODEL:
        raise Unbounded(field)
    return model


def _longest(tokens: int | None, field: str, place: str) -> int:
    """How much an advisor puts out at most each time."""
    if tokens is None:
        return LARGEST_OUTPUT
    if tokens < 0:
        raise Unbounded(field)
    if tokens > MOST_TOKENS:
        raise errors.BadRequest(f"{place}.max_tokens: must be at most {MOST_TOKENS}.")
    return tokens
