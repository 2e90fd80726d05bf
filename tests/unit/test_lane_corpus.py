"""Both servers of HTTP say the same to everything: byte for byte, and close for close."""

import re
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from relay.listener import Limits, open_listeners, serve

from .asgi_on_lane import on_lane
from .http_corpus import Case, cases

CASES = list(cases())
# Of a clock that jumps when nobody has anything to do.
LIMITS = Limits(write_timeout_s=20, keep_alive_s=20, headers_timeout_s=10)
A_WHILE_S = 600
DATE = re.compile(rb"\r\ndate: [^\r]+")
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
