"""A request of the Responses API as a request of the Messages API."""

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from relay import errors
from relay.dialects import models
from relay.dialects.responses import tools, treatment
from relay.dialects.responses.echo import echo
from relay.dialects.responses.fields import Json, choice, given, needed, objects, refusal
from relay.dialects.responses.items import Conversation
from relay.dialects.responses.tools import Toolbox

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES = ("auto", "concise", "detailed")
_LOGPROBS = "message.output_text.logprobs"
_SOURCES = "web_search_call.action.sources"
_MOST_USER_CHARS = 256
_MOST_SESSION_CHARS = 128
_MOST_CACHE_MARKS = 4
JSON_ONLY = "Answer with a single JSON object and nothing else: no words around it, no fence."


@dataclass(frozen=True, slots=True)
class Translated:
    """A request in Claude's form, and what the answer needs to know of it.

    Args:
        body: the Messages request.
        box: the tools, by which Claude's calls become the client's.
        session: the client's name for the conversation, or empty.
        echo: the request's settings as a Response repeats them.
        shows_thinking: whether summaries of the thinking were asked for.
        names_sources: whether the pages that a search found are told.
    """

    body: Json
    box: Toolbox
    session: str
    echo: Json
    shows_thinking: bool
    names_sources: bool


def parse(body: bytes) -> Json:
    """A request's fields out of its bytes; raises errors.BadRequest."""
    try:
        body.decode()
        fields = msgspec.json.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise errors.BadRequest("The request's body is not a JSON object in UTF-8.") from None
    if not isinstance(fields, dict):
        raise errors.BadRequest("The request's body is not a JSON object in UTF-8.")
    return fields


def translate(fields: Json) -> Translated:
    """A request in Claude's form.

    Raises:
        errors.BadRequest: it begins with the path of the field that cannot be taken.
    """
    treatment.check(fields)
    model = named_model(fields)
    traits = models.traits(model)
    most = given(fields, "max_output_tokens", int)
    if most is not None and most < 1:
        raise refusal("max_output_tokens", "must be at least 1.")
    most = most or traits.max_output
    talk = _conversation(fields)
    body: Json = {"model": model, "max_tokens": most, "messages": talk.messages}
    if given(fields, "stream", bool):
        body["stream"] = True
    box = _add_tools(fields, body, talk)
    effort, shown = _add_thinking(fields, body, talk, traits)
    _add_format(fields, body, talk.system)
    if talk.system:
        body["system"] = talk.system
    limit_cache_marks(body)
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    body |= sampling(fields, traits, thinks=thinks) | person(fields)
    body |= tier(fields)
    included = _included(fields)
    session = (given(fields, "prompt_cache_key", str) or "")[:_MOST_SESSION_CHARS]
    return Translated(
        body=body,
        box=box,
        session=session if session.isprintable() else "",
        echo=echo(fields, effort),
        shows_thinking=shown,
        names_sources=_SOURCES in included,
    )


def named_model(fields: Json) -> str:
    model = needed(fields, "model", str)
    if not model or len(model) > 256 or not model.isprintable():
        raise refusal("model", "a model's name has 1 to 256 printable characters.")
    return model


def _conversation(fields: Json) -> Conversation:
    talk = Conversation()
    instructions = given(fields, "instructions", str)
    if instructions:
        talk.system.append({"type": "text", "text": instructions})
    said = fields.get("input")
    if isinstance(said, str):
        talk.add([("input", {"role": "user", "content": said})])
    elif isinstance(said, list):
        talk.add(objects(said, "input"))
    else:
        raise refusal("input", "must be a string or a list of items.")
    return talk


def _add_tools(fields: Json, body: Json, talk: Conversation) -> Toolbox:
    listed = objects(given(fields, "tools", list) or [], "tools") + talk.tools
    box = tools.toolbox(listed, given(fields, "max_tool_calls", int))
    chosen = tools.tool_choice(fields, box)
    if box.described:
        body["tools"] = box.described
    if chosen:
        body["tool_choice"] = chosen
    return box


def _add_thinking(
    fields: Json, body: Json, talk: Conversation, traits: models.Traits
) -> tuple[str | None, bool]:
    """The thinking as far as it is asked for; the effort, and whether a summary is wanted."""
    wanted = given(fields, "reasoning", dict) or {}
    effort = choice(wanted, "effort", _EFFORTS, "reasoning")
    summaries = [
        choice(wanted, name, _SUMMARIES, "reasoning") for name in ("summary", "generate_summary")
    ]
    shown = any(summaries)
    if fields.get("reasoning") is not None:
        forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
        # Older models cannot begin to think in the middle of a turn.
        held = forced or (traits.thinking == "budget" and talk.lacks_thinking())
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
        schema = needed(wanted, "schema", dict, "text.format")
        shape = {"type": "json_schema", "schema": closed(schema)}
        body["output_config"] = {**body.get("output_config", {}), "format": shape}


def closed(schema: Any) -> Any:
    """A JSON schema whose objects say that they have no other properties, as Claude wants it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    done = {name: closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties", {}), dict):
        done.setdefault("additionalProperties", False)
    return done


def limit_cache_marks(body: Json) -> None:
    """Only the last marks count: Claude takes four."""
    blocks = [*body.get("system", ())]
    for message in body["messages"]:
        for block in message["content"]:
            inner = block.get("content")
            blocks += [one for one in inner if isinstance(one, dict)] if inner else []
            blocks.append(block)
    marked = [block for block in blocks if "cache_control" in block]
    for block in marked[:-_MOST_CACHE_MARKS]:
        del block["cache_control"]


def sampling(fields: Json, model: models.Traits, *, thinks: bool) -> Json:
    """Temperature, else top_p: Claude takes one of the two, and neither while it thinks."""
    temperature = _number(fields, "temperature", 2.0)
    top_p = _number(fields, "top_p", 1.0)
    if thinks or not model.samples:
        return {}
    if temperature is not None:
        return {"temperature": min(temperature, 1.0)}
    return {} if top_p is None else {"top_p": top_p}


def _number(fields: Json, name: str, most: float) -> float | None:
    value = given(fields, name, float)
    if value is not None and not (math.isfinite(value) and 0 <= value <= most):
        raise refusal(name, f"must be between 0 and {most:g}.")
    return value


def person(fields: Json) -> Json:
    names = ("safety_identifier", "user")
    known = [value for name in names if (value := given(fields, name, str))]
    return {"metadata": {"user_id": known[0][:_MOST_USER_CHARS]}} if known else {}


def tier(fields: Json) -> Json:
    # The other words ask for a price or speed that Claude's API has no word for.
    tiers = {"auto": "auto", "default": "standard_only"}
    tier = tiers.get(given(fields, "service_tier", str) or "")
    return {"service_tier": tier} if tier else {}


def _included(fields: Json) -> list[str]:
    included = given(fields, "include", list) or []
    for index, one in enumerate(included):
        if not isinstance(one, str):
            raise refusal(f"include[{index}]", "must be a string.")
        if one == _LOGPROBS:
            raise refusal(f"include[{index}]", "Claude does not tell the probabilities of tokens.")
    return included
