"""What Claude refuses, so that the simulator refuses it too: one rule a function, with its source.

`check` is given to `relay.simulator.serve`, and runs on every message and count of tokens. A rule
yields the sentence of each refusal, in the API's words where they are known. What the real API
takes and nobody should send (an assistant's turn first) is refused as well where another seller of
Claude refuses it.

To add a rule, write a function from a request's fields to sentences and name it in RULES.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs

from relay.simulator import answers

from .strict_schemas import refused_schemas

Json = dict[str, Any]
Rule = Callable[[Json], Iterator[str]]

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_IMAGES = {
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
_MODEL = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MOST_CACHE_MARKS = 4


def version_of(fields: Json) -> tuple[str, tuple[int, int]]:
    """A model's line and version; of an older or unknown name, none."""
    found = _MODEL.match(str(fields.get("model")))
    return (found[1], (int(found[2]), int(found[3] or 0))) if found else ("", (0, 0))


def check(fields: Json) -> None:
    """Raises answers.ApiError where Claude would refuse the request."""
    for rule in RULES:
        for sentence in rule(fields):
            raise answers.invalid(sentence)


def halves_of_characters(fields: Json) -> Iterator[str]:
    """Source: github.com/anthropics/claude-code/issues/60394, 3277 and their like."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        yield "The request body is not valid JSON: no low surrogate in string"


def turns(fields: Json) -> Iterator[str]:
    """Roles, and turns without content.

    Source: platform.claude.com/docs/en/api/messages; the first role: Bedrock,
    github.com/anthropics/anthropic-sdk-typescript/issues/622; a summary comes before all turns:
    platform.claude.com/docs/en/build-with-claude/compaction-on-demand.
    """
    messages = fields["messages"]
    for number, message in enumerate(messages):
        if message["role"] not in ("user", "assistant", "system"):
            yield f"messages.{number}.role: Input should be 'user' or 'assistant'"
        if not message["content"] and (number + 1 < len(messages) or message["role"] == "user"):
            yield f"messages.{number}: all messages must have non-empty content"
        if not isinstance(message["content"], str | list):
            yield f"messages.{number}.content: Input should be a valid list"
    if messages[0]["role"] != "user" and not _is_summary(messages[0]):
        yield 'messages: first message must use the "user" role'


def _is_summary(message: Json) -> bool:
    content = message["content"]
    return isinstance(content, list) and [one.get("type") for one in content] == ["compaction"]


def blank_texts(fields: Json) -> Iterator[str]:
    """Source: github.com/anthropics/claude-code/issues/23440, 59812, 62379."""
    for place, block in _all_blocks(fields):
        if block.get("type") != "text":
            continue
        if not block["text"] and "cache_control" in block:
            yield f"{place}: cache_control cannot be set for empty text blocks"
        if not block["text"]:
            yield f"{place}: text content blocks must be non-empty"
        if not block["text"].strip():
            yield f"{place}: text content blocks must contain non-whitespace text"
    for place, block in _all_blocks(fields):
        source = block.get("source") or {}
        if source.get("type") == "text" and not source["data"].strip():
            yield f"{place}.source.data: the document has no text"


def prefill(fields: Json) -> Iterator[str]:
    """A conversation that ends with the assistant.

    Source: platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6.
    """
    last = fields["messages"][-1]
    if last["role"] != "assistant":
        return
    if version_of(fields)[1] >= (4, 6):
        yield (
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
    said = _blocks(last)
    if said and said[-1].get("type") == "text" and said[-1]["text"] != said[-1]["text"].rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"


def results(fields: Json) -> Iterator[str]:
    """Results that belong to no call, are missing, or stand in the wrong place.

    Source: github.com/anthropics/claude-code/issues/7929 and 13460.
    """
    calls: set[str] = set()
    for number, message in enumerate([*fields["messages"], {"role": "user", "content": []}]):
        blocks = _blocks(message)
        answered = [block for block in blocks if block.get("type") == "tool_result"]
        found = [block["tool_use_id"] for block in answered]
        if missing := calls - set(found):
            yield (
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks"
                f" immediately after: {', '.join(sorted(missing))}."
            )
        if unknown := set(found) - calls:
            yield (
                f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks:"
                f" {', '.join(sorted(unknown))}."
            )
        if len(found) > len(set(found)):
            yield f"messages.{number}: each tool_use must have a single result"
        if blocks[: len(answered)] != answered:
            yield f"messages.{number}: tool_result blocks must come before other content"
        calls = {block["id"] for block in blocks if block.get("type") == "tool_use"}


def calls(fields: Json) -> Iterator[str]:
    """Ids, names and inputs of calls.

    Source: github.com/anomalyco/opencode/issues/1279, github.com/anthropics/claude-code/issues/
    28515.
    """
    used: set[str] = set()
    for place, block in _all_blocks(fields):
        if block.get("type") != "tool_use":
            continue
        if not _ID.fullmatch(block["id"]):
            yield f"{place}.tool_use.id: String should match pattern '{_ID.pattern}'"
        if not _TOOL_NAME.fullmatch(block["name"]):
            yield f"{place}.tool_use.name: String should match pattern"
        if not isinstance(block["input"], dict):
            yield f"{place}.tool_use.input: Input should be a valid dictionary"
        if block["id"] in used:
            yield f"{place}: `tool_use` ids must be unique"
        used.add(block["id"])


def forced_tools(fields: Json) -> Iterator[str]:
    """Source: platform.claude.com/docs, what is new in Opus 5.5, Sonnet 5.5 and Fable 5.1."""
    wanted = fields.get("tool_choice") or {}
    if wanted.get("type") not in ("any", "tool"):
        return
    line, version = version_of(fields)
    if (line, version) in (("opus", (5, 5)), ("sonnet", (5, 5))) or (
        line in ("fable", "mythos") and version >= (5, 1)
    ):
        yield 'tool_choice: type "tool" and "any" are not supported for this model.'
    if (fields.get("thinking") or {}).get("type") == "enabled":
        yield "Thinking may not be enabled when tool_choice forces tool use."
    names = [tool.get("name") for tool in fields.get("tools") or []]
    if not names:
        yield "tool_choice may only be specified while providing tools"
    if wanted["type"] == "tool" and wanted.get("name") not in names:
        yield f"Tool '{wanted.get('name')}' not found in provided tools"


def thinking(fields: Json) -> Iterator[str]:
    """Source: platform.claude.com/docs/en/build-with-claude/extended-thinking."""
    line, version = version_of(fields)
    if not line or version < (4, 0):
        return
    kind = (fields.get("thinking") or {}).get("type")
    is_always = line in ("fable", "mythos") or (line in ("opus", "sonnet") and version >= (5, 5))
    if kind == "adaptive" and version < (4, 6):
        yield "thinking.type: adaptive is not supported on this model"
    if kind == "enabled" and version >= (4, 7):
        yield "thinking.type: enabled is not supported on this model"
    if kind == "disabled" and is_always:
        yield "thinking.type: disabled is not supported on this model"
    if kind == "enabled" and not 1024 <= fields["thinking"]["budget_tokens"] < fields["max_tokens"]:
        yield "thinking.budget_tokens: must be at least 1024 and less than max_tokens"


def sampling(fields: Json) -> Iterator[str]:
    """Source: platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-7."""
    given = [name for name in ("temperature", "top_p", "top_k") if name in fields]
    line, version = version_of(fields)
    if given and line and version >= (4, 7):
        yield f"`{given[0]}` is not supported on this model"
    if len(given) > 1 and version >= (4, 1):
        yield "`temperature` and `top_p` cannot both be specified for this model."


def tools(fields: Json) -> Iterator[str]:
    """Names and schemas that no tool may have, strict or not.

    Source: platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools;
    github.com/anthropics/claude-code/issues/5973 (the top of a schema), 79418 (its keys), 7365
    (its draft).
    """
    names = [str(tool.get("name")) for tool in fields.get("tools") or []]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    for number, tool in enumerate(fields.get("tools") or []):
        place = f"tools.{number}.custom"
        if tool.get("type", "custom") != "custom":
            continue
        if not _TOOL_NAME.fullmatch(tool["name"]):
            yield f"{place}.name: String should match pattern '{_TOOL_NAME.pattern}'"
        schema = tool["input_schema"]
        if schema.get("type") != "object":
            yield f"{place}.input_schema.type: Input should be 'object'"
        if schema.keys() & {"anyOf", "oneOf", "allOf"}:
            yield (
                f"{place}.input_schema: input_schema does not support oneOf, allOf, or anyOf"
                " at the top level"
            )
        if not jsonschema_rs.meta.is_valid({**schema, "$schema": _DRAFT}):
            yield (
                f"{place}.input_schema: JSON schema is invalid. It must match JSON Schema draft"
                " 2020-12"
            )
        if not all(_PROPERTY.fullmatch(name) for name in schema.get("properties") or {}):
            yield f"{place}.input_schema.properties: Property keys should match pattern"


def schemas(fields: Json) -> Iterator[str]:
    """What structured outputs and strict tools cannot hold an answer to: see strict_schemas."""
    yield from refused_schemas(fields)


def pictures(fields: Json) -> Iterator[str]:
    """Labels and data.

    Source: github.com/vybestack/llxprt-code/issues/2130, github.com/BoundaryML/baml/issues/1292.
    """
    for place, block in _all_blocks(fields):
        source = block.get("source") or {}
        if block.get("type") not in ("image", "document") or source.get("type") != "base64":
            continue
        try:
            data = base64.b64decode(source["data"], validate=True)
        except (binascii.Error, ValueError):
            yield f"{place}.source.base64.data: Input should be valid base64"
            continue
        if not data:
            yield f"{place}.source.base64.data: image cannot be empty"
        if block["type"] == "document":
            if not data.startswith(b"%PDF-"):
                yield f"{place}.source.base64: The PDF specified was not valid."
            continue
        label = source["media_type"]
        if label not in _IMAGES:
            kinds = " or ".join(f"'{kind}'" for kind in _IMAGES)
            yield f"{place}.source.base64.media_type: Input should be {kinds}"
        is_of = [kind for kind, magic in _IMAGES.items() if data.startswith(magic)]
        if not is_of:
            yield f"{place}.source.base64: Could not process image"
        elif label not in is_of:
            yield (
                f"{place}.source.base64: The image was specified using the {label} media type,"
                f" but the image appears to be a {is_of[0]} image"
            )


def cache_marks(fields: Json) -> Iterator[str]:
    """Source: platform.claude.com/docs/en/build-with-claude/prompt-caching."""
    marked = [block for _, block in _all_blocks(fields) if "cache_control" in block]
    marked += [tool for tool in fields.get("tools") or [] if "cache_control" in tool]
    if "cache_control" in fields:
        marked.append(fields)
    if len(marked) > _MOST_CACHE_MARKS:
        yield (f"A maximum of 4 blocks with cache_control may be provided. Found {len(marked)}.")


def stops(fields: Json) -> Iterator[str]:
    """Source: github.com/BerriAI/litellm/issues/3286."""
    if any(not text.strip() for text in fields.get("stop_sequences") or []):
        yield "stop_sequences: each stop sequence must contain non-whitespace"


RULES: tuple[Rule, ...] = (
    halves_of_characters,
    turns,
    blank_texts,
    prefill,
    results,
    calls,
    forced_tools,
    thinking,
    sampling,
    tools,
    schemas,
    pictures,
    cache_marks,
    stops,
)


def _blocks(message: Json) -> list[Json]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _all_blocks(fields: Json) -> Iterator[tuple[str, Json]]:
    """Every block of the system prompt, the turns, and the results in them, with its place."""
    system = fields.get("system") or []
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    for number, block in enumerate(system):
        yield f"system.{number}", block
    for number, message in enumerate(fields["messages"]):
        for index, block in enumerate(_blocks(message)):
            yield f"messages.{number}.content.{index}", block
            inner = block.get("content")
            if block.get("type") == "tool_result" and isinstance(inner, list):
                for within, one in enumerate(inner):
                    yield f"messages.{number}.content.{index}.tool_result.content.{within}", one
