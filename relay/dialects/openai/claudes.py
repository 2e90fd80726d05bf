"""Claude's own shapes where clients write them in requests of OpenAI's APIs.

Some clients speak to any model in one form: tools with an `input_schema`, blocks `tool_use` and
`tool_result`, `thinking`, `cache_control`. They are what Claude wants already.
"""

import re

from relay.dialects import models
from relay.dialects.openai.fields import Json, below, choice, given, needed, objects, refusal

# Blocks that may stand in a turn as they are, by who says them.
_BLOCKS = {
    "user": frozenset({"image", "document", "search_result"}),
    "tool": frozenset({"image", "document", "search_result"}),
    "assistant": frozenset({"server_tool_use", "web_search_tool_result", "web_fetch_tool_result"}),
}
# How a mark of the prompt cache is called, in Claude's words and in OpenAI's.
MARKS = ("cache_control", "prompt_cache_breakpoint")
_THINKING = ("thinking", "redacted_thinking")
_DATED = re.compile(r"[a-z_]+_20\d{6}")
_CHOICES = ("auto", "none", "any", "tool")
_LEAST_BUDGET = 1024


def is_tool(tool: Json) -> bool:
    """Whether a tool is described in Claude's form, or is one of Claude's own."""
    return "input_schema" in tool or _DATED.fullmatch(str(tool.get("type"))) is not None


def is_block(part: Json, said_by: str) -> bool:
    """Whether a part is a block that Claude takes from this speaker as it is."""
    kind = part.get("type")
    return kind in _BLOCKS.get(said_by, ()) and (kind != "image" or "source" in part)


def is_choice(asked: Json) -> bool:
    """Whether a tool_choice is in Claude's form."""
    return asked.get("type") in _CHOICES


def mark(item: Json, place: str) -> Json | None:
    """The mark up to which the prompt is cached, in either API's words; None without one."""
    own = given(item, "cache_control", dict, place)
    if own is not None:
        where = below(place, "cache_control")
        choice(own, "type", ("ephemeral",), where)
        lives = choice(own, "ttl", ("5m", "1h"), where)
    elif (other := given(item, "prompt_cache_breakpoint", dict, place)) is not None:
        # A cache of Claude's lives five minutes or an hour.
        where = below(place, "prompt_cache_breakpoint")
        lives = "1h" if choice(other, "ttl", ("30m", "12h"), where) else None
    else:
        return None
    return {"type": "ephemeral", **({"ttl": lives} if lives else {})}


def marked(blocks: list[Json], item: Json, place: str) -> list[Json]:
    """The blocks of a message or an item, the last of them marked where that carries a mark."""
    cache = mark(item, place)
    for block in reversed(blocks if cache else []):
        if not is_thought(block):
            block.setdefault("cache_control", cache)
            break
    return blocks


def thought(part: Json, place: str) -> Json | None:
    """A block of Claude's thinking; None for what has no signature, which Claude cannot check."""
    if part.get("type") == "redacted_thinking":
        return {"type": "redacted_thinking", "data": needed(part, "data", str, place)}
    signature = given(part, "signature", str, place)
    if not signature:
        return None
    text = given(part, "thinking", str, place) or ""
    return {"type": "thinking", "thinking": text, "signature": signature}


def is_thought(part: Json) -> bool:
    """Whether a part is a block of thinking."""
    return part.get("type") in _THINKING


def thoughts(item: Json, place: str) -> tuple[list[Json], list[str]]:
    """The thinking that a message carries beside its content, and the places of what is left out.

    LiteLLM writes `thinking_blocks`, OpenRouter's clients `reasoning_details`; some write the
    block itself as `thinking`, others only its text.
    """
    blocks: list[Json] = []
    left_out: list[str] = []
    for name in ("thinking_blocks", "reasoning_details", "thinking"):
        value = item.get(name)
        if isinstance(value, str) and value:
            value = [{"thinking": value, "signature": item.get("signature")}]
        elif isinstance(value, dict):
            value = [value]
        elif not isinstance(value, list):
            continue
        for where, part in objects(value, below(place, name)):
            known = {"type": "thinking", **part, "thinking": part.get("thinking", part.get("text"))}
            if part.get("type") != "redacted_thinking":
                known["type"] = "thinking"
            block = thought(known, where)
            if block is None:
                left_out.append(where)
            else:
                blocks.append(block)
        if blocks:
            break
    if not blocks and item.get("reasoning_content"):
        left_out.append(below(place, "reasoning_content"))
    return blocks, left_out


def chosen(asked: Json) -> Json:
    """A tool_choice in Claude's form."""
    wanted: Json = {"type": asked["type"]}
    if asked["type"] == "tool":
        wanted["name"] = needed(asked, "name", str, "tool_choice")
    if given(asked, "disable_parallel_tool_use", bool, "tool_choice") and asked["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return wanted


def thinking(fields: Json, traits: models.Traits, most: int, *, held: bool) -> Json | None:
    """The thinking that a request asks for in Claude's words, as its model takes it; None where
    it does not.

    Args:
        held: whether it must not think here.
    """
    wanted = given(fields, "thinking", dict)
    if wanted is None:
        return None
    kind = choice(wanted, "type", ("enabled", "adaptive", "disabled"), "thinking")
    budget = given(wanted, "budget_tokens", int, "thinking")
    if kind is None:
        raise refusal("thinking.type", "this field is required.")
    if kind == "disabled":
        return {"type": "disabled"} if traits.thinking == "adaptive" else {}
    if held or traits.thinking == "none":
        return {}
    if traits.thinking != "budget":
        return {"type": "adaptive", "display": "summarized"}
    if budget is None:
        budget = traits.budget("medium", most) or 0
    budget = min(max(budget, _LEAST_BUDGET), most - 1)
    return {"type": "enabled", "budget_tokens": budget} if budget >= _LEAST_BUDGET else {}
