"""The streaming upstream: raw HTTP/1.1 on trio, one chunk every 20 ms for each open stream.

Run as `python -m tests.bench.stream_server PORT`. One task paces all streams and writes straight
to their sockets, so that this side is never what limits a contender. A reader who lets the
socket's buffer fill is dropped, and its client counts the stream as incomplete.
"""

import gc
import heapq
import itertools
import os
import re
import sys

import trio

from tests.bench import payloads

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MAX_REQUEST_BYTES = 1 << 20
_IDLE_DEADLINE_S = 120.0
_LONGEST_STREAM_S = 120.0
_HEAD = b"".join(
    [
        b"HTTP/1.1 200 OK\r\n",
        *(name + b": " + value + b"\r\n" for name, value in payloads.STREAM_HEADERS),
        b"transfer-encoding: chunked\r\n\r\n",
    ]
)


class Stream:
    """One answer on its way."""

    def __init__(self, handle: int, chunks: int) -> None:
        self.done = trio.Event()
        self.is_whole = False
        self._handle = handle
        self._chunks = chunks
        self._sent = 0

    def open(self) -> None:
        self._write(_HEAD + _framed(payloads.opening()))

    def step(self) -> None:
        """Send the next chunk, and the end with the last one."""
        self._sent += 1
        data = _framed(payloads.chunk())
        if self._sent < self._chunks:
            self._write(data)
        elif self._write(data + _framed(payloads.closing(self._chunks)) + b"0\r\n\r\n"):
            self.is_whole = True
            self.done.set()

    def _write(self, data: bytes) -> bool:
        try:
            if os.write(self._handle, data) == len(data):
                return True
        except OSError:
            pass  # The reader left, or its buffer is full: both end the stream.
        self.done.set()
        return False


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Pacer:
    """Gives every stream its turn when it is due."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Stream]] = []
        self._number = itertools.count()
        self._some = trio.Event()

    def add(self, stream: Stream) -> None:
        self._push(trio.current_time() + payloads.CHUNK_EVERY_S, stream)
        self._some.set()

    def _push(self, due: float, stream: Stream) -> None:
        heapq.heappush(self._due, (due, next(self._number), stream))

    async def run(self) -> None:
        while True:
            if not self._due:
                self._some = trio.Event()
                await self._some.wait()
            # All wait equally long, so no newcomer is due before the first of the queue.
            await trio.sleep_until(self._due[0][0])
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                due, _, stream = heapq.heappop(self._due)
                if not stream.done.is_set():
                    stream.step()
                if not stream.done.is_set():
                    self._push(due + payloads.CHUNK_EVERY_S, stream)


class Server:
    """Answers every POST on a connection, one after another."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer

    async def handle(self, connection: trio.SocketStream) -> None:
        with trio.move_on_after(_IDLE_DEADLINE_S) as idle:
            try:
                while body := await _read_request(connection):
                    idle.deadline = trio.current_time() + _LONGEST_STREAM_S
                    if not await self._answer(connection, body):
                        return
                    idle.deadline = trio.current_time() + _IDLE_DEADLINE_S
            except trio.BrokenResourceError:
                return

    async def _answer(self, connection: trio.SocketStream, body: bytes) -> bool:
        stream = Stream(connection.socket.fileno(), payloads.chunks_wanted(body))
        stream.open()
        self._pacer.add(stream)
        await stream.done.wait()
        return stream.is_whole


async def _read_request(connection: trio.SocketStream) -> bytes:
    """The next request's body; empty when the client has left."""
    data = b""
    while len(data) < _MAX_REQUEST_BYTES:
        head, found, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length and len(body) >= int(length[1]):
            return body
        more = await connection.receive_some(65536)
        if not more:
            return b""
        data += more
    return b""


async def main(port: int) -> None:
    """Serve on the loopback until the process is ended."""
    pacer = Pacer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.run)
        gc.freeze()
        await trio.serve_tcp(Server(pacer).handle, port, host="127.0.0.1", backlog=1024)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
