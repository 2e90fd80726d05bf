"""The memory for bodies that are held whole: announced sizes are granted whole, or wait in line.

A part of it is kept for small bodies, which most requests have, and no owner holds more than half
of what large bodies may take, or three quarters with small ones: a slow owner holds up only itself.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

import trio

from relay import errors

# Bodies up to this size have a part of the memory for themselves.
SMALL_BYTES = 1024 * 1024
_SMALL_PART = 4
_MOST_WAITING = 1000
_MOST_WAITING_OF_OWNER = 250
_READERS = 2


@dataclass(slots=True, eq=False)
class Hold:
    """The right to hold `size` bytes of a body."""

    owner: str
    size: int
    is_small: bool
    granted: trio.Event = field(default_factory=trio.Event)


class BodyBudget:
    """How many bytes of bodies this process may hold at once.

    Args:
        most_bytes: for all of them together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = {True: most_bytes, False: most_bytes - most_bytes // _SMALL_PART}
        self._lines: dict[bool, deque[Hold]] = {True: deque(), False: deque()}
        self._large_bytes = 0
        self._of_owner: Counter[tuple[str, bool]] = Counter()
        self.held_bytes = 0
        # Large bodies are read in threads, few of them at one time.
        self.readers = trio.CapacityLimiter(_READERS)

    async def take(self, size: int, owner: str, patience_s: float) -> Hold:
        """The right to hold `size` bytes, once it is the owner's turn.

        Raises:
            errors.Overloaded: it was not within `patience_s`, or too many (of this owner) wait.

        Cancellation: the place in line is given up.
        """
        hold = Hold(owner, size, size <= SMALL_BYTES)
        line = self._lines[hold.is_small]
        waiting = sum(other.owner == owner for other in line)
        if max(len(line) - _MOST_WAITING, waiting - _MOST_WAITING_OF_OWNER) >= 0:
            raise _full()
        if size > self._most[True]:
            raise _full()
        line.append(hold)
        self._grant()
        if hold.granted.is_set():
            return hold
        try:
            with trio.move_on_after(patience_s):
                await hold.granted.wait()
                return hold
        except trio.Cancelled:
            self._leave(hold)
            raise
        if hold.granted.is_set():
            return hold
        self._leave(hold)
        raise _full()

    def shrink(self, hold: Hold, size: int) -> None:
        """Less is held than was granted: the body turned out smaller."""
        self._count(hold, size - hold.size)
        hold.size = size
        self._grant()

    def give_back(self, hold: Hold) -> None:
        """The bytes are no longer held."""
        self.shrink(hold, 0)

    def _leave(self, hold: Hold) -> None:
        """Give up a place in line, or what was granted at the last moment."""
        if hold.granted.is_set():
            self.give_back(hold)
            return
        self._lines[hold.is_small].remove(hold)
        self._grant()

    def _grant(self) -> None:
        """Let those go on whose turn it is. Only a whole line waits for room: who is held up by
        what he holds himself lets others pass."""
        for line in self._lines.values():
            for hold in list(line):
                if not self._has_share(hold):
                    continue
                if not self._fits(hold):
                    break
                line.remove(hold)
                self._count(hold, hold.size)
                hold.granted.set()

    def _fits(self, hold: Hold) -> bool:
        if hold.is_small:
            return self.held_bytes + hold.size <= self._most[True]
        # A body larger than its part alone is taken when there is no other of the kind.
        has_part = self._large_bytes + hold.size <= self._most[False] or self._large_bytes == 0
        return has_part and self.held_bytes + hold.size <= self._most[True]

    def _has_share(self, hold: Hold) -> bool:
        held = self._of_owner[hold.owner, hold.is_small]
        most = self._most[True] * 3 // 4 if hold.is_small else self._most[False] // 2
        return held == 0 or held + hold.size <= most

    def _count(self, hold: Hold, change: int) -> None:
        self.held_bytes += change
        if not hold.is_small:
            self._large_bytes += change
        share = hold.owner, hold.is_small
        self._of_owner[share] += change
        if self._of_owner[share] <= 0:
            del self._of_owner[share]


def _full() -> errors.Overloaded:
    return errors.Overloaded(
        "The relay holds as many request bodies as it may. Try again in a moment.",
        [(b"retry-after", b"1")],
    )
