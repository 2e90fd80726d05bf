"""One client's request over ASGI: its head, its bounded body, its going away, its answer.

It also carries what the access line tells at the end. It knows nothing of keys, accounts or
dialects.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from relay import errors

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# Beyond the time for the first byte a body must come at least this fast.
_SLOWEST_BYTES_PER_S = 8 * 1024


_OF_A_BODY = (b"content-length", b"content-type", b"content-encoding")

# Methods whose requests have no body that would mean anything.
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class BodyBudget:
    """How many bytes of buffered bodies this process may hold at once."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Account for `size` more bytes; Overloaded when that is too many."""
        if self.held_bytes + size > self._most:
            raise errors.Overloaded(
                "The relay holds as many request bodies as it may. Try again in a moment.",
                [(b"retry-after", b"1")],
            )
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        self.held_bytes -= size


@dataclass(slots=True)
class Trail:
    """What the access line says of a request, filled in along its way."""

    key: str | None = None
    account: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    attempts: int | None = None
    first_byte_s: float | None = None
    upstream_request_id: str | None = None
    error: str | None = None


class Client:
    """The client's side of one request."""

    def __init__(self, scope: Any, receive: Receive, send: Send, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"].partition(b"?")[0]
        self.query: bytes = scope["query_string"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.address: str = scope["client"][0] if scope.get("client") else ""
        self.scheme: str = scope.get("scheme", "http")
        self.request_id = request_id
        self.started_at = time.monotonic()
        self.status: int | None = None
        self.is_ended = False
        self.is_gone = False
        self.trail = Trail()
        # How the API that the client speaks writes an error: status and body to status and body.
        self.refusal: Callable[[int, bytes], tuple[int, bytes]] | None = None
        self.body_is_in = trio.Event()
        if self.method in _BODILESS:
            self.body_is_in.set()
        self._receive = receive
        self._send = send
        self._held: tuple[BodyBudget, int] | None = None

    def header(self, name: bytes) -> bytes:
        """The last value of a header, or nothing."""
        return next((value for given, value in reversed(self.headers) if given == name), b"")

    async def body(self, most_bytes: int, budget: BodyBudget, patience_s: float) -> bytes:
        """The whole body.

        Raises:
            errors.TooLarge: over `most_bytes`; before anything is read where the length is said.
            errors.RequestTimeout: it comes too slowly.
            ClientGone: the client closed instead.
        """
        announced = self.header(b"content-length")
        if announced.isdigit() and int(announced) > most_bytes:
            raise _too_large(most_bytes)
        parts: list[bytes] = []
        size = 0
        deadline = trio.current_time() + patience_s
        while (part := await self._part(deadline + size / _SLOWEST_BYTES_PER_S)) is not None:
            size += len(part)
            if size > most_bytes:
                raise _too_large(most_bytes)
            self._hold(budget, len(part))
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def upload(self, patience_s: float) -> AsyncIterator[bytes]:
        """The body piece by piece, as it comes in; raises as `body` does, but for the size."""
        size = 0
        deadline = trio.current_time() + patience_s
        while (part := await self._part(deadline + size / _SLOWEST_BYTES_PER_S)) is not None:
            size += len(part)
            yield part

    async def _part(self, deadline: float) -> bytes | None:
        """The next piece of the body, None after the last."""
        part = b""
        while not part:
            if self.body_is_in.is_set():
                return None
            with trio.CancelScope(deadline=deadline) as scope:
                message = await self._receive()
            if scope.cancelled_caught:
                raise errors.RequestTimeout("The request's body did not arrive in time.")
            if message["type"] != "http.request":
                self.is_gone = True
                raise ClientGone
            part = message.get("body", b"")
            if not message.get("more_body", False):
                self.body_is_in.set()
        return bytes(part)

    def _hold(self, budget: BodyBudget, size: int) -> None:
        budget.take(size)
        held = self._held[1] if self._held else 0
        self._held = (budget, held + size)

    def let_go(self) -> None:
        """The body is no longer needed; its bytes go back to the budget."""
        if self._held is not None:
            budget, size = self._held
            budget.give_back(size)
            self._held = None

    async def leaves(self) -> None:
        """Return when the client has closed its connection."""
        await self.body_is_in.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the answer's head."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer; an empty one sends what is held back so far."""
        if data and self.trail.first_byte_s is None:
            self.trail.first_byte_s = time.monotonic() - self.started_at
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece. An answer that is never ended reaches the client as cut off."""
        if data and self.trail.first_byte_s is None:
            self.trail.first_byte_s = time.monotonic() - self.started_at
        self.is_ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        if status >= 400 and self.refusal is not None:
            status, body = self.refusal(status, body)
            own = [pair for pair in headers if pair[0] not in _OF_A_BODY]
            length = (b"content-length", b"%d" % len(body))
            headers = [(b"content-type", b"application/json"), length, *own]
        await self.start(status, headers)
        await self.end(body)

    async def answer_json(self, status: int, body: bytes) -> None:
        """Answer whole with JSON of the relay's own making, which nobody may keep."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *errors.identity(self.request_id),
        ]
        await self.answer(status, headers, body)


def _too_large(most_bytes: int) -> errors.TooLarge:
    return errors.TooLarge(
        f"The request's body is over {most_bytes // (1024 * 1024)} MiB, the most that is taken."
    )
