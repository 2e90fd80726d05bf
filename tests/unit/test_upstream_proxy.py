"""Outbound proxies: real ones on the way, and what the client makes of those that misbehave."""

import os
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from relay.upstream import UpstreamError, Upstreams, UpstreamTimeoutError, parse_proxy_url
from tests.unit.scripted_upstream import (
    DEADLINE_S,
    OK,
    Peer,
    Script,
    answering,
    client,
    fetch,
    upstream,
)
from tests.unit.test_upstream_tls import (
    LARGE,
    Authority,
    authority,
    encrypted,
    serving,
    upstreams,
)

__all__ = ["authority", "serving", "upstreams"]

SCHEMES = ("http", "https", "socks5")
# The words of pproxy for the same.
LISTENS = {"http": "http", "https": "http+ssl", "socks5": "socks5"}
PASSWORD = "pass:w@rd/1"
LOGIN = "user:pass%3Aw%40rd%2F1@"
WRONG = "wr0ng-w0rd"
# Nothing is ever asked of it.
ELSEWHERE = "http://127.0.0.1:9"
TUNNEL_OPEN = b"HTTP/1.1 200 OK\r\n\r\n"
SOCKS_REFUSED = "cannot reach the upstream (connection refused)"
EARLY = b"HTTP/1.1 413 No\r\nContent-Length: 6\r\n\r\ntoo"

by_scheme = pytest.mark.parametrize("scheme", SCHEMES)
plain_or_tls = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])

Proxies = dict[tuple[str, str], str]


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert process.poll() is None, log.read_text()
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def proxies(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    """The addresses of proxies that we did not write, by scheme and by the login they ask for."""
    folder = tmp_path_factory.mktemp("proxies")
    authority.serving(folder)
    log = folder / "log"
    ports = {(scheme, login): unused_port() for scheme in SCHEMES for login in ("", LOGIN)}
    command = [sys.executable, "-W", "ignore", "-m", "pproxy", "--ssl", str(folder / "server.pem")]
    # Else who has signed in once needs no password any more, whichever one it sends.
    command += ["--auth=-1"]
    for (scheme, login), port in ports.items():
        asked = f"#user:{PASSWORD}" if login else ""
        command += ["-l", f"{LISTENS[scheme]}://127.0.0.1:{port}{asked}"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as run:
        try:
            for port in ports.values():
                wait_until_it_listens(run, port, log)
            yield {
                (scheme, login): f"{scheme}://{login}127.0.0.1:{port}"
                for (scheme, login), port in ports.items()
            }
        finally:
            run.kill()


async def refusal(
    upstreams: Upstreams, proxy: str, base_url: str = ELSEWHERE, *, is_local: bool | None = None
) -> str:
    """The sentence of a request that fails on the way and leaves nothing behind.

    `is_local`: whether it says nothing of the upstream; None for either.
    """
    with pytest.raises(UpstreamError) as caught:
        await fetch(upstreams, base_url, proxy=proxy)
    assert (caught.value.stage, caught.value.never_left) == ("connect", True)
    assert is_local in (None, caught.value.is_local)
    assert upstreams.open_connections == 0
    return caught.value.reason


def saying(*answers: bytes, hangs_up: bool = False) -> Script:
    """A proxy that gives these answers, whatever it is told."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.stream.receive_some()
            await peer.stream.send_all(answer)
        if not hangs_up:
            await peer.wait_for_end()

    return script


def hearing(heard: list[bytes], *answers: bytes) -> Script:
    """Gives these answers, notes what is said after them, and hangs up."""

    async def script(peer: Peer) -> None:
        await saying(*answers, hangs_up=True)(peer)
        heard.append(bytes(await peer.stream.receive_some()))

    return script


async def end_of_tunnel(peer: Peer, context: ssl.SSLContext | None) -> Peer:
    """Let a CONNECT through, and be the upstream from then on."""
    await peer.read_until(b"\r\n\r\n")
    await peer.stream.send_all(TUNNEL_OPEN)
    if context is None:
        return peer
    tls = trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True)
    return Peer(tls)


@pytest.mark.parametrize("login", ["", LOGIN], ids=["open", "login"])
@plain_or_tls
@by_scheme
async def test_requests_go_through_and_the_connection_is_used_again(
    upstreams: Upstreams,
    serving: ssl.SSLContext,
    proxies: Proxies,
    scheme: str,
    secure: bool,
    login: str,
) -> None:
    async with upstream(answering(OK, OK, OK), context=serving if secure else None) as served:
        for _ in range(3):
            answer = await fetch(upstreams, served.base_url, proxy=proxies[scheme, login])
            assert answer == (200, b"ok")
            assert (upstreams.open_connections, upstreams.idle_connections) == (1, 1)


@by_scheme
async def test_a_large_body_goes_through_whole(
    upstreams: Upstreams, serving: ssl.SSLContext, proxies: Proxies, scheme: str
) -> None:
    async with upstream(answering(OK), context=serving) as served:
        answer = await fetch(upstreams, served.base_url, body=LARGE, proxy=proxies[scheme, ""])
        assert answer == (200, b"ok")


async def test_a_connection_of_one_way_is_never_used_for_another(
    upstreams: Upstreams, proxies: Proxies
) -> None:
    async with upstream(*[answering(OK)] * 3) as served:
        for proxy in (None, proxies["http", ""], proxies["socks5", ""]):
            assert await fetch(upstreams, served.base_url, proxy=proxy) == (200, b"ok")
        assert (served.accepted, upstreams.idle_connections) == (3, 3)


async def test_two_logins_at_one_proxy_share_no_connection(
    upstreams: Upstreams, proxies: Proxies
) -> None:
    async with upstream(*[answering(OK)] * 3) as served:
        for login in ("one:x@", "two:x@", "two:y@"):
            proxy = proxies["http", ""].replace("http://", f"http://{login}")
            assert await fetch(upstreams, served.base_url, proxy=proxy) == (200, b"ok")
        assert (served.accepted, upstreams.idle_connections) == (3, 3)


async def test_the_environments_proxies_are_ignored(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_port()}")
    async with upstream(answering(OK)) as served:
        assert await fetch(upstreams, served.base_url) == (200, b"ok")


@by_scheme
async def test_a_wrong_password_is_named(
    upstreams: Upstreams, proxies: Proxies, scheme: str
) -> None:
    proxy = proxies[scheme, LOGIN].replace(LOGIN, f"user:{WRONG}@")
    reason = await refusal(upstreams, proxy)
    assert reason == "The outbound proxy refuses the user name or password."


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_missing_login_is_named(
    upstreams: Upstreams, proxies: Proxies, scheme: str
) -> None:
    reason = await refusal(upstreams, proxies[scheme, LOGIN].replace(LOGIN, ""))
    assert reason == "The outbound proxy asks for a user name and password."


@by_scheme
async def test_a_proxy_that_is_not_there_is_named(upstreams: Upstreams, scheme: str) -> None:
    reason = await refusal(upstreams, f"{scheme}://127.0.0.1:{unused_port()}", is_local=True)
    assert reason == "The outbound proxy refuses connections."


async def test_a_proxy_whose_name_nobody_knows_is_named(upstreams: Upstreams) -> None:
    reason = await refusal(upstreams, "http://proxy.invalid:3128", is_local=True)
    assert reason == "The outbound proxy's host name cannot be resolved."


async def test_a_proxy_with_a_certificate_of_a_stranger_is_named(proxies: Proxies) -> None:
    async with client() as strangers:
        reason = await refusal(strangers, proxies["https", ""], is_local=True)
    assert reason.startswith("The outbound proxy's certificate is not trusted: ")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_upstream_that_is_not_there_never_gets_a_request_through_a_proxy(
    upstreams: Upstreams, proxies: Proxies, scheme: str
) -> None:
    # It hangs up instead of answering 502.
    nowhere = f"http://127.0.0.1:{unused_port()}"
    reason = await refusal(upstreams, proxies[scheme, ""], nowhere, is_local=False)
    assert reason == "The outbound proxy closed the connection."


async def test_an_upstream_that_is_not_there_is_an_error_though_the_proxy_said_yes(
    upstreams: Upstreams, proxies: Proxies
) -> None:
    with pytest.raises(UpstreamError, match="The upstream closed the connection"):
        await fetch(upstreams, f"http://127.0.0.1:{unused_port()}", proxy=proxies["socks5", ""])
    assert upstreams.open_connections == 0


@pytest.mark.parametrize(
    ("scheme", "answers", "words"),
    [
        ("http", [b"HTTP/1.1 502 Bad\r\n\r\n"], "cannot reach the upstream (status 502)"),
        ("http", [b"HTTP/1.1 302 Found\r\n\r\n"], "cannot reach the upstream (status 302)"),
        ("http", [b"SSH-2.0-OpenSSH\r\n\r\n"], "does not speak HTTP"),
        ("http", [TUNNEL_OPEN + b"HTTP/1.1 200 OK\r\n"], "speaks before the upstream can"),
        ("socks5", [b"\5\0", b"\5\5\0\1" + bytes(6)], SOCKS_REFUSED),
        ("socks5", [b"\5\0", b"\5\5\0\3\1x" + bytes(2)], SOCKS_REFUSED),
        ("socks5", [b"\5\0", b"\5\5\0\4" + bytes(18)], SOCKS_REFUSED),
        ("socks5", [b"\5\0", b"\5\0\0\7" + bytes(6)], "does not speak SOCKS5"),
        ("socks5", [b"\5\xff"], "asks for another way to sign in"),
        ("socks5", [b"\4\0"], "does not speak SOCKS5"),
        ("socks5", [b"HTTP/1.1 400 Bad Request\r\n"], "does not speak SOCKS5"),
    ],
)
async def test_what_a_proxy_answers_instead_is_told_in_words(
    upstreams: Upstreams, scheme: str, answers: list[bytes], words: str
) -> None:
    async with upstream(saying(*answers)) as proxy:
        url, is_local = proxy.base_url.replace("http", scheme), "cannot reach" not in words
        reason = await refusal(upstreams, url, is_local=is_local)
    assert reason == f"The outbound proxy {words}."


@pytest.mark.parametrize(
    ("scheme", "answers"),
    [
        ("http", [b""]),
        ("http", [b"HTTP/1.1 200"]),
        ("socks5", [b""]),
        ("socks5", [b"\5"]),
        ("socks5", [b"\5\0", b""]),
        ("socks5", [b"\5\0", b"\5\0\0"]),
    ],
)
async def test_a_proxy_that_hangs_up_is_told_from_one_that_speaks_otherwise(
    upstreams: Upstreams, scheme: str, answers: list[bytes]
) -> None:
    async with upstream(saying(*answers, hangs_up=True)) as proxy:
        url = proxy.base_url.replace("http", scheme)
        reason = await refusal(upstreams, url, is_local=False)
    assert reason == "The outbound proxy closed the connection."


async def test_an_interim_answer_of_a_proxy_is_passed_over(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n" + TUNNEL_OPEN)
        await answering(OK)(peer)

    async with upstream(script) as proxy:
        assert await fetch(upstreams, ELSEWHERE, proxy=proxy.base_url) == (200, b"ok")


@pytest.mark.parametrize(
    ("base_url", "line"),
    [
        ("http://upstream.invalid", b"CONNECT upstream.invalid:80 HTTP/1.1\r\n"),
        ("https://[::1]/prefix", b"CONNECT [::1]:443 HTTP/1.1\r\n"),
    ],
)
async def test_connect_leaves_the_name_to_the_proxy(
    upstreams: Upstreams, base_url: str, line: bytes
) -> None:
    heard: list[bytes] = []
    async with upstream(hearing(heard)) as proxy:
        await refusal(upstreams, proxy.base_url, base_url)
    assert heard[0].startswith(line)


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("http://upstream.invalid", b"\5\1\0\3\x10upstream.invalid\0\x50"),
        ("https://127.0.0.1", b"\5\1\0\1\x7f\0\0\1\1\xbb"),
        ("https://[::1]", b"\5\1\0\4" + bytes(15) + b"\1\1\xbb"),
    ],
)
async def test_socks_leaves_the_name_to_the_proxy(
    upstreams: Upstreams, base_url: str, words: bytes
) -> None:
    heard: list[bytes] = []
    async with upstream(hearing(heard, b"\5\0")) as proxy:
        await refusal(upstreams, proxy.base_url.replace("http", "socks5"), base_url)
    assert heard == [words]


@by_scheme
async def test_a_silent_proxy_is_given_up(scheme: str) -> None:
    async with upstream(saying()) as proxy, client(connect_timeout_s=0.05) as hasty:
        with pytest.raises(UpstreamTimeoutError) as caught:
            await fetch(hasty, ELSEWHERE, proxy=proxy.base_url.replace("http", scheme))
    assert caught.value.never_left
    assert not caught.value.is_local
    assert caught.value.reason == "The outbound proxy did not accept a connection within 0.05 s."


async def test_a_silent_upstream_behind_a_proxy_is_given_up_and_named() -> None:
    async with upstream(saying(TUNNEL_OPEN)) as proxy, client(connect_timeout_s=0.05) as hasty:
        with pytest.raises(UpstreamTimeoutError) as caught:
            await fetch(hasty, ELSEWHERE.replace("http", "https"), proxy=proxy.base_url)
    assert caught.value.reason == "The upstream did not accept a connection within 0.05 s."


@pytest.mark.parametrize(
    ("scheme", "answers"),
    [
        ("http", []),
        ("http", [TUNNEL_OPEN]),
        ("https", []),
        ("socks5", []),
        ("socks5", [b"\5\0"]),
        ("socks5", [b"\5\0", b"\5\0\0\1" + bytes(6)]),
    ],
)
async def test_a_cancel_in_the_tunnel_closes_the_connection(
    upstreams: Upstreams, scheme: str, answers: list[bytes]
) -> None:
    async def script(peer: Peer) -> None:
        await saying(*answers, hangs_up=True)(peer)
        assert await peer.stream.receive_some()
        reached.set()
        await peer.wait_for_end()

    reached = trio.Event()
    async with upstream(script) as proxy:
        url = proxy.base_url.replace("http", scheme)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(fetch, upstreams, "https://127.0.0.1:9", proxy=url))
            await reached.wait()
            assert upstreams.open_connections == 1
            nursery.cancel_scope.cancel()
        assert upstreams.open_connections == 0
        await proxy.wait_ended(1)


@plain_or_tls
async def test_a_second_answer_in_a_tls_proxys_tunnel_goes_to_nobody(
    upstreams: Upstreams, serving: ssl.SSLContext, secure: bool
) -> None:
    async def script(peer: Peer) -> None:
        end = await end_of_tunnel(peer, context)
        await end.read_request()
        # In one piece, so that later the socket shows nothing of the second.
        below, data = await encrypted(end, OK, OK.replace(b"ok", b"no"))
        await below.send_all(data)
        await peer.wait_for_end()

    async def other(peer: Peer) -> None:
        await answering(OK)(await end_of_tunnel(peer, context))

    context = serving if secure else None
    base_url = ELSEWHERE.replace("http", "https") if secure else ELSEWHERE
    async with upstream(script, other, context=serving) as proxy:
        for _ in range(2):
            assert await fetch(upstreams, base_url, proxy=proxy.base_url) == (200, b"ok")
        assert proxy.accepted == 2


@plain_or_tls
@by_scheme
async def test_an_early_answer_comes_whole_through_a_proxy(
    upstreams: Upstreams, serving: ssl.SSLContext, proxies: Proxies, scheme: str, secure: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(EARLY)
        await is_known.wait()
        await peer.stream.send_all(b"big")
        await trio.sleep_forever()

    is_known = trio.Event()
    async with (
        upstream(script, context=serving if secure else None) as served,
        upstreams.send(
            served.base_url,
            "POST",
            b"/v1/messages",
            [],
            LARGE,
            headers_timeout_s=DEADLINE_S,
            silence_timeout_s=DEADLINE_S,
            proxy=proxies[scheme, ""],
        ) as reply,
    ):
        is_known.set()
        received = b""
        while data := await reply.receive():
            received += data
        assert (reply.status, received) == (413, b"toobig")


@plain_or_tls
async def test_an_early_answer_can_be_read_after_the_sending_to_a_tls_proxy_broke(
    upstreams: Upstreams, serving: ssl.SSLContext, secure: bool
) -> None:
    async def script(peer: Peer) -> None:
        end = await end_of_tunnel(peer, serving if secure else None)
        await end.read_until(b"\r\n\r\n")
        below, data = await encrypted(end, EARLY, b"big")
        if secure:
            below, data = await encrypted(peer, data)
        # Without a checkpoint between, so that the client sees answer and reset together.
        with socket.socket(fileno=os.dup(below.socket.fileno())) as now:
            now.send(data)
            now.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # Which of the client's two tasks runs first is trio's choice, so more than once.
    times = 10
    base_url = ELSEWHERE.replace("http", "https") if secure else ELSEWHERE
    async with upstream(*[script] * times, context=serving) as proxy:
        for _ in range(times):
            answer = await fetch(upstreams, base_url, body=LARGE, proxy=proxy.base_url)
            assert answer == (413, b"toobig")


@pytest.mark.parametrize(
    ("scheme", "answers"),
    [
        ("http", [b"HTTP/1.1 407 Login\r\n\r\n"]),
        ("http", [b"HTTP/1.1 502 Bad\r\n\r\n"]),
        ("http", [b"?\r\n\r\n"]),
        ("http", [b"HTTP/1.1 200 OK\r\n\r\n?"]),
        ("https", [b"?\r\n\r\n"]),
        ("socks5", [b"\5\2", b"\1\1"]),
        ("socks5", [b"\5\2", b"\1\0", b"\5\1\0\1" + bytes(6)]),
        ("socks5", [b"\5\0"]),
        ("socks5", [b"?"]),
    ],
)
async def test_the_password_is_in_no_exception_and_in_no_log(
    upstreams: Upstreams, caplog: pytest.LogCaptureFixture, scheme: str, answers: list[bytes]
) -> None:
    caplog.set_level(0)
    async with upstream(saying(*answers, hangs_up=True)) as proxy:
        url = proxy.base_url.replace("http://", f"{scheme}://user:{WRONG}@")
        with pytest.raises(UpstreamError) as caught:
            await fetch(upstreams, ELSEWHERE, proxy=url)
    assert WRONG not in told(caught.value) + caplog.text


def told(error: BaseException | None) -> str:
    """All that anybody could print of an exception, suppressed contexts included."""
    text = ""
    while error is not None:
        text += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return text


def test_a_proxys_address_shows_no_password() -> None:
    proxy = parse_proxy_url(f"http://user:{WRONG}@proxy.example:3128")
    assert WRONG not in f"{proxy!r} {proxy}"
    assert "proxy.example" in repr(proxy)


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://h", 80), ("https://h/", 443), ("socks5://h", 1080), ("http://h:1", 1)],
)
def test_a_proxys_port_is_its_schemes_if_none_is_given(url: str, port: int) -> None:
    assert parse_proxy_url(url).port == port


@pytest.mark.parametrize("given", ["", "user", "user:", LOGIN.rstrip("@")])
def test_a_proxys_user_name_and_password_are_optional(given: str) -> None:
    assert parse_proxy_url(f"http://{given}{'@' if given else ''}h").host == "h"


def test_a_proxys_login_may_have_any_bytes() -> None:
    proxy = parse_proxy_url("socks5://%75s%C3%A9r:%FF%3A@[::1]:1")
    assert (proxy.host, proxy.username, proxy.password) == ("::1", "usér".encode(), b"\xff:")


@pytest.mark.parametrize(
    "url",
    [
        "", "user:{}@h:1", "//user:{}@h", "ftp://user:{}@h:1", "http://user:{}@", "http://user:{}@:1",
        "http://user:{}@h:0", "http://user:{}@h:99999", "http://user:{}@h:1/x", "http://user:{}@h?x",
        "http://user:{}@h#x", "http://user:{}@h h:1", "http://user:{}\n@h:1", "http://user:{}\t@h:1",
        "http://user:{}\u2100@h:1", "http://user:{}\u00e9@h:1", "http://user:{}@[h:1", "http://user:{}]@h",
        "http://user:{}@[h]:1", "http://user:/{}@h:1", "http://user:?{}@h:1", "http://user:#{}@h:1",
        "http://h:{}", "socks5h://user:{}@h", "http://:{}@h:1",
        "socks5://user:{}" + "x" * 256 + "@h:1", "socks5://{}" + "x" * 256 + "@h:1",
    ],
)  # fmt: skip
def test_what_is_no_proxys_address_is_refused_in_words_of_our_own(url: str) -> None:
    with pytest.raises(ValueError, match=r"\AA proxy's .+\.\Z") as caught:
        parse_proxy_url(url.format(WRONG, WRONG))
    assert WRONG not in told(caught.value)
