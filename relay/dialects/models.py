"""What Claude's models differ in as far as a translated request must know it.

An upstream's list of models says most of it. What no list says is taken from the name, by version:
a model that comes out tomorrow is taken for like the newest, and so is a name without a version
(an account's own name for a model).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_NEW = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_OLD = re.compile(r"claude-(\d)(?:-(\d))?-([a-z]+)")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# The part of max_tokens that an older model may think with, by effort.
_SHARES = {"low": 0.2, "medium": 0.4, "high": 0.6, "xhigh": 0.8, "max": 0.8}
# The lines that come before Opus and Sonnet.
_LARGE = ("fable", "mythos")
_MOST_OUTPUT = 10_000_000
_LEAST_BUDGET = 1024
_MOST_BUDGET = 32_000


@dataclass(frozen=True, slots=True)
class Traits:
    """A model's limits and habits.

    Args:
        max_output: the most tokens of an answer.
        thinking: "none", "budget" (a number of tokens), "adaptive" or "always" (cannot be off).
        efforts: the values of output_config.effort, none where the model does not know it.
        samples: whether it takes temperature and top_p.
        takes_forced: whether it takes a tool_choice that forces a call.
        continues: whether it goes on with a last turn of its own (a prefill).
        structures: whether it can hold an answer to a JSON schema.
    """

    max_output: int
    thinking: str
    efforts: tuple[str, ...]
    samples: bool
    takes_forced: bool = True
    continues: bool = True
    structures: bool = True

    def effort(self, wanted: str) -> str | None:
        """The nearest effort that the model knows, not above the wanted one where there is one."""
        if not self.efforts:
            return None
        place = _EFFORTS.index(wanted)
        below = [one for one in self.efforts if _EFFORTS.index(one) <= place]
        return below[-1] if below else self.efforts[0]

    def budget(self, wanted: str, max_tokens: int) -> int | None:
        """Tokens to think with, or None where the answer's bound leaves no room for them."""
        most = min(int(max_tokens * _SHARES[wanted]), _MOST_BUDGET)
        budget = max(most, _LEAST_BUDGET)
        return budget if budget < max_tokens else None


def traits(model: str) -> Traits:
    """The traits of a model by its name."""
    family, version = _version(model)
    if version < (4, 0):
        has_budget = version >= (3, 7)
        output = 64_000 if has_budget else 8192 if version >= (3, 5) else 4096
        thinks = "budget" if has_budget else "none"
        return Traits(output, thinks, (), True, structures=False)
    if version < (4, 6):
        output = 32_000 if family == "opus" and version < (4, 5) else 64_000
        efforts = _EFFORTS[:3] if family == "opus" and version >= (4, 5) else ()
        return Traits(output, "budget", efforts, True, structures=version >= (4, 5))
    is_always = family in _LARGE or (family in ("opus", "sonnet") and version >= (5, 5))
    thinks = "always" if is_always else "adaptive"
    if version < (4, 7):
        output = 128_000 if family == "opus" else 64_000
        return Traits(output, thinks, ("low", "medium", "high", "max"), True, continues=False)
    takes_forced = family == "haiku" or version < ((5, 1) if family in _LARGE else (5, 5))
    return Traits(128_000, thinks, _EFFORTS, False, takes_forced, continues=False)


def told(entry: Mapping[str, Any]) -> Traits:
    """The traits of a model by its entry in an upstream's list (GET /v1/models).

    Whatever the entry does not say, or says in an unknown form, is taken from the name. Which
    models take forced tools and a prefill stands in no list.
    """
    name = entry.get("id")
    known = traits(name if isinstance(name, str) else "")
    most = entry.get("max_tokens")
    if type(most) is int and 0 < most <= _MOST_OUTPUT:
        known = replace(known, max_output=most)
    capabilities = _object(entry.get("capabilities"))
    efforts = _object(capabilities.get("effort"))
    if isinstance(efforts.get("supported"), bool):
        named = [word for word in _EFFORTS if _object(efforts.get(word)).get("supported") is True]
        known = replace(known, efforts=tuple(named) if efforts["supported"] else ())
    structured = _object(capabilities.get("structured_outputs")).get("supported")
    if isinstance(structured, bool):
        known = replace(known, structures=structured)
    return replace(known, thinking=_thinking_told(capabilities) or known.thinking)


def _thinking_told(capabilities: Mapping[str, Any]) -> str:
    """A model's kind of thinking, or empty where the list does not say."""
    given = _object(capabilities.get("thinking"))
    if given.get("supported") is False:
        return "none"
    types = _object(given.get("types"))
    takes = {
        name: _object(types.get(name)).get("supported")
        for name in ("adaptive", "disabled", "enabled")
    }
    if takes["adaptive"] is True:
        return "always" if takes["disabled"] is False else "adaptive"
    return "budget" if takes["enabled"] is True else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _version(model: str) -> tuple[str, tuple[int, int]]:
    if match := _OLD.search(model):
        return match[3], (int(match[1]), int(match[2] or 0))
    if match := _NEW.search(model):
        return match[1], (int(match[2]), int(match[3] or 0))
    return "", (99, 0)


def thinking(
    model: Traits, effort: str | None, max_tokens: int, *, shown: bool, held: bool
) -> dict[str, Any]:
    """The fields of a request that make Claude think as much as is wanted.

    Args:
        effort: OpenAI's word: none, minimal, low, medium, high, xhigh, max; None for the default.
        shown: whether the client wants to see a summary of the thinking.
        held: whether it must not think here: a tool is forced, say, which does not go with it.
    """
    fields: dict[str, Any] = {}
    known = model.effort("low" if effort in ("none", "minimal") else effort) if effort else None
    if known and (effort != "none" or model.thinking == "always"):
        fields["output_config"] = {"effort": known}
    if effort == "none":
        if model.thinking == "adaptive":
            fields["thinking"] = {"type": "disabled"}
        return fields
    if held or model.thinking == "none":
        return fields
    if model.thinking == "budget":
        wanted = "low" if effort == "minimal" else effort or "medium"
        if budget := model.budget(wanted, max_tokens):
            fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        return fields
    fields["thinking"] = {"type": "adaptive", **({"display": "summarized"} if shown else {})}
    return fields
