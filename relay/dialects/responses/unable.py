"""The refusal of what a request asks for and Claude cannot do.

docs/openai-responses.md and docs/openai-fields.md say what becomes of every field.
"""

from collections.abc import Callable

from relay.dialects.openai.fields import Json, below, given, refusal

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
