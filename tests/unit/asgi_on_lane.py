"""ASGI applications on the express lane, so that both servers can be held to the same tests."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from relay.http import Gone, Handler, Request

App = Callable[[Any, Any, Any], Awaitable[None]]


def on_lane(app: App) -> Callable[[bytes], Handler]:
    """What a listener takes as its lane: `app` answers every path."""

    async def handler(request: Request) -> None:
        exchange = _Exchange(request)
        await app(_scope(request), exchange.receive, exchange.send)

    return lambda _path: handler


def _scope(request: Request) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path.decode("ascii"),
        "raw_path": request.path,
        "query_string": request.query,
        "headers": request.headers,
        "client": (request.address, 0),
    }


class _Exchange:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_read = False
        self._gone = trio.Event()
        request.on_gone = self._gone.set
        if request.has_left:
            self._gone.set()

    async def receive(self) -> Any:
        if not self._is_read:
            try:
                piece = await self._request.read()
            except Gone:
                self._is_read = True
                self._gone.set()
                return {"type": "http.disconnect"}
            self._is_read = not piece
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._request.start(message["status"], message.get("headers", []))
        elif message.get("more_body", False):
            await self._request.write(message.get("body", b""))
        else:
            await self._request.end(message.get("body", b""))
