"""A client on the express lane: its request and answer without messages between tasks."""

import trio

from relay import errors
from relay.client import SLOW, Client, ClientGone
from relay.http import Gone, Request

Headers = list[tuple[bytes, bytes]]


class LaneClient(Client):
    """The client's side of one request on the lane; what it runs in ends when its client leaves.

    Args:
        extra: headers that each answer to this client carries.
    """

    def __init__(self, request: Request, request_id: str, extra: Headers) -> None:
        self._begin(
            request.method,
            request.path,
            request.query,
            request.headers,
            request.address,
            request_id,
        )
        self._request = request
        self._extra = extra
        self._has_read = False
        request.on_gone = self._see_leaving
        self._see_leaving()

    def _see_leaving(self) -> None:
        # What has come of a body is read first: its reader sees the end.
        if self._request.has_left and self.body_is_in.is_set():
            self.is_gone = True
            self._request.cancel()

    async def _part(self, deadline: float) -> bytes | None:
        if self.body_is_in.is_set():
            return None
        if self._has_read:
            # A client that sends fast must not have the loop for itself.
            await trio.lowlevel.checkpoint()
        self._has_read = True
        try:
            piece = self._request.read_now()
            if piece is None:
                with trio.CancelScope(deadline=deadline):
                    piece = await self._request.read()
        except Gone:
            self.is_gone = True
            raise ClientGone from None
        if piece is None:
            raise errors.RequestTimeout(SLOW)
        if self._request.is_body_read:
            self.body_is_in.set()
            self._see_leaving()
        return piece or None

    async def _send_head(self, status: int, headers: Headers) -> None:
        self._request.start(status, [*headers, *self._extra] if self._extra else headers)

    async def _send_piece(self, data: bytes, *, is_last: bool) -> None:
        await (self._request.end(data) if is_last else self._request.write(data))
