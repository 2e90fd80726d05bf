"""One round of streams: many clients on thin sockets, their starts spread over a second.

Every chunk carries the time of its sending, so its delay is the contender's (and the load's own:
the row `direct` shows how much that is).
"""

import contextlib
import gc
import os
import re
import time
from dataclasses import dataclass, field
from math import ceil
from urllib.parse import urlsplit

import httptools
import trio

from tests.bench import payloads
from tests.bench.contenders import Contender
from tests.bench.processes import cpu_s

# How much longer than ideal a round may take before what is left counts as incomplete.
_SPARE_S = 30.0
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Shape:
    """How many streams of how many chunks, their starts spread over `spread_s`."""

    streams: int
    chunks: int
    spread_s: float = 1.0

    @property
    def ideal_s(self) -> float:
        return self.spread_s + self.chunks * payloads.CHUNK_EVERY_S


@dataclass(frozen=True, slots=True)
class StreamsRound:
    """What one round showed; a percentile is None when nothing arrived."""

    completed: int
    wall_s: float
    ttfb_p50_ms: float | None
    ttfb_p99_ms: float | None
    delay_p99_ms: float | None
    cpu_s_per_1000: float | None
    aside_cpu_s_per_1000: float | None


@dataclass(slots=True)
class _Client:
    """One stream as its client sees it; the parser calls the on_… methods."""

    last_event: bytes
    stamp: re.Pattern[bytes]
    ttfb_s: float | None = None
    delays_ns: list[int] = field(default_factory=list)
    is_complete: bool = False
    is_over: bool = False
    now_ns: int = 0
    _tail: bytes = b""

    def on_body(self, data: bytes) -> None:
        frames, _, self._tail = (self._tail + data).rpartition(b"\n\n")
        self.delays_ns += [self.now_ns - int(sent) for sent in self.stamp.findall(frames)]
        self.is_complete = self.is_complete or self.last_event in frames

    def on_message_complete(self) -> None:
        self.is_over = True

    def read_from(self, handle: int, parser: httptools.HttpResponseParser) -> None:
        data = os.read(handle, _READ_BYTES)
        self.now_ns = time.monotonic_ns()
        if data:
            parser.feed_data(data)
        else:
            self.is_over = True


async def run(contender: Contender, shape: Shape) -> StreamsRound:
    """Open all streams of a shape on a contender and read them to their ends."""
    own, aside = contender.pids()
    own_before, aside_before = cpu_s(own), cpu_s(aside)
    clients = [_Client(contender.last_event, contender.stamp) for _ in range(shape.streams)]
    began = trio.current_time()
    with trio.move_on_after(shape.ideal_s + _SPARE_S), _no_collection():
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                start_at = began + shape.spread_s * number / max(1, shape.streams - 1)
                nursery.start_soon(_read_stream, client, contender, shape.chunks, start_at)
    wall_s = trio.current_time() - began
    # Whoever refuses is quick to answer: only streams that had a chunk count.
    ttfbs_ms = [one.ttfb_s * 1000 for one in clients if one.ttfb_s is not None and one.delays_ns]
    delays_ms = [delay / 1e6 for client in clients for delay in client.delays_ns]
    thousands = len(delays_ms) / 1000
    return StreamsRound(
        completed=sum(
            client.is_complete and len(client.delays_ns) == shape.chunks for client in clients
        ),
        wall_s=wall_s,
        ttfb_p50_ms=percentile(ttfbs_ms, 50),
        ttfb_p99_ms=percentile(ttfbs_ms, 99),
        delay_p99_ms=percentile(delays_ms, 99),
        cpu_s_per_1000=(cpu_s(own) - own_before) / thousands if thousands else None,
        aside_cpu_s_per_1000=(cpu_s(aside) - aside_before) / thousands if thousands else None,
    )


@contextlib.contextmanager
def _no_collection():
    """A pause of the load's own collector would count as the contender's delay."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _read_stream(client: _Client, contender: Contender, chunks: int, start_at: float) -> None:
    url = urlsplit(contender.streams_url + contender.path)
    body = contender.request(chunks=chunks)
    request = _request(url.netloc, url.path, contender.headers, body)
    parser = httptools.HttpResponseParser(client)
    await trio.sleep_until(start_at)
    asked_at = trio.current_time()
    # A refused or broken connection leaves the stream incomplete, and that is counted.
    broken = contextlib.suppress(OSError, httptools.HttpParserError)
    with broken, trio.socket.socket() as connection:
        await connection.connect((url.hostname, url.port))
        await connection.send(request)
        while not client.is_over:
            await trio.lowlevel.wait_readable(connection)
            client.read_from(connection.fileno(), parser)
            if client.ttfb_s is None:
                client.ttfb_s = trio.current_time() - asked_at


def _request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    given = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{given}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest value that at least `percent` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[ceil(len(ranked) * percent / 100) - 1] if ranked else None
