"""What the simulator received: each request as it came, and what became of it.

The journal is bounded by requests and by bytes, so that a long `relay try` does not grow.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import trio

_MOST_REQUESTS = 1000
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Received:
    """One request in the journal.

    Attributes:
        target: path and query as they were sent.
        usage: the figures that were reported for it; None for what is no message.
        batch_usage: the figures in the batch results that were sent, line by line.
        answered: the answer left whole.
        closed: set when the connection was gone before that; `closed_at` is trio's time of it.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    usage: dict[str, Any] | None = None
    batch_usage: list[dict[str, Any]] = field(default_factory=list)
    answered: bool = False
    closed: trio.Event = field(default_factory=trio.Event)
    closed_at: float | None = None

    def header(self, name: str) -> str:
        """A header's value or ""; x-sim-NAME may also be sent as anthropic-sim-NAME."""
        wanted = {name.encode(), name.replace("x-sim-", "anthropic-sim-").encode()}
        found = (value for key, value in self.headers if key.lower() in wanted)
        return next(found, b"").decode("latin-1")

    def mark_closed(self) -> None:
        if not self.closed.is_set():
            self.closed_at = trio.current_time()
            self.closed.set()


class Journal:
    """The newest requests, oldest first, and a way to wait for them."""

    def __init__(self) -> None:
        self.requests: deque[Received] = deque()
        self.total = 0
        self._body_bytes = 0
        self._grown = trio.Event()

    def add(self, received: Received) -> None:
        self.requests.append(received)
        self.total += 1
        self._body_bytes += len(received.body)
        while len(self.requests) > 1 and (
            len(self.requests) > _MOST_REQUESTS or self._body_bytes > _MOST_BYTES
        ):
            self._body_bytes -= len(self.requests.popleft().body)
        self._grown.set()
        self._grown = trio.Event()

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests have come since the start; the caller sets the deadline."""
        while self.total < count:
            await self._grown.wait()
