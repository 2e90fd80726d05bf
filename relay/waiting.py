"""The waiting room: calls that stand in line for a slot, until it is their turn.

The lines themselves lie in Redis, so they hold across processes. A process asks for all of its
waiting calls in one round trip, and only while there are any: as soon as it has freed a slot
itself, and at growing intervals for the slots that other processes free.
"""

import logging
import math
from dataclasses import dataclass, field

import trio

from relay.store import RedisAway, RelayLimits, Store

log = logging.getLogger("relay.waiting")

# Between two round trips at least, and at most: so long a slot that another process has freed may
# stay idle.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.1
# So often each waiting call asks for itself: its key may be disabled, or another account recover.
_ASK_AGAIN_S = 2.0


@dataclass(slots=True)
class _Place:
    scope: str
    turn: trio.Event = field(default_factory=trio.Event)


class WaitingRoom:
    """This process's waiting calls."""

    def __init__(self, store: Store, limits: RelayLimits) -> None:
        self._store = store
        self._limits = limits
        self._places: dict[str, _Place] = {}
        self._left: dict[str, str] = {}
        self._news = trio.Event()

    async def turn(self, lease: str, key_id: str, scope: str, until: float) -> bool:
        """Wait until this lease should ask again; False when it may not wait after that.

        Args:
            until: how long it may wait at all (trio's clock).

        Cancellation: the lease leaves its line.
        """
        place = self._places[lease] = _Place(scope)
        self._left.pop(lease, None)
        self._news.set()
        stays = False
        try:
            with trio.move_on_at(min(until, trio.current_time() + _ASK_AGAIN_S)):
                await place.turn.wait()
            stays = place.turn.is_set() or trio.current_time() < until
        finally:
            del self._places[lease]
            if not stays:
                self._left[lease] = key_id
                self._news.set()
        return stays

    def slot_is_free(self) -> None:
        """A slot has been freed by this process: whose turn it is should hear of it now."""
        if self._places:
            self._news.set()

    async def call_up(self) -> None:
        """Notify waiting calls when it is their turn, until cancelled."""
        pause_s = _SHORTEST_PAUSE_S
        while True:
            with trio.move_on_after(pause_s if self._places or self._left else math.inf):
                await self._news.wait()
            is_news, self._news = self._news.is_set(), trio.Event()
            is_moving = await self._call_up_once()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if is_news or is_moving:
                pause_s = _SHORTEST_PAUSE_S
            await trio.sleep(_SHORTEST_PAUSE_S)

    async def _call_up_once(self) -> bool:
        """Ask once for all; whether there was somebody to notify."""
        waiting = {lease: place.scope for lease, place in self._places.items()}
        left, self._left = self._left, {}
        try:
            ready = await self._store.leases.wait(waiting, left, self._limits)
        except RedisAway as error:
            log.debug("nobody can be called up: %s", error)
            # Each asks for itself then, and hears that the relay cannot decide.
            ready = set(waiting)
        for lease in ready:
            if place := self._places.get(lease):
                place.turn.set()
        return bool(ready)
