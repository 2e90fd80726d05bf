"""A request of the Chat Completions API as a request of the Messages API."""

from relay.dialects import models
from relay.dialects.chat import unable
from relay.dialects.chat.messages import Chat
from relay.dialects.openai import caching, claudes, ending, forced, schemas, tools
from relay.dialects.openai.asked import (
    EFFORTS,
    JSON_ONLY,
    Choices,
    Translated,
    json_schema,
    named_model,
    person,
    sampling,
    session_name,
    tier,
)
from relay.dialects.openai.fields import (
    Json,
    as_kind,
    below,
    choice,
    given,
    most_tokens,
    needed,
    objects,
    refusal,
)

_MOST_STOPS = 4
_NO_CHOICES = Choices()


def translate(fields: Json, choices: Choices = _NO_CHOICES) -> Translated:
    """A request in Claude's form.

    Raises:
        errors.BadRequest: it begins with the path of the field that cannot be taken.
    """
    unable.check(fields)
    model = named_model(fields, choices)
    traits = choices.traits(model)
    most = _most(fields) or choices.usual_most(traits)
    talk = Chat()
    talk.instruct(fields)
    talk.add(objects(needed(fields, "messages", list), "messages"))
    is_old = not fields.get("tools") and bool(fields.get("functions"))
    box = tools.toolbox(_functions(fields) if is_old else _tools(fields), None)
    chosen = tools.tool_choice(_choice(fields, is_old=is_old), box)
    body: Json = {"model": model, "max_tokens": most, "messages": talk.messages}
    if given(fields, "stream", bool):
        body["stream"] = True
    if box.described:
        body["tools"] = box.described
    if chosen:
        body["tool_choice"] = chosen
    _add_thinking(fields, body, talk, traits)
    if mark := claudes.mark(fields, ""):
        body["cache_control"] = mark
    _add_format(fields, body, talk.system)
    if talk.system:
        body["system"] = talk.system
    call = forced.settle(body, box, traits)
    schemas.settle(body, is_held=traits.structures)
    caching.settle_marks(body, fields, by_default=choices.marks_cache)
    ending.settle(body, traits)
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    body |= _stops(fields) | sampling(fields, traits, thinks=thinks)
    body |= person(fields) | tier(fields)
    options = given(fields, "stream_options", dict) or {}
    usage = given(options, "include_usage", bool, "stream_options")
    return Translated(
        body=body,
        box=box,
        session=session_name(fields),
        echo={"include_usage": bool(usage), "is_old": is_old},
        shows_thinking=True,
        names_sources=False,
        forced=call,
        left_out=(*box.left_out, *talk.left_out),
    )


def _add_thinking(fields: Json, body: Json, talk: Chat, traits: models.Traits) -> None:
    """The thinking as far as it is asked for, in OpenAI's words or in Claude's."""
    most = body["max_tokens"]
    effort = choice(fields, "reasoning_effort", EFFORTS)
    # Older models must be given their thinking back with a tool's result.
    lacks = traits.thinking == "budget" and _goes_on(talk.messages) and not talk.thinks
    held = lacks or body.get("tool_choice", {}).get("type") in ("any", "tool")
    if effort:
        body |= models.thinking(traits, effort, most, shown=True, held=held)
    wanted = claudes.thinking(fields, traits, most, held=held)
    if wanted:
        body["thinking"] = wanted
    elif wanted is not None:
        body.pop("thinking", None)


def _goes_on(messages: list[Json]) -> bool:
    return any(block["type"] == "tool_result" for block in messages[-1]["content"])


def _most(fields: Json) -> int | None:
    found = None
    for name in ("max_tokens", "max_completion_tokens"):
        found = most_tokens(fields, name) or found
    return found


def _tools(fields: Json) -> list[tuple[str, Json]]:
    return [
        _flat(tool, place) for place, tool in objects(given(fields, "tools", list) or [], "tools")
    ]


def _functions(fields: Json) -> list[tuple[str, Json]]:
    listed = objects(needed(fields, "functions", list), "functions")
    return [(place, {**function, "type": "function"}) for place, function in listed]


def _flat(tool: Json, place: str) -> tuple[str, Json]:
    """A function as the Responses API writes it, without the object around it; others as they are.

    Some clients leave out the object, or write tools as Claude has them.
    """
    if claudes.is_tool(tool):
        return place, tool
    kind = given(tool, "type", str, place)
    if kind == "custom":
        raise refusal(below(place, "type"), "custom tools have no counterpart with Claude.")
    if kind == "function" or (kind is None and ("function" in tool or "name" in tool)):
        if "name" in tool and "function" not in tool:
            return place, {**tool, "type": "function"}
        function = needed(tool, "function", dict, place)
        marks = {name: tool[name] for name in claudes.MARKS if name in tool}
        return below(place, "function"), {**marks, **function, "type": "function"}
    return place, tool


def _choice(fields: Json, *, is_old: bool) -> Json:
    """What tools may be called, as the Responses API writes it."""
    if is_old:
        wanted = fields.get("function_call")
        if isinstance(wanted, dict):
            name = needed(wanted, "name", str, "function_call")
            wanted = {"type": "function", "name": name}
        else:
            choice(fields, "function_call", ("none", "auto"))
        return {"tool_choice": wanted, "parallel_tool_calls": False}
    wanted = fields.get("tool_choice")
    known = {"parallel_tool_calls": fields.get("parallel_tool_calls")}
    if not isinstance(wanted, dict):
        return {**known, "tool_choice": wanted}
    if needed(wanted, "type", str, "tool_choice") == "custom":
        raise refusal("tool_choice.type", "custom tools have no counterpart with Claude.")
    return {**known, "tool_choice": wanted}


def _add_format(fields: Json, body: Json, system: list[Json]) -> None:
    wanted = given(fields, "response_format", dict)
    if wanted is None:
        return
    place = "response_format"
    kind = choice(wanted, "type", ("text", "json_object", "json_schema"), place)
    if kind is None:
        raise refusal(below(place, "type"), "this field is required.")
    if kind == "json_object":
        system.append({"type": "text", "text": JSON_ONLY})
    elif kind == "json_schema":
        inner = needed(wanted, "json_schema", dict, place)
        shape = json_schema(inner, below(place, "json_schema"))
        body["output_config"] = {**body.get("output_config", {}), "format": shape}


def _stops(fields: Json) -> Json:
    # The second is Claude's own name for it.
    name = "stop_sequences" if fields.get("stop") is None else "stop"
    stop = fields.get(name)
    if stop is None:
        return {}
    listed = [stop] if isinstance(stop, str) else as_kind(stop, list, name)
    if len(listed) > _MOST_STOPS:
        raise refusal(name, f"holds at most {_MOST_STOPS} texts.")
    texts = [as_kind(one, str, f"{name}[{index}]") for index, one in enumerate(listed)]
    for text in texts:
        if not text.strip():
            raise refusal(name, "Claude stops at no text that is only white space.")
    return {"stop_sequences": texts} if texts else {}
