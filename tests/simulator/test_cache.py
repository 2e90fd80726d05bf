"""The simulated prompt cache: what is read and what is written of it."""

from typing import Any

import pytest

from relay.simulator.answers import tokens_of
from relay.simulator.cache import NOT_CACHED, Cached, PromptCache, TooManyMarks

LONG = "x" * 8000
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def request(*texts: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    content = [{"type": "text", "text": text, **mark} for text, mark in texts]
    return {"model": "claude-opus-5", "messages": [{"role": "user", "content": content}]}


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def cache(clock: list[float]) -> PromptCache:
    return PromptCache(lambda: clock[0])


def test_a_marked_prefix_is_written_and_then_read(cache: PromptCache):
    written = cache.use(request((LONG, MARK)), tokens_of)
    assert written.read == 0
    assert written.written_5m >= 2000
    grown = cache.use(request((LONG, {}), ("more", MARK)), tokens_of)
    assert (grown.read, grown.written_1h) == (written.written_5m, 0)
    assert 0 < grown.written_5m < 30


def test_a_short_prefix_is_never_cached(cache: PromptCache):
    assert [cache.use(request(("hello", MARK)), tokens_of) for _ in range(2)] == [NOT_CACHED] * 2


def test_what_was_written_lives_five_minutes_or_an_hour(cache: PromptCache, clock: list[float]):
    cache.use(request((LONG, MARK)), tokens_of)
    cache.use(request((LONG + "y", HOUR)), tokens_of)
    clock[0] = 301.0
    assert cache.use(request((LONG, MARK)), tokens_of).read == 0
    assert cache.use(request((LONG + "y", HOUR)), tokens_of).read > 0


@pytest.mark.parametrize(("between", "is_read"), [(19, True), (20, False)])
def test_a_mark_looks_back_over_twenty_blocks(cache: PromptCache, between: int, is_read: bool):
    cache.use(request((LONG, MARK)), tokens_of)
    more = [(str(number), {}) for number in range(between)]
    found = cache.use(request((LONG, {}), *more, ("end", MARK)), tokens_of)
    assert (found.read > 0) is is_read


def test_another_beginning_is_not_read(cache: PromptCache):
    cache.use(request((LONG, MARK)), tokens_of)
    assert isinstance(cache.use(request((LONG + "z", MARK)), tokens_of), Cached)
    assert cache.use(request(("a" + LONG, MARK)), tokens_of).read == 0


def test_more_than_four_marks_are_refused(cache: PromptCache):
    with pytest.raises(TooManyMarks):
        cache.use(request(*[(str(number), MARK) for number in range(5)]), tokens_of)
