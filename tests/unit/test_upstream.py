"""What leaves for an upstream, and what is made of its answers."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.upstream import UpstreamError, Upstreams, parse_base_url
from tests.unit.scripted_upstream import OK, Peer, answering, client, fetch, opened, upstream


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    async with client() as made:
        yield made


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece


async def sent_for(
    method: str = "POST",
    target: bytes = b"/v1/messages",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes | AsyncIterator[bytes] = b"{}",
    prefix: str = "",
) -> tuple[bytes, bytes]:
    """The request line and headers, and the body, as the upstream gets them."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.read_request())
        await peer.stream.send_all(OK)
        await peer.wait_for_end()

    async with upstream(script) as served, client() as upstreams:
        await fetch(upstreams, served.base_url + prefix, method, target, headers, body)
        head, _, sent = seen[0].partition(b"\r\n\r\n")
        return head.replace(served.base_url[7:].encode(), b"HOST"), sent


async def answer_to(method: str, answer: bytes) -> tuple[int, bytes]:
    """What a client makes of these bytes, after which the upstream closes."""

    async def script(peer: Peer) -> None:
        await peer.answer(answer)

    async with upstream(script) as served, client() as upstreams:
        return await fetch(upstreams, served.base_url, method)


async def test_a_request_goes_below_the_prefix_with_host_and_length() -> None:
    head, body = await sent_for("POST", b"/v1/x?a=b", [(b"x-api-key", b"k")], b"hello", "/gate/")
    lines = [
        b"POST /gate/v1/x?a=b HTTP/1.1",
        b"host: HOST",
        b"x-api-key: k",
        b"content-length: 5",
    ]
    assert (head.split(b"\r\n"), body) == (lines, b"hello")


async def test_the_callers_own_framing_headers_are_replaced() -> None:
    theirs = [(b"host", b"h"), (b"content-length", b"9"), (b"transfer-encoding", b"chunked")]
    head, body = await sent_for(headers=[*theirs, (b"connection", b"close")])
    lines = [b"POST /v1/messages HTTP/1.1", b"host: HOST", b"content-length: 2"]
    assert (head.split(b"\r\n"), body) == (lines, b"{}")


@pytest.mark.parametrize(("method", "has_length"), [("GET", False), ("POST", True)])
async def test_an_empty_body_has_a_length_only_where_a_body_is_expected(
    method: str, has_length: bool
) -> None:
    head, _ = await sent_for(method, body=b"")
    assert (b"content-length: 0" in head) is has_length


async def test_a_body_in_pieces_goes_in_chunks() -> None:
    head, body = await sent_for(body=pieces_of(b"abc", b"", b"x" * 17))
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert body == b"3\r\nabc\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"


async def test_a_body_in_pieces_of_announced_length_goes_as_it_is() -> None:
    headers = [(b"content-length", b"5")]
    head, body = await sent_for(headers=headers, body=pieces_of(b"ab", b"cde"))
    assert b"transfer-encoding" not in head
    assert body == b"abcde"


@pytest.mark.parametrize("pieces", [(b"abc",), (b"abc", b"def")])
async def test_a_body_of_another_length_than_announced_fails(
    upstreams: Upstreams, pieces: tuple[bytes, ...]
) -> None:
    async with upstream(Peer.wait_for_end) as served:
        headers = [(b"content-length", b"5")]
        with pytest.raises(UpstreamError, match="announced length") as caught:
            await fetch(upstreams, served.base_url, headers=headers, body=pieces_of(*pieces))
        assert (caught.value.stage, caught.value.never_left) == ("send", False)
        assert upstreams.open_connections == 0


async def test_a_large_body_arrives_whole() -> None:
    large = bytes(range(256)) * 4096 * 2
    _, body = await sent_for(body=large)
    assert body == large


async def test_an_error_in_the_body_reaches_the_caller_as_it_is(upstreams: Upstreams) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        await trio.lowlevel.checkpoint()
        raise KeyError("the client's body")

    async with upstream(Peer.wait_for_end) as served:
        with pytest.raises(KeyError):
            await fetch(upstreams, served.base_url, body=broken())
        assert upstreams.open_connections == 0
        await served.wait_ended(1)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/v1\r\nx: y", []),
        (b"/v1 x", []),
        (b"v1", []),
        (b"/v1", [(b"x", b"a\r\nb: c")]),
        (b"/v1", [(b"x", b"a\nb: c")]),
        (b"/v1", [(b"x", b"a\0")]),
    ],
)
async def test_nothing_can_be_smuggled_in_by_a_header_or_target(
    upstreams: Upstreams, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(ValueError, match=r"^A (header|target)"):
        await fetch(upstreams, "http://127.0.0.1:9", target=target, headers=headers)


async def test_an_early_answer_ends_an_upload_that_waits_for_its_source(
    upstreams: Upstreams,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"first"
        await trio.sleep_forever()

    async def script(peer: Peer) -> None:
        await peer.read_until(b"first")
        await peer.stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig")
        await peer.wait_for_end()

    async with upstream(script) as served:
        assert await fetch(upstreams, served.base_url, body=endless()) == (413, b"big")
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("is_one_piece", [True, False])
async def test_an_early_answer_ends_an_upload_that_is_not_read(
    upstreams: Upstreams, is_one_piece: bool, closes: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig")
        if not closes:
            await trio.sleep_forever()

    async with upstream(script) as served:
        large = bytes(32 << 20)
        headers = [(b"content-length", b"%d" % len(large))]
        body = pieces_of(large) if is_one_piece else large
        answer = await fetch(upstreams, served.base_url, headers=headers, body=body)
        assert answer == (413, b"big")
        assert upstreams.open_connections == 0


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("POST", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        ("POST", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "POST",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n",
            b"abcde",
        ),
        ("POST", b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        ("POST", b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        ("POST", b"HTTP/1.1 204 Nothing\r\n\r\n", b""),
        ("POST", b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (
            "POST",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nTransfer-Encoding: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
        ),
    ],
)
async def test_every_framing_gives_its_body(method: str, answer: bytes, body: bytes) -> None:
    assert (await answer_to(method, answer))[1] == body


async def test_the_head_keeps_order_and_duplicates_and_drops_only_the_chunked_framing(
    upstreams: Upstreams,
) -> None:
    answer = (
        b"HTTP/1.1 299 Odd\r\nSet-Cookie: a\r\nX-Empty:\r\nTransfer-Encoding: Chunked\r\n"
        b"Content-Encoding: gzip\r\nSET-cookie: b\r\n\r\n2\r\n\x1f\x8b\r\n0\r\nX-Late: t\r\n\r\n"
    )
    async with upstream(answering(answer)) as served, opened(upstreams, served.base_url) as reply:
        assert await reply.receive() == b"\x1f\x8b"
        assert await reply.receive() == b""
        assert reply.status == 299
        assert reply.headers == [
            (b"set-cookie", b"a"),
            (b"x-empty", b""),
            (b"content-encoding", b"gzip"),
            (b"set-cookie", b"b"),
        ]


async def test_a_content_length_stays_in_the_headers(upstreams: Upstreams) -> None:
    async with upstream(answering(OK)) as served, opened(upstreams, served.base_url) as reply:
        assert reply.headers == [(b"content-length", b"2")]


async def test_what_came_together_is_received_together(upstreams: Upstreams) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"
    async with upstream(answering(answer)) as served, opened(upstreams, served.base_url) as reply:
        assert await reply.receive() == b"ab"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabc",
        CHUNKED,
        CHUNKED + b"0\r\n",
        CHUNKED + b"not hexadecimal\r\n",
    ],
)
async def test_a_body_that_breaks_off_gives_what_came_and_then_an_error(
    upstreams: Upstreams, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(answer)

    async with upstream(script) as served, opened(upstreams, served.base_url) as reply:
        assert await reply.receive() == b"abc"
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await reply.receive()
            assert (caught.value.stage, caught.value.never_left) == ("body", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"\r\n",
        b"HTTP/1.1 103 Hints\r\n\r\n" * 5_000,
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_the_headers(
    upstreams: Upstreams, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        await peer.wait_for_end()

    async with upstream(script) as served:
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url)
        assert (caught.value.stage, caught.value.never_left) == ("headers", False)
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("endless", [b"3;" + b"x" * 140_000, b"0\r\n" + b"X: y\r\n" * 30_000])
async def test_endless_framing_is_not_gathered(upstreams: Upstreams, endless: bytes) -> None:
    async with (
        upstream(answering(CHUNKED + endless)) as served,
        opened(upstreams, served.base_url) as reply,
    ):
        assert await reply.receive() == b"abc"
        with pytest.raises(UpstreamError, match="endless"):
            await reply.receive()


async def test_a_cancelled_receive_loses_nothing(upstreams: Upstreams) -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await go_on.wait()
        await peer.stream.send_all(b"def")
        await peer.wait_for_end()

    async with upstream(script) as served, opened(upstreams, served.base_url) as reply:
        assert await reply.receive() == b"abc"
        for _ in range(3):
            with trio.move_on_after(0.001) as gave_up:
                await reply.receive()
            assert gave_up.cancelled_caught
        go_on.set()
        assert await reply.receive() == b"def"
        assert await reply.receive() == b""


@given(data=st.data(), body=st.binary(max_size=60), is_chunked=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_split_of_an_answer_gives_the_same_body(
    data: st.DataObject, body: bytes, is_chunked: bool
) -> None:
    if is_chunked:
        cut = data.draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    else:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=12)))
    segments = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]

    async def script(peer: Peer) -> None:
        await peer.read_request()
        for segment in segments:
            await peer.stream.send_all(segment)
            # The client reads each before the next is sent.
            await trio.testing.wait_all_tasks_blocked()
        await peer.wait_for_end()

    async with upstream(script) as served, client() as upstreams:
        assert await fetch(upstreams, served.base_url) == (200, body)
        assert upstreams.idle_connections == 1


@pytest.mark.parametrize(
    ("url", "address", "prefix", "host_header"),
    [
        ("http://a.example", ("http", "a.example", 80), b"", b"a.example"),
        ("https://A.example/", ("https", "a.example", 443), b"", b"a.example"),
        ("https://a:8443/x/y/", ("https", "a", 8443), b"/x/y", b"a:8443"),
        ("http://[::1]:99/p", ("http", "::1", 99), b"/p", b"[::1]:99"),
        ("https://[2001:db8::2]", ("https", "2001:db8::2", 443), b"", b"[2001:db8::2]"),
        ("https://a:443", ("https", "a", 443), b"", b"a"),
    ],
)
def test_a_base_url_is_read(
    url: str, address: tuple[str, str, int], prefix: bytes, host_header: bytes
) -> None:
    origin = parse_base_url(url)
    assert origin.address == (*address, None, False, False)
    assert (origin.prefix, origin.host_header) == (prefix, host_header)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "ftp://a",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user@a",
        "http://u:p@a",
        "http://a?x",
        "http://a/#",
        "http://a b",
        "http://a\n",
        "http://a\t/x",
        "http://ä.example",
        "http://a:0",
        "http://a:65536",
        "http://a:x",
        "http://a\\b",
        "http://[::1",
        "http://[fe80::1%eth0]",
        "http://[v1.x]",
        "http://-a",
        "http://a/\x7f",
    ],
)
def test_another_kind_of_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_base_url(url)
