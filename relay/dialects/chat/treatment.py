"""What becomes of every field of a request, and the refusal of those that Claude cannot do."""

from relay.dialects.openai.fields import IGNORED, REFUSED, TRANSLATED, Json, refusal

# docs/openai-chat.md says why. A refused field is refused only where its value asks for
# something. A field that is not here is ignored.
FIELDS: dict[str, str] = {
    "audio": REFUSED,
    "frequency_penalty": IGNORED,
    "function_call": TRANSLATED,
    "functions": TRANSLATED,
    "logit_bias": REFUSED,
    "logprobs": REFUSED,
    "max_completion_tokens": TRANSLATED,
    "max_tokens": TRANSLATED,
    "messages": TRANSLATED,
    "metadata": IGNORED,
    "modalities": REFUSED,
    "model": TRANSLATED,
    "moderation": REFUSED,
    "n": REFUSED,
    "parallel_tool_calls": TRANSLATED,
    "prediction": IGNORED,
    "presence_penalty": IGNORED,
    "prompt_cache_key": TRANSLATED,
    "prompt_cache_options": IGNORED,
    "prompt_cache_retention": IGNORED,
    "reasoning_effort": TRANSLATED,
    "response_format": TRANSLATED,
    "safety_identifier": TRANSLATED,
    "seed": IGNORED,
    "service_tier": TRANSLATED,
    "stop": TRANSLATED,
    "store": IGNORED,
    "stream": TRANSLATED,
    "stream_options": TRANSLATED,
    "temperature": TRANSLATED,
    "tool_choice": TRANSLATED,
    "tools": TRANSLATED,
    "top_logprobs": REFUSED,
    "top_p": TRANSLATED,
    "user": TRANSLATED,
    "verbosity": IGNORED,
    "web_search_options": REFUSED,
}

_PROBABILITIES = "Claude does not tell the probabilities of tokens."
_REFUSALS: dict[str, tuple[str, tuple[object, ...]]] = {
    "audio": ("Claude does not speak.", ()),
    "logit_bias": ("Claude's tokens cannot be weighted.", ({},)),
    "logprobs": (_PROBABILITIES, (False,)),
    "modalities": ("Claude answers in text only.", (["text"], [])),
    "moderation": ("Claude's API does not moderate for others.", ()),
    "n": ("Claude gives one answer to a request.", (1,)),
    "top_logprobs": (_PROBABILITIES, (0,)),
    "web_search_options": ("searches are offered by the Responses API only.", ()),
}


def check(fields: Json) -> None:
    """Refuse what a refused field asks for; raises errors.BadRequest."""
    for name, (sentence, harmless) in _REFUSALS.items():
        value = fields.get(name)
        # True equals 1 in Python, and so counts as neither.
        is_harmless = any(type(one) is type(value) and one == value for one in harmless)
        if value is not None and not is_harmless:
            raise refusal(name, sentence)
