"""What Claude's models differ in as far as a translated request must know it.

By version, not by a list of names: a model that comes out tomorrow is taken for like the newest.
A name without a version (an account's own name for a model) is taken so as well.
"""

import re
from dataclasses import dataclass
from typing import Any

_NEW = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_OLD = re.compile(r"claude-(\d)(?:-(\d))?-([a-z]+)")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# The part of max_tokens that an older model may think with, by effort.
_SHARES = {"low": 0.2, "medium": 0.4, "high": 0.6, "xhigh": 0.8, "max": 0.8}
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
    """

    max_output: int
    thinking: str
    efforts: tuple[str, ...]
    samples: bool

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
        return Traits(output, "budget" if has_budget else "none", (), True)
    if version < (4, 6):
        output = 32_000 if family == "opus" and version < (4, 5) else 64_000
        efforts = _EFFORTS[:3] if family == "opus" and version >= (4, 5) else ()
        return Traits(output, "budget", efforts, True)
    is_always = family in ("fable", "mythos") or (family == "opus" and version >= (5, 5))
    thinking = "always" if is_always else "adaptive"
    if version < (4, 7):
        output = 128_000 if family == "opus" else 64_000
        return Traits(output, thinking, ("low", "medium", "high", "max"), True)
    return Traits(128_000, thinking, _EFFORTS, False)


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
