"""The simulated API's prompt cache: what a request reads of it and what it writes.

As the real one: only a prefix that ends at a mark is written, a mark reads the longest prefix
that was written at it or at one of the twenty blocks before, and a short prefix is never cached.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_LEAST_TOKENS = 1024
_LOOKS_BACK_BLOCKS = 20
_LIVES_S = {"5m": 300.0, "1h": 3600.0}
_MOST_MARKS = 4
_MOST_PREFIXES = 10_000


class TooManyMarks(Exception):
    """More blocks are marked than the API takes."""


@dataclass(frozen=True, slots=True)
class Cached:
    """Tokens of a prompt that were read from the cache, and written to it by lifetime."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


NOT_CACHED = Cached()


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A prompt up to the end of one of its blocks."""

    digest: bytes
    tokens: int
    lives: str


class PromptCache:
    """What was written, by the digest of its prefix; for all keys alike.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._written: OrderedDict[bytes, float] = OrderedDict()

    def use(self, fields: Json, tokens_of: Callable[[str], int]) -> Cached:
        """Read and write what a request marks. Raises TooManyMarks."""
        prefixes = list(_prefixes(fields, tokens_of))
        marked = [place for place, prefix in enumerate(prefixes) if prefix.lives]
        if len(marked) > _MOST_MARKS:
            raise TooManyMarks
        now = self._now()
        reads = [place for mark in marked for place in self._hits(prefixes, mark, now)]
        read = max((prefixes[place].tokens for place in reads), default=0)
        done, written = read, {"5m": 0, "1h": 0}
        for place in marked:
            prefix = prefixes[place]
            if prefix.tokens < _LEAST_TOKENS:
                continue
            written[prefix.lives] += max(0, prefix.tokens - done)
            done = max(done, prefix.tokens)
            self._keep(prefix.digest, now + _LIVES_S[prefix.lives])
        return Cached(read, written["5m"], written["1h"])

    def _hits(self, prefixes: list[_Prefix], mark: int, now: float) -> Iterator[int]:
        for place in range(mark, max(-1, mark - _LOOKS_BACK_BLOCKS - 1), -1):
            if self._written.get(prefixes[place].digest, 0.0) > now:
                yield place
                return

    def _keep(self, digest: bytes, until: float) -> None:
        self._written[digest] = max(until, self._written.pop(digest, 0.0))
        while len(self._written) > _MOST_PREFIXES:
            self._written.popitem(last=False)


def _prefixes(fields: Json, tokens_of: Callable[[str], int]) -> Iterator[_Prefix]:
    """The prompt's prefixes, block by block: tools, system, messages."""
    digest, size = hashlib.sha256(str(fields.get("model")).encode()), 0
    for block in _blocks(fields):
        mark = block.get("cache_control")
        text = json.dumps(_unmarked(block), separators=(",", ":"), ensure_ascii=False)
        digest.update(text.encode("utf-8", "surrogatepass"))
        size += tokens_of(text)
        lives = str(mark.get("ttl") or "5m") if isinstance(mark, dict) else ""
        yield _Prefix(digest.digest(), size, lives)


def _blocks(fields: Json) -> Iterator[Json]:
    for name in ("tools", "system"):
        yield from _listed(fields.get(name))
    for message in _listed(fields.get("messages")):
        for block in _listed(message.get("content")):
            yield {**block, "role": message.get("role")}


def _listed(value: object) -> list[Json]:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _unmarked(block: Json) -> Json:
    return {name: value for name, value in block.items() if name != "cache_control"}
