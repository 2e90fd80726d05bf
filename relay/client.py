"""One client's request over ASGI: its head, its bounded body, its going away, its answer.

It also carries what the access line tells at the end. It knows nothing of keys, accounts or
dialects.
"""

import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from relay import errors
from relay.bodies import SMALL_BYTES, BodyBudget, Hold

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# Beyond the time for its first bytes a body must come at least this fast, in each window. One that
# takes much memory must not take it for long.
_SLOWEST_BYTES_PER_S, _SLOWEST_LARGE_BYTES_PER_S = 8 * 1024, 64 * 1024
_WINDOW_S = 10.0


EVENTS = b"text/event-stream"
# A proxy such as nginx would hold events back until it has a buffer full of them.
UNBUFFERED = (b"x-accel-buffering", b"no")

SLOW = "The request's body did not arrive in time."
_OF_A_BODY = (b"content-length", b"content-type", b"content-encoding")

# Methods whose requests have no body that would mean anything.
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class _Pace:
    """How fast a body must come: so many bytes within the last seconds, however it began."""

    def __init__(self, patience_s: float, announced_bytes: int | None) -> None:
        self._patience_s = patience_s
        self._size = announced_bytes or 0
        self._missing = 0.0
        self.deadline = 0.0
        self.begin()

    def begin(self) -> None:
        """The first bytes may take as long as the settings say; so they may after a wait."""
        self._next(self._patience_s, min(_WINDOW_S, self._patience_s))

    def came(self, size: int) -> None:
        """More of the body has come in; never counts for longer than a window."""
        self._missing -= size
        if self._missing <= 0:
            self._next(_WINDOW_S, _WINDOW_S)

    def grows(self, size: int) -> None:
        """The body is at least this large."""
        self._size = max(self._size, size)

    def _next(self, within_s: float, worth_s: float) -> None:
        is_large = self._size > SMALL_BYTES
        rate = _SLOWEST_LARGE_BYTES_PER_S if is_large else _SLOWEST_BYTES_PER_S
        self._missing = rate * worth_s
        self.deadline = trio.current_time() + within_s


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
    # Whether Relay itself failed the request, and whether a usage record tells of the request.
    is_own_error: bool = False
    has_record: bool = False


class Client:
    """The client's side of one request."""

    def __init__(self, scope: Any, receive: Receive, send: Send, request_id: str) -> None:
        self._begin(
            scope["method"],
            scope["raw_path"].partition(b"?")[0],
            scope["query_string"],
            scope["headers"],
            scope["client"][0] if scope.get("client") else "",
            request_id,
        )
        self.scheme = scope.get("scheme", "http")
        self._receive = receive
        self._send = send

    def _begin(
        self,
        method: str,
        path: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        address: str,
        request_id: str,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.address = address
        self.scheme = "http"
        self.request_id = request_id
        self.started_at = time.monotonic()
        self.status: int | None = None
        self.is_ended = False
        self.is_gone = False
        self.trail = Trail()
        # How the API that the client speaks writes an error: status and body to status, media
        # type and body.
        self.refusal: Callable[[int, bytes], tuple[int, bytes, bytes]] | None = None
        self.body_is_in = trio.Event()
        if self.method in _BODILESS:
            self.body_is_in.set()
        self._held: tuple[BodyBudget, Hold] | None = None

    def header(self, name: bytes) -> bytes:
        """The last value of a header, or nothing."""
        return next((value for given, value in reversed(self.headers) if given == name), b"")

    @property
    def announced_bytes(self) -> int | None:
        """How large the body is said to be; None where it comes in chunks."""
        announced = self.header(b"content-length")
        return int(announced) if announced.isdigit() else None

    async def body(
        self, most_bytes: int, budget: BodyBudget, patience_s: float, owner: str = ""
    ) -> bytes:
        """The whole body, which is held in memory until `let_go`.

        Args:
            patience_s: for the budget, and for the first bytes.
            owner: whose share of the budget it takes.

        Raises:
            errors.TooLarge: over `most_bytes`; before anything is read where the length is said.
            errors.Overloaded: the budget had no room in time.
            errors.RequestTimeout: it comes too slowly.
            ClientGone: the client closed instead.
        """
        announced = self.announced_bytes
        if announced is not None and announced > most_bytes:
            raise _too_large(most_bytes)
        # What comes in chunks is taken for small until it turns out to be large.
        expected = min(SMALL_BYTES, most_bytes) if announced is None else announced
        hold = await self._take(budget, expected, owner, patience_s)
        try:
            return await self._whole(hold, most_bytes, budget, patience_s)
        except BaseException:
            # What is refused holds nothing, also while its answer is on its way.
            self.let_go()
            raise

    async def _whole(
        self, hold: Hold, most_bytes: int, budget: BodyBudget, patience_s: float
    ) -> bytes:
        """The whole body, of which `hold` may be held so far."""
        first, size = b"", 0
        # Grows in place: joining pieces would hold a large body twice.
        whole = io.BytesIO()
        pace = _Pace(patience_s, self.announced_bytes)
        while (part := await self._part(pace.deadline)) is not None:
            size += len(part)
            if size > most_bytes:
                raise _too_large(most_bytes)
            pace.came(len(part))
            if size == len(part):
                first = part
            else:
                whole.write(first + part if whole.tell() == 0 else part)
            if size > hold.size:
                hold = await self._take(budget, most_bytes, hold.owner, patience_s)
                pace.grows(most_bytes)
                pace.begin()
        budget.shrink(hold, size)
        return first if size == len(first) else whole.getvalue()

    async def upload(self, patience_s: float) -> AsyncIterator[bytes]:
        """The body piece by piece, as it comes in; raises as `body` does, but for the size."""
        pace = _Pace(patience_s, 0)
        while (part := await self._part(pace.deadline)) is not None:
            pace.came(len(part))
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
                raise errors.RequestTimeout(SLOW)
            if message["type"] != "http.request":
                self.is_gone = True
                raise ClientGone
            part = message.get("body", b"")
            if not message.get("more_body", False):
                self.body_is_in.set()
        return bytes(part)

    async def _take(self, budget: BodyBudget, size: int, owner: str, patience_s: float) -> Hold:
        """The right to hold `size` bytes, in place of what was held before."""
        hold = await budget.take(size, owner, patience_s)
        self.let_go()
        self._held = (budget, hold)
        return hold

    def let_go(self) -> None:
        """The body is no longer needed; its bytes go back to the budget."""
        if self._held is not None:
            budget, hold = self._held
            budget.give_back(hold)
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
        if any(name == b"content-type" and value.startswith(EVENTS) for name, value in headers):
            headers = [*headers, UNBUFFERED]
        await self._send_head(status, headers)

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer; an empty one sends what is held back so far."""
        self._note_first_byte(data)
        await self._send_piece(data, is_last=False)

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece. An answer that is never ended reaches the client as cut off."""
        self._note_first_byte(data)
        self.is_ended = True
        await self._send_piece(data, is_last=True)

    async def _send_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_piece(self, data: bytes, *, is_last: bool) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": not is_last}
        await self._send(message)

    def _note_first_byte(self, data: bytes) -> None:
        if data and self.trail.first_byte_s is None:
            self.trail.first_byte_s = time.monotonic() - self.started_at

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        if status >= 400 and self.refusal is not None:
            status, media_type, body = self.refusal(status, body)
            own = [pair for pair in headers if pair[0] not in _OF_A_BODY]
            length = (b"content-length", b"%d" % len(body))
            headers = [(b"content-type", media_type), length, *own]
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
