"""Which connection a request takes, what becomes of it afterwards, and what failures mean."""

import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from relay.upstream import UpstreamError, Upstreams, UpstreamTimeoutError
from tests.unit.scripted_upstream import OK, Peer, answering, client, fetch, opened, upstream

# More than the socket buffers of both sides take, so that it is still leaving when it breaks.
LARGE = bytes(32 << 20)


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    async with client() as made:
        yield made


@pytest.mark.parametrize("body", [b"", b"{}", LARGE])
async def test_a_connection_is_used_again(upstreams: Upstreams, body: bytes) -> None:
    async with upstream(answering(OK, OK, OK)) as served:
        for _ in range(3):
            assert await fetch(upstreams, served.base_url, body=body) == (200, b"ok")
            assert (upstreams.open_connections, upstreams.idle_connections) == (1, 1)


async def test_prefixes_of_one_origin_share_connections(upstreams: Upstreams) -> None:
    async with upstream(answering(OK, OK)) as served:
        await fetch(upstreams, served.base_url + "/one")
        await fetch(upstreams, served.base_url + "/two")
        assert served.accepted == 1


async def test_the_connection_used_last_is_taken_first(upstreams: Upstreams) -> None:
    def naming(name: bytes) -> bytes:
        return OK.replace(b"ok", name)

    scripts = [answering(naming(name), naming(name)) for name in (b"c1", b"c2")]
    async with upstream(*scripts) as served:
        async with opened(upstreams, served.base_url) as first:
            async with opened(upstreams, served.base_url) as second:
                assert (await first.receive(), await second.receive()) == (b"c1", b"c2")
            assert upstreams.idle_connections == 1
        assert upstreams.idle_connections == 2
        assert await fetch(upstreams, served.base_url) == (200, b"c1")


async def test_an_old_idle_connection_is_not_used_again() -> None:
    async with (
        client(idle_expiry_s=0) as upstreams,
        upstream(answering(OK), answering(OK)) as served,
    ):
        await fetch(upstreams, served.base_url)
        await fetch(upstreams, served.base_url)
        await served.wait_ended(1)
        assert (served.accepted, upstreams.open_connections) == (2, 1)


async def test_pruning_closes_old_idle_connections_only() -> None:
    async with (
        client(idle_expiry_s=0) as hasty,
        client() as patient,
        upstream(answering(OK), answering(OK)) as served,
    ):
        await fetch(patient, served.base_url)
        await fetch(hasty, served.base_url)
        await patient.prune()
        await hasty.prune()
        await served.wait_ended(1)
        assert (patient.open_connections, patient.idle_connections) == (1, 1)
        assert (hasty.open_connections, hasty.idle_connections) == (0, 0)


async def test_after_aclose_nothing_is_kept(upstreams: Upstreams) -> None:
    async with upstream(answering(OK), answering(OK)) as served:
        async with opened(upstreams, served.base_url):
            await fetch(upstreams, served.base_url)
            await upstreams.aclose()
            assert (upstreams.open_connections, upstreams.idle_connections) == (1, 0)
        assert upstreams.open_connections == 0


async def test_a_connection_closed_while_idle_is_passed_over(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)

    async with upstream(script, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        await served.wait_ended(1)
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert (served.accepted, upstreams.open_connections) == (2, 1)


async def test_a_connection_that_talks_while_idle_is_passed_over(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.send_all(OK.replace(b"ok", b"no"))
        await peer.wait_for_end()

    async with upstream(script, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert served.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"Content", b"Connection: close\r\nContent"),
        OK.replace(b"1.1", b"1.0"),
        OK + b"garbage",
        OK + OK.replace(b"ok", b"no"),
        OK.replace(b"Content", b"Connection: close\r\nContent") + b"garbage",
    ],
)
async def test_a_connection_is_not_kept_after_such_an_answer(
    upstreams: Upstreams, answer: bytes
) -> None:
    async with upstream(answering(answer)) as served:
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert upstreams.open_connections == 0
        await served.wait_ended(1)


async def test_a_head_answer_with_a_body_gives_its_connection_up(upstreams: Upstreams) -> None:
    async with upstream(answering(OK)) as served:
        assert await fetch(upstreams, served.base_url, "HEAD") == (200, b"")
        assert upstreams.open_connections == 0


async def test_an_answer_left_half_read_closes_its_connection(upstreams: Upstreams) -> None:
    async with upstream(answering(OK.replace(b": 2", b": 9"))) as served:
        async with opened(upstreams, served.base_url) as reply:
            assert await reply.receive() == b"ok"
        assert upstreams.open_connections == 0
        await served.wait_ended(1)
        with pytest.raises(UpstreamError):
            await reply.receive()


async def test_an_error_of_the_caller_reaches_it_unchanged(upstreams: Upstreams) -> None:
    async with upstream(answering(OK.replace(b": 2", b": 9"))) as served:
        with pytest.raises(KeyError):
            async with opened(upstreams, served.base_url):
                raise KeyError
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("body", [b"{}", LARGE])
@pytest.mark.parametrize("is_answered", [False, True])
async def test_cancelling_closes_the_connection_at_once(
    upstreams: Upstreams, is_answered: bool, body: bytes
) -> None:
    arrived = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        if is_answered:
            await peer.stream.send_all(OK.replace(b": 2", b": 9"))
        arrived.set()
        await peer.wait_for_end()

    async def ask() -> None:
        await fetch(upstreams, served.base_url, body=body)

    async with upstream(script) as served:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await arrived.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert upstreams.open_connections == 1
            nursery.cancel_scope.cancel()
        assert upstreams.open_connections == 0
        await served.wait_ended(1)


async def test_a_request_that_fully_left_is_never_sent_again(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.read_request()

    async with upstream(script, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url)
        assert (caught.value.stage, caught.value.never_left) == ("headers", False)
        assert (served.accepted, upstreams.open_connections) == (1, 0)


async def hang_up_in_the_middle(peer: Peer) -> None:
    await peer.read_until(b"\r\n\r\n")


async def reuse_and_hang_up_in_the_middle(peer: Peer) -> None:
    await peer.answer(OK)
    await hang_up_in_the_middle(peer)


async def test_a_used_connection_that_breaks_mid_request_is_replaced(upstreams: Upstreams) -> None:
    async with upstream(reuse_and_hang_up_in_the_middle, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        assert await fetch(upstreams, served.base_url, body=LARGE) == (200, b"ok")
        assert (served.accepted, upstreams.open_connections) == (2, 1)


async def test_a_new_connection_that_breaks_mid_request_is_not_replaced(
    upstreams: Upstreams,
) -> None:
    async with upstream(hang_up_in_the_middle, answering(OK)) as served:
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url, body=LARGE)
        assert (caught.value.stage, caught.value.never_left) == ("send", True)
        assert (served.accepted, upstreams.open_connections) == (1, 0)


async def test_a_body_in_pieces_is_never_sent_again(upstreams: Upstreams) -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            await trio.lowlevel.checkpoint()
            yield bytes(64 * 1024)

    async with upstream(reuse_and_hang_up_in_the_middle, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url, body=body())
        assert (caught.value.stage, caught.value.never_left) == ("send", True)
        assert served.accepted == 1


async def test_a_request_is_not_sent_again_after_the_first_byte_of_an_answer(
    upstreams: Upstreams,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(b"H")

    async with upstream(script, answering(OK)) as served:
        await fetch(upstreams, served.base_url)
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url, body=LARGE)
        assert caught.value.never_left is False
        assert served.accepted == 1


async def test_a_whole_large_request_without_an_answer_may_have_been_processed(
    upstreams: Upstreams,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()

    async with upstream(script) as served:
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, served.base_url, body=bytes(1 << 20))
        assert (caught.value.stage, caught.value.never_left) == ("headers", False)


async def test_a_reset_in_a_body_is_an_error(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK.replace(b": 2", b": 9"))
        await received.wait()
        linger = struct.pack("ii", 1, 0)
        peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # type: ignore[attr-defined]

    received = trio.Event()
    async with upstream(script) as served, opened(upstreams, served.base_url) as reply:
        assert await reply.receive() == b"ok"
        received.set()
        with pytest.raises(UpstreamError, match="broke the connection") as caught:
            await reply.receive()
        assert caught.value.stage == "body"


async def test_a_refused_connection_says_that_nothing_left(upstreams: Upstreams) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(UpstreamError, match="refuses connections") as caught:
            await fetch(upstreams, f"http://127.0.0.1:{port}")
    assert (caught.value.stage, caught.value.never_left) == ("connect", True)


async def test_a_name_that_cannot_be_resolved_says_so(upstreams: Upstreams) -> None:
    class NoNames(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object) -> list[object]:  # type: ignore[override]
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_: object) -> tuple[str, str]:  # type: ignore[override]
            raise AssertionError

    trio.socket.set_custom_hostname_resolver(NoNames())
    with pytest.raises(UpstreamError, match="name cannot be resolved") as caught:
        await fetch(upstreams, "http://nowhere.example")
    assert (caught.value.stage, caught.value.never_left) == ("connect", True)


async def test_an_impossible_name_cannot_be_resolved_either(upstreams: Upstreams) -> None:
    with pytest.raises(UpstreamError, match="name cannot be resolved"):
        await fetch(upstreams, "http://" + "a" * 70 + ".example")


async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    async with (
        client(connect_timeout_s=0.05) as upstreams,
        upstream(Peer.wait_for_end) as served,
    ):
        silent = served.base_url.replace("http", "https")
        with pytest.raises(UpstreamTimeoutError) as caught:
            await fetch(upstreams, silent)
        assert (caught.value.stage, caught.value.never_left) == ("connect", True)
        await served.wait_ended(1)


@pytest.mark.parametrize(("body", "stage"), [(b"{}", "headers"), (LARGE, "send")])
async def test_an_answer_that_takes_too_long_is_given_up(
    upstreams: Upstreams, body: bytes, stage: str
) -> None:
    async def script(peer: Peer) -> None:
        await trio.sleep_forever()

    async with upstream(script) as served:
        with pytest.raises(UpstreamTimeoutError) as caught:
            await fetch(upstreams, served.base_url, body=body, headers_timeout_s=0.1)
        assert (caught.value.stage, caught.value.never_left) == (stage, False)
        assert upstreams.open_connections == 0


@pytest.mark.parametrize(("held_up_s", "is_local"), [(0.0, False), (1.2, True)])
async def test_a_time_out_of_a_process_that_was_held_up_is_its_own(
    upstreams: Upstreams, held_up_s: float, is_local: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        time.sleep(held_up_s)  # noqa: ASYNC251  # nothing of this process runs meanwhile
        await trio.sleep_forever()

    async with upstream(script) as served:
        with pytest.raises(UpstreamTimeoutError) as caught:
            await fetch(upstreams, served.base_url, headers_timeout_s=0.05)
        assert caught.value.is_local is is_local


@pytest.mark.parametrize(
    ("number", "is_local"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)]
)
async def test_a_resolver_that_does_not_answer_is_no_fault_of_the_upstream(
    upstreams: Upstreams, number: int, is_local: bool
) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any) -> Any:
            raise socket.gaierror(number, "x")

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(UpstreamError) as caught:
        await fetch(upstreams, "http://api.example")
    assert (caught.value.is_local, caught.value.never_left) == (is_local, True)


async def test_silence_in_a_body_is_an_error(upstreams: Upstreams) -> None:
    answer = OK.replace(b": 2", b": 9")
    async with upstream(answering(answer)) as served:
        async with opened(upstreams, served.base_url, silence_timeout_s=0.05) as reply:
            assert await reply.receive() == b"ok"
            with pytest.raises(UpstreamTimeoutError) as caught:
                await reply.receive()
            assert caught.value.stage == "body"
        assert upstreams.open_connections == 0


async def test_an_ipv6_address_is_reached(upstreams: Upstreams) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listeners = await trio.open_tcp_listeners(0, host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    port = listeners[0].socket.getsockname()[1]
    seen = []

    async def serve(stream: trio.SocketStream) -> None:
        seen.append(await Peer(stream).read_request())
        await stream.send_all(OK)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        assert await fetch(upstreams, f"http://[::1]:{port}") == (200, b"ok")
        assert b"host: [::1]:%d\r\n" % port in seen[0]
        nursery.cancel_scope.cancel()
