"""Both servers of HTTP say the same to everything: byte for byte, and close for close."""

import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from relay.listener import Limits, open_listeners, serve

from .asgi_on_lane import on_lane
from .http_corpus import NEXT, Case, cases

CASES = list(cases())
# Of a clock that jumps when nobody has anything to do.
LIMITS = Limits(write_timeout_s=20, keep_alive_s=20, headers_timeout_s=10)
A_WHILE_S = 600
DATE = re.compile(rb"\r\ndate: [^\r]+", re.IGNORECASE)
# What follows a request that asked for the connection's end is nobody's: the lane leaves it and
# answers the request, and h11 refuses both.
BETTER = {
    "followed: closing",
    "headers: b'host: h\\r\\nconnection: Close\\r\\n' 28",
    "headers: b'host: h\\r\\nconnection: keep-alive, close\\r\\n' 40",
    "headers: b'host: h\\r\\nconnection: close, x\\r\\n' 31",
    "pipeline: more after the last",
}
Outcome = tuple[bytes, str]


def refuse(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    return [(b"content-type", b"text/plain")], b"refused with %d" % status


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with all that was understood, in the way that the path asks for."""
    path = scope["raw_path"]
    body = b""
    while path != b"/unread":
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    if path == b"/fail":
        raise ZeroDivisionError
    told = [scope["method"], path, scope["query_string"], sorted(scope["headers"])]
    text = repr(told).encode() + b"%d " % len(body) + body[:200]
    status = int(path[1:]) if path in (b"/204", b"/304") else 200
    length = [] if path in (b"/stream", b"/cut") else [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": length})
    if path in (b"/stream", b"/cut"):
        await send({"type": "http.response.body", "body": text, "more_body": True})
    if path != b"/cut":
        last = b"" if path == b"/stream" else text
        await send({"type": "http.response.body", "body": last})


async def outcome(port: int, case: Case) -> Outcome:
    """What the client reads, and how it ends; "open" where the server waits for the body."""
    received, end = b"", "open"
    with trio.move_on_after(A_WHILE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            with suppress(trio.BrokenResourceError):
                for part in case.parts:
                    await client.send_all(part)
                    await trio.sleep(case.pause_s)
            try:
                async for data in client:
                    received += data
                end = "closed"
            except trio.BrokenResourceError:
                end = "reset"
    return DATE.sub(b"", received), end


async def listening(nursery: trio.Nursery, lane: Any) -> int:
    """A server of `app`; its port."""
    listeners = await open_listeners("127.0.0.1", 0)
    start = partial(serve, app, listeners, LIMITS, stop=trio.Event(), drain_timeout_s=0)
    await nursery.start(partial(start, refuse=refuse, lane=lane))
    return int(listeners[0].socket.getsockname()[1])


async def outcomes(*lanes: Any) -> list[dict[str, Outcome]]:
    """What comes of each case at a server with each of the lanes, all of them at one time."""
    found: list[dict[str, Outcome]] = [{} for _ in lanes]

    async def run(to: dict[str, Outcome], port: int, case: Case) -> None:
        to[case.name] = await outcome(port, case)

    async with trio.open_nursery() as servers:
        ports = [await listening(servers, lane) for lane in lanes]
        async with trio.open_nursery() as clients:
            for case in CASES:
                for to, port in zip(found, ports, strict=True):
                    clients.start_soon(run, to, port, case)
        servers.cancel_scope.cancel()
    return found


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """A clock without waiting; what is sent on loopback is there at once."""
    return trio.testing.MockClock(autojump_threshold=0.01)


def test_there_are_many_cases_with_a_name_each() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300


@pytest.mark.slow
async def test_both_servers_say_and_close_the_same(clock: trio.testing.MockClock) -> None:
    by_hypercorn, by_lane = await outcomes(None, on_lane(app))
    different = {name for name in by_hypercorn if by_hypercorn[name] != by_lane[name]}
    assert {name: (by_hypercorn[name], by_lane[name]) for name in different - BETTER} == {}
    for name in BETTER:
        assert by_hypercorn[name][0].startswith(b"HTTP/1.1 400 ")
        assert by_lane[name][0].startswith(b"HTTP/1.1 200 ")
        assert by_lane[name][0].count(b"HTTP/1.1") == 1
        assert by_lane[name][1] == "closed"


CADDYFILE = """{
  admin off
  auto_https off
  persist_config off
  servers {
    timeouts {
      read_header 3s
      read_body 3s
      idle 3s
    }
  }
}
"""
SITE = """http://127.0.0.1:%d {
  reverse_proxy 127.0.0.1:%d
}
"""
# Slow clients are Caddy's matter, and a split is no more one behind it.
IN_FRONT = [case for case in CASES if len(case.parts) == 1]
PATIENCE_S = 60
AT_ONCE = 40


@asynccontextmanager
async def caddy_before(ports: Sequence[int], folder: Path) -> AsyncIterator[list[int]]:
    """A Caddy with a port in front of each of the given ones."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in ports]
    fronts = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    config = folder / "Caddyfile"
    sites = (SITE % pair for pair in zip(fronts, ports, strict=True))
    config.write_text(CADDYFILE + "".join(sites))
    binary = shutil.which("caddy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert binary is not None, "there is no caddy; install the package's extra `test`"
    command = [binary, "run", "--config", str(config), "--adapter", "caddyfile"]
    env = {**os.environ, "HOME": str(folder)}
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, env=env, check=False, capture_stderr=True)
        nursery.start_soon(run)
        for front in fronts:
            await answering(front)
        yield fronts
        nursery.cancel_scope.cancel()


async def answering(port: int) -> None:
    """Wait until somebody listens."""
    with trio.fail_after(PATIENCE_S):
        while True:
            with suppress(OSError):
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                return
            await trio.sleep(0.02)


def agree(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same; what a reset of Caddy's swallowed may be missing."""
    if "reset" in (one[1], other[1]):
        return one[0].startswith(other[0]) or other[0].startswith(one[0])
    return one == other


@pytest.mark.slow
async def test_both_servers_say_and_close_the_same_behind_caddy(tmp_path: Path) -> None:
    found: list[dict[str, Outcome]] = [{}, {}]
    places = trio.CapacityLimiter(AT_ONCE)

    async def run(to: dict[str, Outcome], port: int, case: Case) -> None:
        async with places:
            received, end = await outcome(port, Case(case.name, [*case.parts, NEXT], 0))
            to[case.name] = received.replace(b":%d" % port, b""), end

    async with trio.open_nursery() as servers:
        ports = [await listening(servers, lane) for lane in (None, on_lane(app))]
        async with caddy_before(ports, tmp_path) as fronts, trio.open_nursery() as clients:
            for case in IN_FRONT:
                for to, port in zip(found, fronts, strict=True):
                    clients.start_soon(run, to, port, case)
        servers.cancel_scope.cancel()
    by_hypercorn, by_lane = found
    assert len(by_lane) == len(IN_FRONT) >= 300
    assert sum(end == "closed" for _, end in by_lane.values()) >= 300
    different = [name for name in by_lane if not agree(by_hypercorn[name], by_lane[name])]
    assert {name: (by_hypercorn[name], by_lane[name]) for name in different} == {}
