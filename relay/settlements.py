"""The bookings of a process: each is written once, now or as soon as Redis takes it.

While Redis is away they wait in memory. A Redis that was killed may have lost what it acknowledged
in its last moments: it does not wait for its file while an fsync is under way. So what was
written shortly before a connection ended is written again; the script books a lease once.
"""

import logging
from collections import deque

import trio

from relay.store import Booking, RedisAway, ReplyError, Store

log = logging.getLogger("relay.lease")

# Slots are free again this soon after Redis' return.
WRITE_WAITING_EVERY_S = 0.25
# Bookings that wait in memory while Redis is away; about 1 KB each.
_MOST_WAITING = 20_000
_RETRY_S = 0.2
# Redis puts off a write to its file by two seconds at most.
_MAY_BE_LOST_S = 3.0


class Settlements:
    """What is to be booked, and what has been of late."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[Booking] = deque()
        self._written: deque[tuple[float, Booking]] = deque()
        self._connections = store.connections

    @property
    def waiting_count(self) -> int:
        """Bookings that wait for Redis' return."""
        return len(self._waiting)

    async def book(self, booking: Booking) -> bool:
        """Write a booking, or keep it for Redis' return. Returns whether it is written.

        Cancellation: it is written or kept first.
        """
        try:
            if not await self._write(booking):
                log.warning("request=%s is unknown to Redis: not booked", booking.lease)
            return True
        except RedisAway as error:
            log.warning("request=%s settles later: %s", booking.lease, error)
        except ReplyError as error:
            # Without a heartbeat its lease is found by recovery soon, as a dead process's is.
            log.error("request=%s cannot be booked: %s", booking.lease, error)
            return False
        self.keep(booking)
        return False

    def keep(self, booking: Booking) -> None:
        """Write a booking later: Redis is away, or may not have understood."""
        if len(self._waiting) >= _MOST_WAITING:
            lost = self._waiting.popleft()
            log.error("request=%s not booked: too many settlements wait for Redis", lost.lease)
        self._waiting.append(booking)

    async def write_waiting(self) -> None:
        """Write what waits; RedisAway when Redis still is."""
        self._note_connection()
        while self._waiting:
            booking = self._waiting[0]
            try:
                await self._write(booking)
            except ReplyError as error:
                # Its lease is found by the survivors; those behind it must not wait for that.
                log.error("request=%s cannot be booked: %s", booking.lease, error)
            if self._waiting and self._waiting[0] is booking:
                self._waiting.popleft()

    async def write_all(self) -> None:
        """Write everything that waits, however long it takes; for the end of the process."""
        while self._waiting:
            try:
                await self.write_waiting()
            except RedisAway:
                await trio.sleep(_RETRY_S)

    async def _write(self, booking: Booking) -> int:
        done = await self._store.leases.settle(booking)
        self._note_connection()
        # To take an admission back again could take back another one that came after it.
        if booking.state == "settled":
            now = trio.current_time()
            self._written.append((now, booking))
            while self._written[0][0] < now - _MAY_BE_LOST_S:
                self._written.popleft()
        return done

    def _note_connection(self) -> None:
        """After a lost connection, let what may be lost with it be written again."""
        if self._connections != self._store.connections:
            self._connections = self._store.connections
            self._waiting.extend(booking for _, booking in self._written)
            self._written.clear()
