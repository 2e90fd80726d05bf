"""The listener on real loopback sockets: raw bytes in, raw bytes out, and what the app saw."""

import errno
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from relay.http1 import Inbox
from relay.listener import (
    Limits,
    ListenError,
    accept_failures_once_a_minute,
    open_listeners,
    serve,
)

from .asgi_on_lane import on_lane

PATIENT = Limits(write_timeout_s=30, keep_alive_s=30, headers_timeout_s=30)
PROMISE_S = 10
LANE = {"is_on": False}
App = Callable[[Any, Any, Any], Awaitable[None]]


def refuse(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = json.dumps({"error": {"message": f"Refused with {status}."}}).encode()
    return [(b"content-type", b"application/json")], body


@dataclass
class Serving:
    port: int
    url: str = ""
    stop: trio.Event = field(default_factory=trio.Event)
    ready: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Send `data` and read until the server closes."""
        async with await self.connect() as client:
            await client.send_all(data)
            return await read_all(client)


@pytest.fixture(params=["hypercorn", "lane"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test is true of both servers of HTTP."""
    monkeypatch.setitem(LANE, "is_on", request.param == "lane")
    return str(request.param)


@asynccontextmanager
async def serving(
    app: App, limits: Limits = PATIENT, drain_timeout_s: float = PROMISE_S
) -> AsyncIterator[Serving]:
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    here = Serving(port)
    start = partial(
        serve,
        app,
        listeners,
        limits,
        stop=here.stop,
        drain_timeout_s=drain_timeout_s,
        refuse=refuse,
        lane=on_lane(app) if LANE["is_on"] else None,
    )

    async def run() -> None:
        async with trio.open_nursery() as server:
            [here.url] = await server.start(start)
            here.ready.set()
        here.done.set()

    with trio.fail_after(PROMISE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await here.ready.wait()
            yield here
            nursery.cancel_scope.cancel()


async def read_all(client: trio.SocketStream) -> bytes:
    return b"".join([chunk async for chunk in client])


async def read_until(client: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        chunk = await client.receive_some()
        assert chunk, f"closed after {data!r}"
        data += chunk
    return data


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with method, path and body."""
    body = await read_body(receive)
    await answer(send, b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body))


async def begin_stream(send: Any, first: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": first, "more_body": True})


def refusal_in(data: bytes) -> tuple[int, str]:
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["message"]


# Requests and answers


async def test_a_client_library_gets_its_answer_on_one_kept_connection() -> None:
    ports = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ports.add(scope["client"][1])
        await echo(scope, receive, send)

    async with serving(app) as here, httpx.AsyncClient(base_url=here.url) as client:
        for number in range(20):
            reply = await client.post("/v1/messages?x=1", content=f"body {number}")
            assert reply.text == f"POST /v1/messages body {number}"
    assert len(ports) == 1


async def test_date_is_sent_and_the_server_is_not_named() -> None:
    async with serving(echo) as here, httpx.AsyncClient() as client:
        reply = await client.get(here.url)
    assert "date" in reply.headers
    assert "server" not in reply.headers


async def test_two_requests_in_one_segment_are_answered_in_order() -> None:
    one = b"GET /one HTTP/1.1\r\nhost: h\r\n\r\n"
    two = b"POST /two HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"
    async with serving(echo) as here:
        data = await here.exchange(one + two)
    assert data.count(b"HTTP/1.1 200") == 2
    assert data.index(b"GET /one") < data.index(b"POST /two abc")


async def test_a_request_that_arrives_during_another_is_answered_after_it() -> None:
    go_on = trio.Event()
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        if scope["path"] == "/one":
            await begin_stream(send, b"first")
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"last"})
        else:
            await answer(send, b"second answer")

    async with serving(app) as here, await here.connect() as client:
        await client.send_all(b"GET /one HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(client, b"first\r\n")
        await client.send_all(b"GET /two HTTP/1.1\r\nhost: h\r\n\r\nGET /thr")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["/one"]
        go_on.set()
        await read_until(client, b"second answer")
        await client.send_all(b"ee HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(client, b"second answer")
    assert seen == ["/one", "/two", "/three"]


async def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await begin_stream(send, b"one ")
        await send({"type": "http.response.body", "body": b"two"})

    async with serving(app) as here:
        data = await here.exchange(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"one two"
    assert b"transfer-encoding" not in head.lower()


async def test_expect_100_continue_is_answered_before_the_body() -> None:
    async with serving(echo) as here, await here.connect() as client:
        head = b"PUT /f HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        await client.send_all(head)
        assert (await read_until(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send_all(b"hi")
        assert b"200" in await read_until(client, b"PUT /f hi")


async def test_head_gets_the_length_and_no_body() -> None:
    request = b"HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
    async with serving(echo) as here:
        data = await here.exchange(request)
    assert b"content-length: 7" in data.lower()
    assert data.endswith(b"\r\n\r\n")


async def test_a_chunked_request_body_arrives_whole() -> None:
    request = (
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    async with serving(echo) as here:
        data = await here.exchange(request + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    assert data.endswith(b"POST / abcde")


@pytest.mark.parametrize(
    "upgrade",
    [
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
async def test_an_upgrade_is_ignored(upgrade: bytes) -> None:
    async with serving(echo) as here, await here.connect() as client:
        for _ in range(2):
            await client.send_all(b"GET /x HTTP/1.1\r\nhost: h\r\n" + upgrade + b"\r\n")
            assert (await read_until(client, b"GET /x ")).startswith(b"HTTP/1.1 200 ")


async def test_head_and_first_body_leave_in_one_write() -> None:
    hold = trio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await hold.wait()
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await trio.sleep_forever()

    started = trio.Event()
    async with serving(app) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await started.wait()
        hold.set()
        assert (await client.receive_some()).endswith(b"\r\n\r\n1\r\nx\r\n")


async def test_an_empty_body_message_sends_the_head_at_once() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await begin_stream(send)
        await trio.sleep_forever()

    async with serving(app) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        assert (await read_until(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_what_has_no_handler_goes_to_the_other_server_with_its_bytes() -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await answer(send, b"other " + scope["raw_path"] + b" ")

    find = on_lane(echo)
    listeners = await open_listeners("127.0.0.1", 0)
    start = partial(serve, other, listeners, PATIENT, stop=trio.Event(), drain_timeout_s=0)
    with trio.fail_after(PROMISE_S):
        async with trio.open_nursery() as nursery:
            lane = lambda path: None if path == b"/page" else find(path)  # noqa: E731
            await nursery.start(partial(start, refuse=refuse, lane=lane))
            here = Serving(listeners[0].socket.getsockname()[1])
            data = await here.exchange(
                b"GET /api HTTP/1.1\r\nhost: h\r\n\r\n"
                b"POST /page?q HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx"
                b"GET /api HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
            )
            nursery.cancel_scope.cancel()
    assert [data.count(text) for text in (b"GET /api ", b"other /page ", b"other /api ")] == [1] * 3


# What is refused


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"no http at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: h\r\nbad name: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"CONNECT h:443 HTTP/1.1\r\nhost: h\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"a" * 200_000, 431),
    ],
)
async def test_what_is_no_request_is_refused_with_a_sentence(
    request_bytes: bytes, status: int
) -> None:
    async with serving(echo) as here:
        data = await here.exchange(request_bytes)
    assert refusal_in(data) == (status, f"Refused with {status}.")


async def test_a_head_of_60_kib_is_accepted() -> None:
    request = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx: " + b"a" * 60_000
    async with serving(echo) as here:
        assert (await here.exchange(request + b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_garbled_request_after_a_good_one_is_refused_too() -> None:
    async with serving(echo) as here, await here.connect() as client:
        await client.send_all(b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(client, b"\r\n\r\n")
        await client.send_all(b"nonsense\r\n\r\n")
        assert refusal_in(await read_all(client))[0] == 400


async def test_slow_headers_are_answered_with_408() -> None:
    limits = replace(PATIENT, headers_timeout_s=0.2)
    async with serving(echo, limits) as here:
        data = await here.exchange(b"GET / HTTP/1.1\r\nhost:")
    assert refusal_in(data)[0] == 408


async def test_bytes_that_drip_in_do_not_move_the_deadline_of_the_head() -> None:
    limits = replace(PATIENT, headers_timeout_s=0.2)

    async def drip(client: trio.SocketStream) -> None:
        await client.send_all(b"GET / HTTP/1.1\r\n")
        while True:
            await client.send_all(b"a: b\r\n")
            await trio.sleep(0.02)

    async with (
        serving(echo, limits) as here,
        await here.connect() as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(drip, client)
        assert b" 408 " in await client.receive_some()
        nursery.cancel_scope.cancel()


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    limits = replace(PATIENT, keep_alive_s=0.2)
    async with serving(echo, limits) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(client, b"GET / ")
        assert await read_all(client) == b""
        assert await here.exchange(b"") == b""


# An application that fails


async def test_an_application_without_an_answer_gives_500() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async with serving(app) as here:
        data = await here.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
    assert refusal_in(data)[0] == 500


async def test_an_application_that_raises_gives_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async with serving(app) as here:
        data = await here.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        again = await here.exchange(b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n")
    assert refusal_in(data)[0] == 500
    assert again.startswith(b"HTTP/1.1 500 ")
    assert again.endswith(b"\r\n\r\n")
    assert [record.name for record in caplog.records] == ["relay.listener"] * 2
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "returns"])
async def test_an_unfinished_answer_is_cut_and_never_ends_cleanly(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await begin_stream(send, b"half")
        if fails:
            raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

    async with serving(app) as here, httpx.AsyncClient() as client:
        data = await here.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await client.get(here.url)
    assert data.endswith(b"4\r\nhalf\r\n")
    assert ("ValueError" in caplog.text and "KeyError" in caplog.text) is fails


async def test_a_cut_answer_resets_an_http_1_0_client() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await begin_stream(send, b"half")

    async with serving(app) as here:
        with pytest.raises(trio.BrokenResourceError):
            await here.exchange(b"GET / HTTP/1.0\r\n\r\n")


async def test_an_answer_shorter_than_its_content_length_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half"})

    async with serving(app) as here, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(here.url)
    assert "Too little data" in caplog.text


async def test_headers_that_http_does_not_allow_give_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"x", b"split\r\ny: z")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as here:
        data = await here.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
    assert refusal_in(data)[0] == 500
    assert "Illegal header value" in caplog.text


async def test_one_connection_s_failure_leaves_the_server_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]

    def broken(_status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
        raise ZeroDivisionError

    with trio.fail_after(PROMISE_S):
        async with trio.open_nursery() as nursery:
            start = partial(
                serve, echo, listeners, PATIENT, stop=trio.Event(), drain_timeout_s=1, refuse=broken
            )
            await nursery.start(start)
            here = Serving(port)
            assert await here.exchange(b"nonsense\r\n\r\n") == b""
            good = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
            assert b" 200 " in await here.exchange(good)
            nursery.cancel_scope.cancel()
    assert "ZeroDivisionError" in caplog.text


# A client that leaves


def reset(client: trio.SocketStream) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def close(client: trio.SocketStream) -> None:
    client.socket.close()


@pytest.mark.parametrize("leave", [close, reset])
@pytest.mark.parametrize("streams", [True, False], ids=["streaming", "waiting"])
@pytest.mark.parametrize("extra", [b"", b"\r\n", b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n"])
async def test_a_client_s_leaving_reaches_the_application(
    leave: Callable[[trio.SocketStream], None], streams: bool, extra: bytes
) -> None:
    began, gone = trio.Event(), trio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        if streams:
            await begin_stream(send, b"one")
        began.set()
        assert await receive() == {"type": "http.disconnect"}
        assert await receive() == {"type": "http.disconnect"}
        await send({"type": "http.response.body", "body": b"to nobody", "more_body": True})
        gone.set()

    async with serving(app) as here:
        client = await here.connect()
        await client.send_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx" + extra)
        await began.wait()
        leave(client)
        await gone.wait()


async def test_leaving_in_the_middle_of_a_body_follows_what_was_sent_of_it() -> None:
    messages = []
    gone = trio.Event()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        while not messages or messages[-1]["type"] != "http.disconnect":
            messages.append(await receive())
        gone.set()

    async with serving(app) as here:
        async with await here.connect() as client:
            await client.send_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf")
        await gone.wait()
    assert b"".join(message.get("body", b"") for message in messages) == b"half"


@pytest.mark.parametrize("chunk_bytes", [1, 65536])
async def test_an_upload_that_nobody_reads_is_held_back_until_it_is_read(chunk_bytes: int) -> None:
    go_on = trio.Event()
    sent_bytes = 0
    chunk = b"%x\r\n%s\r\n" % (chunk_bytes, b"x" * chunk_bytes)
    batch = chunk * (1 + 65536 // len(chunk))

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, str(len(await read_body(receive))).encode())

    async def upload(client: trio.SocketStream) -> None:
        nonlocal sent_bytes
        await client.send_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        while not go_on.is_set():
            await client.send_all(batch)
            sent_bytes += len(batch) // len(chunk) * chunk_bytes
        await client.send_all(b"0\r\n\r\n")

    async with (
        serving(app) as here,
        await here.connect() as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(upload, client)
        await trio.testing.wait_all_tasks_blocked(0.1)
        go_on.set()
        answer_now = await client.receive_some()
        assert answer_now.endswith(b"\r\n\r\n%d" % sent_bytes)


async def test_what_is_held_of_a_body_is_bounded_also_in_tiny_chunks() -> None:
    inbox = Inbox()
    held = 0
    with trio.move_on_after(PROMISE_S):
        async with trio.open_nursery() as nursery:

            async def fill() -> None:
                nonlocal held
                while True:
                    await inbox.put({"type": "http.request", "body": b"x", "more_body": True})
                    held += 1

            nursery.start_soon(fill)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert 100 < held < 1000


async def test_a_refused_upload_gets_its_answer_while_it_still_sends() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"too large", 413)

    async with serving(app) as here, httpx.AsyncClient() as client:
        reply = await client.post(here.url, content=bytes(16 * 1024 * 1024))
    assert (reply.status_code, reply.text) == (413, "too large")
    assert reply.headers["connection"] == "close"


async def test_an_upload_that_waits_for_room_ends_with_its_answer() -> None:
    go_on = trio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, b"too large", 413)

    async def upload(client: trio.SocketStream) -> None:
        await client.send_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await client.send_all(bytes(65536))

    async with serving(app) as here:
        async with await here.connect() as client, trio.open_nursery() as nursery:
            nursery.start_soon(upload, client)
            await trio.testing.wait_all_tasks_blocked(0.1)
            go_on.set()
            assert b"too large" in await read_all(client)
            nursery.cancel_scope.cancel()
        here.stop.set()
        await here.done.wait()


async def stream_for_ever(send: Any) -> None:
    await begin_stream(send)
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


async def test_a_client_that_stops_reading_is_dropped() -> None:
    gone = trio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream_for_ever, send)
            assert await receive() == {"type": "http.disconnect"}
            nursery.cancel_scope.cancel()
        gone.set()

    limits = replace(PATIENT, write_timeout_s=0.2)
    async with serving(app, limits) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await gone.wait()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(client)


async def test_a_slow_reader_of_a_large_answer_is_not_dropped() -> None:
    size = 8 * 1024 * 1024

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, bytes(size))

    limits = replace(PATIENT, write_timeout_s=0.5)
    async with serving(app, limits) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        received, began = 0, trio.current_time()
        while chunk := await client.receive_some(256 * 1024):
            received += len(chunk)
            await trio.sleep(0.02)
    assert received > size
    assert trio.current_time() - began > limits.write_timeout_s


async def test_a_stalled_client_does_not_delay_the_application_s_own_deadline() -> None:
    given_up = trio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        with trio.move_on_after(0.2):
            await stream_for_ever(send)
        given_up.set()

    async with serving(app) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await given_up.wait()
        with pytest.raises(trio.BrokenResourceError):
            await read_all(client)


# The stop


async def test_stop_closes_listeners_and_idle_connections_and_lets_requests_end() -> None:
    began, go_on = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            began.set()
            await go_on.wait()
        await echo(scope, receive, send)

    async with serving(app) as here, await here.connect() as idle, await here.connect() as busy:
        await idle.send_all(b"GET /quick HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(idle, b"GET /quick ")
        await busy.send_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await began.wait()
        here.stop.set()
        assert await read_all(idle) == b""
        with pytest.raises(OSError, match=r"connection|connect"):
            await here.connect()
        assert not here.done.is_set()
        go_on.set()
        data = await read_all(busy)
        assert b"connection: close" in data.lower()
        assert data.endswith(b"GET /slow ")
        await here.done.wait()


async def test_a_head_that_is_on_its_way_at_the_stop_is_still_answered() -> None:
    async with serving(echo) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nho")
        await trio.testing.wait_all_tasks_blocked(0.05)
        here.stop.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        await client.send_all(b"st: h\r\n\r\n")
        data = await read_all(client)
        await here.done.wait()
    assert b"connection: close" in data.lower()


async def test_what_outlives_the_drain_is_cancelled_and_its_client_sees_a_cut_answer() -> None:
    cancelled = trio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await begin_stream(send, b"half")
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(app, drain_timeout_s=0.2) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await read_until(client, b"half\r\n")
        here.stop.set()
        assert await read_all(client) == b""
        await here.done.wait()
    assert cancelled.is_set()


async def test_a_client_that_does_not_read_does_not_hold_the_stop() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        started.set()
        await stream_for_ever(send)

    started = trio.Event()
    async with serving(app, drain_timeout_s=0.2) as here, await here.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await started.wait()
        here.stop.set()
        await here.done.wait()


# The sockets


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://")]
)
async def test_a_host_is_listened_on_and_its_urls_are_told(host: str, url: str) -> None:
    listeners = await open_listeners(host, 0)
    async with trio.open_nursery() as nursery:
        start = partial(
            serve, echo, listeners, PATIENT, stop=trio.Event(), drain_timeout_s=0, refuse=refuse
        )
        urls = await nursery.start(start)
        assert all(each.startswith(url) for each in urls)
        async with httpx.AsyncClient() as client:
            for each in urls:
                assert (await client.get(each)).status_code == 200
        nursery.cancel_scope.cancel()


async def test_ipv6_is_listened_on() -> None:
    try:
        listeners = await open_listeners("::1", 0)
    except ListenError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    assert listeners[0].socket.family == socket.AF_INET6
    for listener in listeners:
        await listener.aclose()


async def test_a_taken_port_is_named_in_a_sentence() -> None:
    [listener] = await open_listeners("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    async with listener:
        with pytest.raises(ListenError, match=rf"^Port {port} on 127\.0\.0\.1 is taken: another"):
            await open_listeners("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("no-such-host.invalid", 0, "The host no-such-host.invalid is not known here"),
        ("x" * 70 + ".example", 0, "is not a host name or address"),
        ("192.0.2.1", 0, "192.0.2.1 is not an address of this machine"),
        ("127.0.0.1", 65536, "There is no port 65536"),
    ],
)
async def test_a_bad_address_is_refused_with_a_sentence(
    host: str, port: int, sentence: str
) -> None:
    with pytest.raises(ListenError, match=sentence):
        await open_listeners(host, port)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """What a test may do, an ordinary user may do."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)


@pytest.mark.usefixtures("ordinary_user")
async def test_a_port_that_is_not_permitted_is_named_in_a_sentence() -> None:
    with pytest.raises(ListenError, match="is not permitted"):
        await open_listeners("127.0.0.1", 1)


async def test_hypercorn_s_own_loggers_stay_silent() -> None:
    async with serving(echo) as here, httpx.AsyncClient() as client:
        await client.get(here.url)
    for name in ("hypercorn.access", "hypercorn.error"):
        assert not logging.getLogger(name).handlers


def test_failures_to_accept_are_one_line_a_minute(caplog: pytest.LogCaptureFixture):
    """Said by trio's own logger, as trio does at every try."""
    complaints = logging.getLogger("trio.serve_listeners")

    def complain() -> None:
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError:
            complaints.error("accept returned %s", "EMFILE", exc_info=True)

    with caplog.at_level(logging.ERROR), accept_failures_once_a_minute():
        for _ in range(50):
            complain()
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage().startswith("connections cannot be accepted: [Errno 24]")
    complain()
    assert len(caplog.records) == 2
