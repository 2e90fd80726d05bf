"""What a request can bring about beside one answer of its own model: each run of a model, and how
much it may read and put out at most.

Sources: platform.claude.com/docs/en/api/messages (fallbacks, advisor tools, compaction, server
tools). What they leave open is taken at its dearest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# Tokens that the largest context of a model holds, and that the longest answer has where nothing
# bounds it.
LARGEST_CONTEXT, LARGEST_OUTPUT = 1_000_000, 128_000
# An advisor and a summary have instructions of their own; an advisor may put out so much whatever
# its tool says.
_INSTRUCTIONS, _LEAST_ADVICE = 4096, 1024
# The model of a fallback that the upstream chooses.
ANY_MODEL = ""


@dataclass(frozen=True, slots=True)
class Fallback:
    """A model that may serve after those before it declined.

    Args:
        model: ANY_MODEL where the upstream chooses.
        max_tokens: the request's own if None.
    """

    model: str
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Advisor:
    """A model that the one which serves may ask, so often, each time about the whole transcript."""

    model: str
    uses: int
    max_tokens: int = LARGEST_OUTPUT


@dataclass(frozen=True, slots=True)
class Reach:
    """What a request names beside its model, its size and its max_tokens.

    Args:
        hidden_tokens: of its prompt that its bytes do not show: tools' instructions, pictures.
        tool_uses: how often the upstream may use tools of its own. Each may read as much as a
            model's context holds, and cost as much as a search.
        is_fast: some model in it may be served in fast mode.
        geo: where it asks to be served, "us" or "global"; empty leaves it to the workspace.
        compacts: how often its prompt may be compacted; None is once in each pass.
        summarizes: it asks for a summary of its prompt.
    """

    hidden_tokens: int = 0
    tool_uses: int = 0
    is_fast: bool = False
    geo: str = ""
    fallbacks: tuple[Fallback, ...] = ()
    advisors: tuple[Advisor, ...] = ()
    compacts: int | None = 0
    summarizes: bool = False

    @property
    def is_single(self) -> bool:
        """Whether one pass of its own model is all that it brings about."""
        return not (
            self.tool_uses
            or self.fallbacks
            or self.advisors
            or self.compacts != 0
            or self.summarizes
        )

    def prompt(self, size: int) -> int:
        """The most tokens of a prompt of so many bytes; no token is shorter than a byte."""
        return max(size, min(size + self.hidden_tokens, LARGEST_CONTEXT))


PLAIN = Reach()


class Run(NamedTuple):
    """What a model may read and put out, in tokens, over all its passes.

    Args:
        others: it may be billed at one of these models just as well.
        is_beside: it stands beside the answer that its request is about.
    """

    model: str
    input: int
    output: int
    is_beside: bool = False
    others: tuple[str, ...] = ()


def runs(model: str, size: int, max_tokens: int, reach: Reach) -> Iterator[Run]:
    """All that a request of so many bytes may have run, if everything in it happens."""
    prompt = reach.prompt(size)
    asked = sum(advisor.uses for advisor in reach.advisors)
    advice = sum(advisor.uses * _advice(advisor) for advisor in reach.advisors)
    passes = 1 + reach.tool_uses + asked
    compacts = passes if reach.compacts is None else reach.compacts
    own = Fallback(model, max_tokens)
    for hop in (own, *reach.fallbacks):
        output = max_tokens if hop.max_tokens is None else hop.max_tokens
        # Each pass reads what those before it put out and found.
        grown = _within(prompt, LARGEST_CONTEXT if reach.tool_uses else output + advice)
        yield Run(hop.model, prompt + (passes - 1) * grown, passes * output)
        if compacts:
            read = _within(prompt, LARGEST_CONTEXT)
            yield Run(hop.model, compacts * read, compacts * output, True, (model,))
        if reach.summarizes:
            yield Run(hop.model, _within(prompt, _INSTRUCTIONS), output, True, (model,))
        for advisor in reach.advisors:
            read, put_out = _within(grown, _INSTRUCTIONS), _advice(advisor)
            yield Run(advisor.model, advisor.uses * read, advisor.uses * put_out, True)
        # The next model goes on with what this one has said.
        prompt = _within(prompt, passes * output)


def _within(prompt: int, more: int) -> int:
    """A prompt that grew, within what a context holds."""
    return max(prompt, min(prompt + more, LARGEST_CONTEXT))


def _advice(advisor: Advisor) -> int:
    return max(advisor.max_tokens, _LEAST_ADVICE)
