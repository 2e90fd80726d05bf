"""The refusal of what a request asks for and Claude cannot do.

docs/openai-chat.md and docs/openai-fields.md say what becomes of every field.
"""

from relay.dialects.openai.fields import Json, refusal

_PROBABILITIES = "Claude does not tell the probabilities of tokens."
# Why, and the values that ask for nothing.
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
