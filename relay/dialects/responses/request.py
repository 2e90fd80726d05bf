"""A request of the Responses API as a request of the Messages API."""

from relay.dialects import models
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
from relay.dialects.openai.fields import Json, choice, given, most_tokens, objects, refusal
from relay.dialects.openai.tools import Toolbox
from relay.dialects.responses import unable
from relay.dialects.responses.echo import echo
from relay.dialects.responses.items import Items

_SUMMARIES = ("auto", "concise", "detailed")
_LOGPROBS = "message.output_text.logprobs"
_SOURCES = "web_search_call.action.sources"
_NO_CHOICES = Choices()


def translate(fields: Json, choices: Choices = _NO_CHOICES) -> Translated:
    """A request in Claude's form.

    Raises:
        errors.BadRequest: it begins with the path of the field that cannot be taken.
    """
    unable.check(fields)
    model = named_model(fields, choices)
    traits = choices.traits(model)
    most = most_tokens(fields, "max_output_tokens") or choices.usual_most(traits)
    talk = _conversation(fields)
    body: Json = {"model": model, "max_tokens": most, "messages": talk.messages}
    if given(fields, "stream", bool):
        body["stream"] = True
    box = _add_tools(fields, body, talk)
    effort, shown = _add_thinking(fields, body, talk, traits)
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
    body |= sampling(fields, traits, thinks=thinks) | person(fields)
    body |= tier(fields)
    included = _included(fields)
    return Translated(
        body=body,
        box=box,
        session=session_name(fields),
        echo=echo(fields, effort),
        shows_thinking=shown,
        names_sources=_SOURCES in included,
        forced=call,
        left_out=(*box.left_out, *talk.left_out),
    )


def _conversation(fields: Json) -> Items:
    talk = Items()
    instructions = given(fields, "instructions", str)
    if instructions and not instructions.isspace():
        talk.system.append({"type": "text", "text": instructions})
    said = fields.get("input")
    if isinstance(said, str):
        talk.add([("input", {"role": "user", "content": said})])
    elif isinstance(said, list):
        talk.add(objects(said, "input"))
    else:
        raise refusal("input", "must be a string or a list of items.")
    return talk


def _add_tools(fields: Json, body: Json, talk: Items) -> Toolbox:
    listed = objects(given(fields, "tools", list) or [], "tools") + talk.tools
    box = tools.toolbox(listed, given(fields, "max_tool_calls", int))
    chosen = tools.tool_choice(fields, box)
    if box.described:
        body["tools"] = box.described
    if chosen:
        body["tool_choice"] = chosen
    return box


def _add_thinking(
    fields: Json, body: Json, talk: Items, traits: models.Traits
) -> tuple[str | None, bool]:
    """The thinking as far as it is asked for; the effort, and whether a summary is wanted."""
    wanted = given(fields, "reasoning", dict) or {}
    effort = choice(wanted, "effort", EFFORTS, "reasoning")
    summaries = [
        choice(wanted, name, _SUMMARIES, "reasoning") for name in ("summary", "generate_summary")
    ]
    shown = any(summaries)
    if fields.get("reasoning") is not None:
        is_forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
        # Older models cannot begin to think in the middle of a turn.
        held = is_forced or (traits.thinking == "budget" and talk.lacks_thinking())
        most = body["max_tokens"]
        body |= models.thinking(traits, effort, most, shown=shown, held=held)
    return effort, shown


def _add_format(fields: Json, body: Json, system: list[Json]) -> None:
    """The form of the answer's text: a JSON schema Claude is held to, plain JSON it is told of."""
    text = given(fields, "text", dict) or {}
    wanted = given(text, "format", dict, "text")
    if wanted is None:
        return
    kinds = ("text", "json_object", "json_schema")
    kind = choice(wanted, "type", kinds, "text.format")
    if kind is None:
        raise refusal("text.format.type", "this field is required.")
    if kind == "json_object":
        system.append({"type": "text", "text": JSON_ONLY})
    elif kind == "json_schema":
        shape = json_schema(wanted, "text.format")
        body["output_config"] = {**body.get("output_config", {}), "format": shape}


def _included(fields: Json) -> list[str]:
    included = given(fields, "include", list) or []
    for index, one in enumerate(included):
        if not isinstance(one, str):
            raise refusal(f"include[{index}]", "must be a string.")
        if one == _LOGPROBS:
            raise refusal(f"include[{index}]", "Claude does not tell the probabilities of tokens.")
    return included
