"""Errors of Relay's own that no usage record tells of, counted by the minute they happened in.

An exception in our code, or a Redis that cannot be reached, fails a request before there is a
record of it. Each process counts such answers in memory and writes them to Redis every few
seconds; what cannot be written yet waits, no longer than Redis would retain it.
"""

import time
from collections import Counter

from relay.store import OWN_ERRORS_LIFE_S, RedisAway, Store

WRITE_EVERY_S = 3.0
_MINUTE_S = 60
_MOST_MINUTES = OWN_ERRORS_LIFE_S // _MINUTE_S


class OwnErrors:
    """The answers of one process that were errors of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[tuple[int, str]] = Counter()

    def count(self, surface: str, word: str) -> None:
        """One more of them.

        Args:
            surface: what the client called: "api", "console", "admin API", or "listener" where the
                application did not answer at all.
            word: what the access line calls the error.
        """
        self._counts[_minute(), f"{word} ({surface})"] += 1

    async def write(self) -> None:
        """Add what was counted to the counters in Redis.

        Raises:
            RedisAway: it cannot be yet; the counts wait for the next call.
        """
        now = _minute()
        counts, self._counts = self._counts, Counter()
        ages = {
            (now - minute, what): count
            for (minute, what), count in counts.items()
            if now - minute < _MOST_MINUTES
        }
        try:
            if ages:
                await self._store.usage.count_own_errors(ages)
        except RedisAway:
            self._counts.update({(now - age, what): count for (age, what), count in ages.items()})
            raise


def _minute() -> int:
    """Which minute it is by a clock that never jumps."""
    return int(time.monotonic() // _MINUTE_S)
