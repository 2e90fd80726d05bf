"""A real HTTP server on loopback that takes webhooks, and behaves as a test says."""

import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

from relay.settings.webhooks import Webhook, parse

SECRET = "a secret of enough length"


@dataclass(frozen=True)
class Taken:
    """One request that came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """What came, and what comes back: statuses in order, then 204 for ever."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    statuses: deque[int] = field(default_factory=deque)
    answer_headers: dict[str, str] = field(default_factory=dict)
    # An answer waits for it.
    gate: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def webhook(self, **options: object) -> Webhook:
        given = {"url": self.url, "secret": SECRET, "allowPrivate": True, **options}
        return parse([{"name": "ops", **given}])[0]

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        body, head = b"", None
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
            if head is None:
                return
            headers = {name.decode(): value.decode() for name, value in head.headers}
            self.taken.append(Taken(head.target.decode(), headers, body))
            status = self.statuses.popleft() if self.statuses else 204
            await self.gate.wait()
            told = [*self.answer_headers.items(), ("content-length", "0")]
            answer = h11.Response(status_code=status, headers=told)
            await stream.send_all(connection.send(answer) + connection.send(h11.EndOfMessage()))

    async def got(self, count: int) -> list[Taken]:
        """Wait until so many requests have come."""
        with trio.fail_after(30):
            while len(self.taken) < count:  # noqa: ASYNC110
                await trio.sleep(0.02)
        return self.taken


@asynccontextmanager
async def receiving(
    *statuses: int, is_slow: bool = False, context: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that gives these statuses first; a slow one answers when its gate is opened."""
    one = Receiver(statuses=deque(statuses))
    if not is_slow:
        one.gate.set()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        one.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(_serve, one, listeners, context)
        yield one
        nursery.cancel_scope.cancel()


async def _serve(
    one: Receiver, listeners: list[trio.SocketListener], context: ssl.SSLContext | None
) -> None:
    async def handler(plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        if context is not None:
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            await one.serve(stream)
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return

    await trio.serve_listeners(handler, listeners)
