"""Which unknown keys came from which address lately, so that a log line can tell guessing apart.

A program with one wrong key asks again and again, and many people may share its address; whoever
guesses shows a new key each time.
"""

import time
from collections import OrderedDict

_REMEMBERED_S = 600.0
# What guessing at any speed can make a process hold.
_MOST = 10_000


class Strangers:
    """Remembers pairs of an address and the hash of an unknown key, for ten minutes."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, address: str, key_hash: str) -> bool:
        """Whether this address has not shown this key before; it has now."""
        now = time.monotonic()
        seen_at = self._seen.pop((address, key_hash), None)
        self._seen[address, key_hash] = now
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        return seen_at is None or seen_at < now - _REMEMBERED_S
