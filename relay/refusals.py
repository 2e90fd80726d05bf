"""The refusals of a process, counted in memory and written now and then.

A refusal must not cost a second round trip, and what a killed process has not written yet is
worth no more than that.
"""

from collections import Counter

from relay.store import RedisAway, Store

WRITE_EVERY_S = 3.0


class Refusals:
    """What was refused of late, by key, model and reason."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, key_id: str, model: str, reason: str) -> None:
        """One refusal more."""
        self._counts[key_id, model, reason] += 1

    async def write(self) -> None:
        """Add what was counted to the counters; RedisAway when it cannot be yet."""
        counts, self._counts = self._counts, Counter()
        try:
            if counts:
                await self._store.usage.count_refused(counts)
        except RedisAway:
            self._counts.update(counts)
            raise
