"""A request of the Chat Completions API as a request of the Messages API."""

from relay.dialects import models
from relay.dialects.chat import unable
from relay.dialects.chat.messages import Chat
from relay.dialects.openai import caching, ending, forced, tools
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
    effort = choice(fields, "reasoning_effort", EFFORTS)
    if effort:
        # Thinking has no place in a chat's messages, and older models must be given theirs back
        # with a tool's result.
        held = _is_forced(chosen) or (traits.thinking == "budget" and _goes_on(talk.messages))
        body |= models.thinking(traits, effort, most, shown=True, held=held)
    _add_format(fields, body, talk.system)
    if talk.system:
        body["system"] = talk.system
    call = forced.settle(body, box, traits)
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
    )


def _is_forced(chosen: Json | None) -> bool:
    return chosen is not None and chosen["type"] in ("any", "tool")


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
    """A function as the Responses API writes it, without the object around it."""
    kind = needed(tool, "type", str, place)
    if kind != "function":
        raise refusal(below(place, "type"), f"{kind} tools have no counterpart with Claude.")
    function = needed(tool, "function", dict, place)
    return below(place, "function"), {**function, "type": "function"}


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
    if needed(wanted, "type", str, "tool_choice") != "allowed_tools":
        return {**known, "tool_choice": _flat(wanted, "tool_choice")[1]}
    allowed = needed(wanted, "allowed_tools", dict, "tool_choice")
    place = "tool_choice.allowed_tools"
    listed = objects(needed(allowed, "tools", list, place), below(place, "tools"))
    flat = [_flat(one, where)[1] for where, one in listed]
    mode = choice(allowed, "mode", ("auto", "required"), place)
    return {**known, "tool_choice": {"type": "allowed_tools", "mode": mode, "tools": flat}}


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
    stop = fields.get("stop")
    if stop is None:
        return {}
    listed = [stop] if isinstance(stop, str) else as_kind(stop, list, "stop")
    if len(listed) > _MOST_STOPS:
        raise refusal("stop", f"holds at most {_MOST_STOPS} texts.")
    texts = [as_kind(one, str, f"stop[{index}]") for index, one in enumerate(listed)]
    for text in texts:
        if not text.strip():
            raise refusal("stop", "Claude stops at no text that is only white space.")
    return {"stop_sequences": texts} if texts else {}
