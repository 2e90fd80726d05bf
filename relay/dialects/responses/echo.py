"""The settings of a request that every Response object of its answer repeats."""

from relay.dialects.openai.fields import Json, below, choice, given, refusal


def echo(fields: Json, effort: str | None) -> Json:
    """The repeated settings, with the API's own defaults; raises errors.BadRequest."""
    reasoning = fields.get("reasoning") or {}
    return {
        "background": False,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "max_tool_calls": fields.get("max_tool_calls"),
        "metadata": _metadata(fields),
        "parallel_tool_calls": fields.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": fields.get("prompt_cache_key"),
        "reasoning": {"effort": effort, "summary": reasoning.get("summary")},
        "safety_identifier": fields.get("safety_identifier"),
        "temperature": _default(fields, "temperature", 1.0),
        "text": _text(fields),
        "tool_choice": fields.get("tool_choice") or "auto",
        "tools": fields.get("tools") or [],
        "top_logprobs": 0,
        "top_p": _default(fields, "top_p", 1.0),
        "truncation": "disabled",
        "user": fields.get("user"),
    }


def _text(fields: Json) -> Json:
    text = fields.get("text") or {}
    shape = text.get("format") or {"type": "text"}
    verbosity = choice(text, "verbosity", ("low", "medium", "high"), "text")
    return {"format": shape, "verbosity": verbosity or "medium"}


def _default(fields: Json, name: str, default: float) -> float:
    value: float | None = fields.get(name)
    return default if value is None else value


def _metadata(fields: Json) -> Json:
    metadata = given(fields, "metadata", dict) or {}
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise refusal(below("metadata", name), "must be a string.")
    return metadata
