"""What requests of both of OpenAI's APIs have in common, and what becomes of it with Claude."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from relay import errors
from relay.body import HALF_PAIR, NOT_JSON, check_utf8, check_values, joined, why_not_json
from relay.dialects import models
from relay.dialects.openai.fields import Json, given, needed, refusal
from relay.dialects.openai.tools import Toolbox

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
JSON_ONLY = "Answer with a single JSON object and nothing else: no words around it, no fence."
_MOST_USER_CHARS = 256
_MOST_SESSION_CHARS = 128


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose for all requests in OpenAI's words.

    Args:
        aliases: Claude's models by the names that clients may use for them.
        marks_cache: whether the prompt is cached where the client marks nothing itself.
        traits: the traits of a model by its name.
        most_tokens: bounds the answer where the client does not.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    marks_cache: bool = False
    traits: Callable[[str], models.Traits] = models.traits
    most_tokens: int = 0

    def usual_most(self, traits: models.Traits) -> int:
        """How long an answer may be where the client does not say."""
        return min(traits.max_output, self.most_tokens or traits.max_output)


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
        forced: the tool whose call the answer's text is; see forced.py.
        left_out: the places of what Claude cannot have, with what stood there.
    """

    body: Json
    box: Toolbox
    session: str
    echo: Json
    shows_thinking: bool
    names_sources: bool
    forced: str = ""
    left_out: tuple[str, ...] = ()


def parse(body: bytes) -> Json:
    """A request's fields out of its bytes; raises errors.BadRequest.

    Half a surrogate pair, which clients make that cut texts, becomes U+FFFD: it would be in every
    later request of the conversation too.
    """
    try:
        return _parsed(body)
    except errors.BadRequest as error:
        whole = joined(body) if error.message == HALF_PAIR else None
        if whole is None:
            raise
        return _parsed(whole)


def _parsed(body: bytes) -> Json:
    check_utf8(body)
    check_values(body)
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise errors.BadRequest(why_not_json(body)) from None
    if not isinstance(fields, dict):
        raise errors.BadRequest(NOT_JSON)
    return fields


def named_model(fields: Json, choices: Choices) -> str:
    """The model of Claude's that is asked for, by its own name or another."""
    model = needed(fields, "model", str)
    model = choices.aliases.get(model, model)
    if not model or len(model) > 256 or not model.isprintable():
        raise refusal("model", "a model's name has 1 to 256 printable characters.")
    return model


def json_schema(wanted: Json, place: str) -> Json:
    """Claude's form of an answer that keeps to a JSON schema.

    Args:
        wanted: holds the schema and perhaps a description of what it is for.
    """
    schema = dict(needed(wanted, "schema", dict, place))
    if description := given(wanted, "description", str, place):
        schema.setdefault("description", description)
    return {"type": "json_schema", "schema": schema}


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
    if value is not None and not 0 <= value <= most:
        raise refusal(name, f"must be between 0 and {most:g}.")
    return value


def session_name(fields: Json) -> str:
    """The client's name for the conversation, or empty."""
    name = (given(fields, "prompt_cache_key", str) or "")[:_MOST_SESSION_CHARS]
    return name if name.isprintable() else ""


def person(fields: Json) -> Json:
    names = ("safety_identifier", "user")
    known = [value for name in names if (value := given(fields, name, str))]
    return {"metadata": {"user_id": known[0][:_MOST_USER_CHARS]}} if known else {}


def tier(fields: Json) -> Json:
    # The other words ask for a price or speed that Claude's API has no word for.
    tiers = {"auto": "auto", "default": "standard_only"}
    tier = tiers.get(given(fields, "service_tier", str) or "")
    return {"service_tier": tier} if tier else {}
