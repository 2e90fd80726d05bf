"""What an answer used: tokens by class, and the parts of it that are billed alike."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

# No figure of tokens that a client or an upstream names counts for more: ten of the largest
# contexts.
MOST_TOKENS = 10_000_000
# The same of uses of an upstream's tools.
MOST_USES = 100_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an attempt used. `input` is without cache reads and writes."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0

    @property
    def prompt(self) -> int:
        """The whole prompt: what was read of it anew, from the cache and into the cache."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def per_minute(self) -> int:
        """What counts for tokens per minute: all but what the cache held."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.output

    @property
    def any(self) -> bool:
        """Whether there is anything to pay for."""
        return self != NO_TOKENS

    def plus(self, other: "Tokens") -> "Tokens":
        """The sum, class by class."""
        return Tokens(*(getattr(self, name) + getattr(other, name) for name in CLASSES))

    def at_least(self, other: "Tokens") -> "Tokens":
        """The larger figure of each class."""
        return Tokens(*(max(getattr(self, name), getattr(other, name)) for name in CLASSES))


CLASSES = tuple(field.name for field in fields(Tokens))
NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer that is billed at one model's prices and was served in one way.

    Args:
        kind: "message" for what the answer's own `usage` counts, else the type of the iteration
            that stands beside it; "unbilled" for what the upstream reports and does not charge.
        is_fast: served at fast mode's prices.
        is_us: served by inference that is held to the US.
        pass_tokens: the prompt of its largest sampling pass, by which a price by prompt size goes;
            0 where the part was a single pass.
        unknown_tokens, unknown_uses: tokens and uses of tools of classes that the relay does not
            know; they cost what the dearest known class does.
    """

    model: str
    tokens: Tokens
    kind: str = "message"
    is_fast: bool = False
    is_us: bool = False
    pass_tokens: int = 0
    unknown_tokens: int = 0
    unknown_uses: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether its model and its tokens say all of it."""
        return self.kind == "message" and not (
            self.is_fast
            or self.is_us
            or self.pass_tokens
            or self.unknown_tokens
            or self.unknown_uses
        )


@dataclass(frozen=True, slots=True)
class Bill:
    """All billed parts of one answer, the answer's own first.

    Args:
        remarks: what the relay does not know of this usage, or found to disagree; short texts that
            begin with the field's name.
    """

    parts: tuple[Part, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def tokens(self) -> Tokens:
        """The sum over all parts."""
        return _total(self.parts)

    def tokens_of(self, model: str) -> Tokens:
        """The sum over the parts of a model."""
        return _total(part for part in self.parts if part.model == model)

    @property
    def parts_to_store(self) -> tuple[Part, ...]:
        """The parts, unless there is but one, of which the sum and the model say all."""
        return self.parts if any(not part.is_plain for part in self.parts) else ()

    def with_output(self, least: int) -> "Bill":
        """The same, with an answer that put out `least` tokens or more."""
        own = self.parts[0]
        if own.tokens.output >= least:
            return self
        own = replace(own, tokens=replace(own.tokens, output=least))
        return replace(self, parts=(own, *self.parts[1:]))


def _total(parts: Iterable[Part]) -> Tokens:
    total = NO_TOKENS
    for part in parts:
        total = total.plus(part.tokens) if total.any else part.tokens
    return total


NO_BILL = Bill()
