"""An upstream that answers with exactly the bytes it is told, in exactly those pieces."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import h11
import trio


@dataclass
class Scripted:
    """What to answer next, and what was received."""

    port: int = 0
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    pieces: Sequence[bytes] = ()
    holds_open: bool = False
    bodies: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, stream: trio.SocketStream) -> None:
        # The relay may give up an answer midway.
        with contextlib.suppress(trio.BrokenResourceError):
            await self._serve(stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        while await self._receive(connection, stream):
            head = h11.Response(status_code=self.status, headers=list(self.headers))
            await stream.send_all(connection.send(head) or b"")
            for piece in self.pieces:
                data = connection.send(h11.Data(data=piece))
                if data:
                    await stream.send_all(data)
                await trio.lowlevel.checkpoint()
            if self.holds_open:
                await trio.sleep_forever()
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _receive(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.bodies.append(body)
                return True
            elif isinstance(event, h11.ConnectionClosed):
                return False


@asynccontextmanager
async def scripted_upstream() -> AsyncIterator[Scripted]:
    """A Scripted that serves for the length of the block."""
    one = Scripted()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, one.handle, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        one.port = listener.socket.getsockname()[1]
        yield one
        nursery.cancel_scope.cancel()
