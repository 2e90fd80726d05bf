"""The waiting room: calls that stand in line for a slot, until it is their turn.

The lines themselves lie in Redis, so they hold across processes: first come, first served. A
process asks for all of its waiting calls in one round trip, and only while there are any.
"""

import logging
from dataclasses import dataclass, field

import trio

from relay.store import RedisAway, Store

log = logging.getLogger("relay.waiting")

_ASK_EVERY_S = 0.02


@dataclass(slots=True)
class _Place:
    scope: str
    turn: trio.Event = field(default_factory=trio.Event)


class WaitingRoom:
    """This process's waiting calls.

    Args:
        concurrency: requests of the whole relay at one time.
    """

    def __init__(self, store: Store, concurrency: int) -> None:
        self._store = store
        self._concurrency = concurrency
        self._places: dict[str, _Place] = {}
        self._left: dict[str, str] = {}
        self._somebody_is_here = trio.Event()

    async def turn(self, lease: str, key_id: str, scope: str, patience_s: float) -> bool:
        """Wait until it is this lease's turn; False when it has not come in `patience_s`.

        Cancellation: the lease leaves its line.
        """
        place = self._places[lease] = _Place(scope)
        self._somebody_is_here.set()
        came = False
        try:
            with trio.move_on_after(patience_s):
                await place.turn.wait()
                came = True
        finally:
            del self._places[lease]
            if not came:
                self._left[lease] = key_id
        return came

    async def call_up(self) -> None:
        """Tell waiting calls when it is their turn, until cancelled."""
        while True:
            if not self._places and not self._left:
                self._somebody_is_here = trio.Event()
                await self._somebody_is_here.wait()
            await self._call_up_once()
            await trio.sleep(_ASK_EVERY_S)

    async def _call_up_once(self) -> None:
        waiting = {lease: place.scope for lease, place in self._places.items()}
        left, self._left = self._left, {}
        try:
            ready = await self._store.leases.wait(waiting, left, self._concurrency)
        except RedisAway as error:
            log.debug("nobody can be called up: %s", error)
            # Each asks for itself then, and hears that the relay cannot decide.
            ready = set(waiting)
        for lease in ready:
            if place := self._places.get(lease):
                place.turn.set()
