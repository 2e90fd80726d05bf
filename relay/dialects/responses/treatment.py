"""What becomes of every field of a request, and the refusal of those that Claude cannot do."""

from collections.abc import Callable

from relay.dialects.openai.fields import IGNORED, REFUSED, TRANSLATED, Json, below, given, refusal

# What becomes of every field of a request; docs/openai-responses.md says why. A refused field is
# refused only where its value asks for something. A field that is not here is ignored.
FIELDS: dict[str, str] = {
    "access_programs": IGNORED,
    "background": REFUSED,
    "background_options": IGNORED,
    "context_management": IGNORED,
    "conversation": REFUSED,
    "image": IGNORED,
    "include": TRANSLATED,
    "input": TRANSLATED,
    "instructions": TRANSLATED,
    "max_output_tokens": TRANSLATED,
    "max_tool_calls": TRANSLATED,
    "metadata": TRANSLATED,
    "model": TRANSLATED,
    "moderation": REFUSED,
    "parallel_tool_calls": TRANSLATED,
    "previous_response_id": REFUSED,
    "prompt": REFUSED,
    "prompt_cache_key": TRANSLATED,
    "prompt_cache_options": REFUSED,
    "prompt_cache_retention": IGNORED,
    "reasoning": TRANSLATED,
    "safety_identifier": TRANSLATED,
    "service_tier": TRANSLATED,
    "store": IGNORED,
    "stream": TRANSLATED,
    "stream_options": IGNORED,
    "temperature": TRANSLATED,
    "text": TRANSLATED,
    "tool_choice": TRANSLATED,
    "tools": TRANSLATED,
    "top_logprobs": REFUSED,
    "top_p": TRANSLATED,
    "truncation": IGNORED,
    "user": TRANSLATED,
}

_NOT_STORED = "the relay stores no conversations: send all items of the conversation as input."


def check(fields: Json) -> None:
    """Refuse what a refused field asks for; raises errors.BadRequest."""
    for name, refuse in _REFUSALS.items():
        refuse(fields, name)


def _refuse(sentence: str) -> Callable[[Json, str], None]:
    def check(fields: Json, name: str) -> None:
        if fields.get(name):
            raise refusal(name, sentence)

    return check


def _refuse_prewarm(fields: Json, name: str) -> None:
    options = given(fields, name, dict) or {}
    if given(options, "prewarm", bool, name):
        raise refusal(below(name, "prewarm"), "the relay only sends requests that are answered.")


_REFUSALS: dict[str, Callable[[Json, str], None]] = {
    "background": _refuse("the relay answers at once; leave it out or send false."),
    "conversation": _refuse(_NOT_STORED),
    "moderation": _refuse("Claude's API does not moderate for others."),
    "previous_response_id": _refuse(_NOT_STORED),
    "prompt": _refuse("prompt templates are kept at OpenAI; send their text as input."),
    "prompt_cache_options": _refuse_prewarm,
    "top_logprobs": _refuse("Claude does not tell the probabilities of tokens."),
}
