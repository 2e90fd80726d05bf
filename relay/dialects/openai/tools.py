"""Tools: OpenAI's descriptions to Claude's, and the names by which calls find their way back."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.dialects.openai import claudes
from relay.dialects.openai.fields import (
    Json,
    as_kind,
    below,
    choice,
    given,
    needed,
    objects,
    refusal,
)

# What Claude does not take in a tool's name, and how long one may be.
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME, _DIGEST_CHARS = 128, 8
_IN_NAMESPACE = "__"
SEARCH = "web_search"
_SEARCH_TYPES = ("web_search", "web_search_2025_08_26", "web_search_preview",
                 "web_search_preview_2025_03_11")  # fmt: skip
# Searches in one answer; a bound keeps a request's cost bounded.
MOST_SEARCHES = 8
_CUSTOM_SCHEMA: Json = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The tool's whole input."}},
    "required": ["input"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Tool:
    """What a client calls a tool: kind is "function" or "custom"."""

    kind: str
    name: str
    namespace: str = ""


@dataclass
class Toolbox:
    """A request's tools as Claude gets them, and which of the client's tools each one is.

    `left_out` names those that Claude cannot have, by their places.
    """

    described: list[Json] = field(default_factory=list)
    known: dict[str, Tool] = field(default_factory=dict)
    searches: bool = False
    left_out: list[str] = field(default_factory=list)

    def tool(self, name: str) -> Tool:
        """The client's tool by the name that Claude knows it by."""
        return self.known.get(name) or Tool("function", name)

    def has(self, name: str) -> bool:
        """Whether Claude is given a tool of this name."""
        return name in self.known or (name == SEARCH and self.searches)


def claude_name(name: str, namespace: str, place: str) -> str:
    """The name of a tool for Claude, in the letters that it takes; a namespace goes in front."""
    whole = f"{namespace}{_IN_NAMESPACE}{name}" if namespace else name
    if not whole:
        raise refusal(below(place, "name"), "must not be empty.")
    fit = _UNFIT.sub("_", whole)
    return fit if len(fit) <= _LONGEST_NAME else _cut(fit, whole)


def _cut(fit: str, whole: str) -> str:
    """A name that is too long, or that two tools would have, told apart by a digest."""
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{fit[: _LONGEST_NAME - _DIGEST_CHARS - 1]}_{digest}"


def toolbox(listed: Sequence[tuple[str, Json]], most_searches: int | None) -> Toolbox:
    """The tools of a request, by the places where they stand.

    Args:
        most_searches: the client's own bound on calls of built-in tools.
    """
    box = Toolbox()
    for place, tool in listed:
        where, tool = _flat(place, tool)
        kind = given(tool, "type", str, place)
        if claudes.is_tool(tool):
            _add_claudes(box, tool, where)
        elif kind == "namespace":
            _add_namespace(box, tool, where)
        elif kind in ("function", "custom"):
            _add(box, tool, where, "")
        elif kind in _SEARCH_TYPES:
            _add_search(box, tool, where, most_searches)
        elif kind is None:
            raise refusal(below(place, "type"), "this field is required.")
        else:
            box.left_out.append(f"{place} ({kind})")
    return box


def _flat(place: str, tool: Json) -> tuple[str, Json]:
    """A function as the Responses API writes it, where a client writes it as the other API does."""
    inner = tool.get("function")
    if tool.get("type") != "function" or not isinstance(inner, dict):
        return place, tool
    return below(place, "function"), {**tool, **inner, "type": "function"}


def _add_namespace(box: Toolbox, tool: Json, place: str) -> None:
    namespace = needed(tool, "name", str, place)
    inner = needed(tool, "tools", list, place)
    for where, one in objects(inner, below(place, "tools")):
        kind = needed(one, "type", str, where)
        if kind in ("function", "custom"):
            _add(box, one, where, namespace)
        else:
            box.left_out.append(f"{where} ({kind})")


def _name_for(box: Toolbox, tool: Json, place: str, namespace: str = "") -> str:
    """The name by which Claude gets a tool. Two may come to the same one, but not be the same."""
    name = needed(tool, "name", str, place)
    whole = claude_name(name, namespace, place)
    other = box.known.get(whole)
    if other is not None and (other.name, other.namespace) != (name, namespace):
        whole = _cut(whole, f"{namespace}{_IN_NAMESPACE}{name}")
    if whole in box.known or (box.searches and whole == SEARCH):
        raise refusal(below(place, "name"), f"two tools are called {whole}.")
    return whole


def _add_claudes(box: Toolbox, tool: Json, place: str) -> None:
    """A tool that is described as Claude wants it."""
    name = _name_for(box, tool, place)
    described = {key: value for key, value in tool.items() if key != "cache_control"}
    if described.get("type") in ("function", "custom"):
        del described["type"]
    box.described.append(_marked({**described, "name": name}, tool, place))
    box.known[name] = Tool("function", tool["name"])
    if name == SEARCH and "input_schema" not in tool:
        del box.known[name]
        box.searches = True


def _marked(described: Json, tool: Json, place: str) -> Json:
    cache = claudes.mark(tool, place)
    return {**described, "cache_control": cache} if cache else described


def _add(box: Toolbox, tool: Json, place: str, namespace: str) -> None:
    name = needed(tool, "name", str, place)
    whole = _name_for(box, tool, place, namespace)
    kind = tool["type"]
    described: Json = {"name": whole}
    text = given(tool, "description", str, place) or ""
    if kind == "custom":
        text = "\n\n".join(part for part in (text, _format_of(tool, place)) if part)
        described["input_schema"] = _CUSTOM_SCHEMA
    else:
        described["input_schema"] = _schema(tool, place)
        if given(tool, "strict", bool, place):
            described["strict"] = True
    if text:
        described["description"] = text
    box.described.append(_marked(described, tool, place))
    box.known[whole] = Tool(kind, name, namespace)


def _schema(tool: Json, place: str) -> Json:
    schema = dict(given(tool, "parameters", dict, place) or {})
    if schema.setdefault("type", "object") != "object":
        raise refusal(below(place, "parameters"), "must describe an object.")
    schema.setdefault("properties", {})
    return schema


def _format_of(tool: Json, place: str) -> str:
    """The grammar of a custom tool's input in words: Claude is told it, but not held to it."""
    wanted = given(tool, "format", dict, place)
    where = below(place, "format")
    if not wanted or choice(wanted, "type", ("text", "grammar"), where) != "grammar":
        return ""
    # Some clients nest what others write flat.
    inner = given(wanted, "grammar", dict, where) or wanted
    syntax = given(inner, "syntax", str, where) or "grammar"
    definition = needed(inner, "definition", str, where)
    return f"The input follows this {syntax} grammar:\n{definition}"


def _add_search(box: Toolbox, tool: Json, place: str, most: int | None) -> None:
    if given(tool, "external_web_access", bool, place) is False:
        # An index without the live web: Claude has none, and the live web is not wanted.
        return
    if box.searches or SEARCH in box.known:
        raise refusal(below(place, "type"), f"two tools are called {SEARCH}.")
    most_uses = MOST_SEARCHES if most is None else min(most, MOST_SEARCHES)
    if most_uses < 1:
        return
    described: Json = {"type": "web_search_20250305", "name": SEARCH, "max_uses": most_uses}
    filters = given(tool, "filters", dict, place) or {}
    domains = given(filters, "allowed_domains", list, below(place, "filters"))
    if domains:
        where = below(place, "filters.allowed_domains")
        described["allowed_domains"] = [as_kind(domain, str, where) for domain in domains]
    if location := _location(tool, place):
        described["user_location"] = location
    box.described.append(described)
    box.searches = True


def _location(tool: Json, place: str) -> Json | None:
    where = below(place, "user_location")
    said = given(tool, "user_location", dict, place) or {}
    names = ("city", "region", "country", "timezone")
    known = {name: value for name in names if (value := given(said, name, str, where))}
    return {"type": "approximate", **known} if known else None


def tool_choice(fields: Json, box: Toolbox) -> Json | None:
    """Claude's tool_choice, or None for its default; narrows the box to the tools allowed."""
    alone = given(fields, "parallel_tool_calls", bool) is False
    asked = fields.get("tool_choice")
    if isinstance(asked, dict) and claudes.is_choice(asked):
        wanted = claudes.chosen(asked)
        if wanted["type"] == "tool":
            wanted["name"] = _known(box, wanted["name"], "", "tool_choice")
    elif isinstance(asked, dict):
        wanted = _chosen(asked, box)
    else:
        words = ("none", "auto", "required")
        wanted = {"type": _WORDS[choice(fields, "tool_choice", words) or "auto"]}
    if not box.described:
        if wanted["type"] in ("any", "tool"):
            raise refusal("tool_choice", "a tool is required, but none is given.")
        return None
    if alone and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return None if wanted == {"type": "auto"} else wanted


_WORDS = {"none": "none", "auto": "auto", "required": "any"}


def _chosen(asked: Json, box: Toolbox) -> Json:
    kind = needed(asked, "type", str, "tool_choice")
    if kind == "allowed_tools":
        where = "tool_choice"
        if isinstance(asked.get("allowed_tools"), dict):
            # Chat Completions put an object around them.
            asked, where = asked["allowed_tools"], "tool_choice.allowed_tools"
        mode = choice(asked, "mode", ("auto", "required"), where) or "auto"
        allowed = objects(needed(asked, "tools", list, where), below(where, "tools"))
        names = {_name_of(one, place, box) for place, one in allowed if _is_had(one, place)}
        box.described = [tool for tool in box.described if tool["name"] in names]
        return {"type": _WORDS[mode]}
    return {"type": "tool", "name": _name_of(asked, "tool_choice", box)}


def _name_of(asked: Json, place: str, box: Toolbox) -> str:
    """Claude's name of the tool that is meant."""
    kind = needed(asked, "type", str, place)
    if kind in _SEARCH_TYPES:
        name = SEARCH
    elif kind in ("function", "custom"):
        where, flat = _flat(place, asked)
        namespace = given(flat, "namespace", str, where) or ""
        return _known(box, needed(flat, "name", str, where), namespace, place)
    else:
        raise refusal(below(place, "type"), f"{kind} is a tool that Claude does not have.")
    if not box.has(name):
        raise refusal(place, f"{name} is not among the tools.")
    return name


def _is_had(asked: Json, place: str) -> bool:
    """Whether a tool that is allowed is one that Claude can have."""
    return needed(asked, "type", str, place) in ("function", "custom", *_SEARCH_TYPES)


def _known(box: Toolbox, name: str, namespace: str, place: str) -> str:
    """Claude's name of the tool that the client calls so."""
    for own, tool in box.known.items():
        if (tool.name, tool.namespace) == (name, namespace):
            return own
    fit = claude_name(name, namespace, place)
    if not box.has(fit):
        raise refusal(place, f"{fit} is not among the tools.")
    return fit
