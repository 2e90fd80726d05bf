"""Outbound proxies: real ones on the way, and a client that does not take them for the upstream."""

import itertools
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from relay.upstream import UpstreamError, Upstreams, UpstreamTimeoutError, parse_proxy_url
from tests.unit.scripted_upstream import DEADLINE_S, OK, answering, client, fetch, upstream
from tests.unit.test_upstream_tls import Authority, authority, serving

__all__ = ["authority", "serving"]

SCHEMES = ("http", "https", "socks5")
WORD = "pass:w@rd/1"
LOGIN = "user:pass%3Aw%40rd%2F1"


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def proxy_process(scheme: str, login: str, folder: Path) -> Iterator[int]:
    """A proxy that we did not write, on a port of its own."""
    port = unused_port()
    words = {"http": "http", "https": "http+ssl", "socks5": "socks5"}
    listen = f"{words[scheme]}://127.0.0.1:{port}" + (f"#user:{WORD}" if login else "")
    command = [sys.executable, "-u", "-W", "ignore", "-m", "pproxy", "-l", listen]
    if scheme == "https":
        command += ["--ssl", str(folder / "server.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            assert b"Serving" in process.stdout.readline()
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def proxies(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], str]]:
    """The addresses of proxies, by scheme and by whether they ask for a login."""
    folder = tmp_path_factory.mktemp("proxies")
    authority.serving(folder)
    with ExitStack() as stack:
        found = {}
        for scheme, login in itertools.product(SCHEMES, ("", LOGIN)):
            port = stack.enter_context(proxy_process(scheme, login, folder))
            found[scheme, login] = f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{port}"
        yield found


@pytest.fixture
async def upstreams(authority: Authority) -> AsyncIterator[Upstreams]:
    async with client(ssl_context=authority.trusted(), connect_timeout_s=DEADLINE_S) as made:
        yield made


@pytest.mark.parametrize("login", ["", LOGIN], ids=["open", "login"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_requests_go_through_and_connections_are_used_again(
    upstreams: Upstreams,
    serving: ssl.SSLContext,
    proxies: dict[tuple[str, str], str],
    scheme: str,
    secure: bool,
    login: str,
) -> None:
    context = serving if secure else None
    async with upstream(answering(OK, OK), answering(OK), context=context) as served:
        for _ in range(2):
            answer = await fetch(upstreams, served.base_url, proxy=proxies[scheme, login])
            assert answer == (200, b"ok")
        # An inner session ticket may cost a connection its reuse; never a request.
        assert served.accepted == 1 or (scheme == "https" and secure)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_wrong_password_is_a_refusal_that_never_left_and_is_not_shown(
    upstreams: Upstreams, proxies: dict[tuple[str, str], str], scheme: str
) -> None:
    proxy = proxies[scheme, LOGIN].replace(LOGIN, "user:wrong-word")
    with pytest.raises(UpstreamError, match="outbound proxy") as caught:
        await fetch(upstreams, "http://127.0.0.1:9", proxy=proxy)
    assert (caught.value.stage, caught.value.never_left) == ("connect", True)
    assert "wrong-word" not in str(caught.value) + repr(parse_proxy_url(proxy))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_is_not_there_is_named(upstreams: Upstreams, scheme: str) -> None:
    with pytest.raises(UpstreamError, match="The outbound proxy refuses connections") as caught:
        await fetch(upstreams, "http://127.0.0.1:9", proxy=f"{scheme}://127.0.0.1:{unused_port()}")
    assert caught.value.never_left


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_upstream_that_is_not_there_is_an_error_through_a_proxy_too(
    upstreams: Upstreams, proxies: dict[tuple[str, str], str], scheme: str
) -> None:
    with pytest.raises(UpstreamError):
        await fetch(upstreams, f"http://127.0.0.1:{unused_port()}", proxy=proxies[scheme, ""])


async def test_a_connection_of_one_way_is_never_used_for_another(
    upstreams: Upstreams, proxies: dict[tuple[str, str], str]
) -> None:
    async with upstream(*[answering(OK)] * 3) as served:
        for proxy in (None, proxies["http", ""], proxies["socks5", ""]):
            assert await fetch(upstreams, served.base_url, proxy=proxy) == (200, b"ok")
        assert (served.accepted, upstreams.idle_connections) == (3, 3)


async def test_the_environments_proxies_are_ignored(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_port()}")
    async with upstream(answering(OK)) as served:
        assert await fetch(upstreams, served.base_url) == (200, b"ok")


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A peer that answers anything with the same words, or with nothing at all."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("http", b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        ("http", b"HTTP/1.1 502 Bad\r\n\r\n", "status 502"),
        ("http", b"HTTP/1.1 407 Login\r\n\r\n", "user name or password"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", "speaks before"),
        ("socks5", b"\x05\xff", "another way to sign in"),
        ("socks5", b"\x04\x00", "does not speak SOCKS5"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n", "does not speak SOCKS5"),
    ],
)
async def test_what_a_proxy_must_not_say_is_refused(
    upstreams: Upstreams, scheme: str, answer: bytes, words: str
) -> None:
    async with saying(answer) as address:
        with pytest.raises(UpstreamError, match=words):
            await fetch(upstreams, "http://127.0.0.1:9", proxy=f"{scheme}://{address}")
    assert upstreams.open_connections == 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_silent_proxy_is_given_up(authority: Authority, scheme: str) -> None:
    async with saying(b"") as address, client(connect_timeout_s=0.05) as upstreams:
        with pytest.raises(UpstreamTimeoutError, match="outbound proxy"):
            await fetch(upstreams, "http://127.0.0.1:9", proxy=f"{scheme}://{address}")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_cancel_on_the_way_closes_the_connection(upstreams: Upstreams, scheme: str) -> None:
    async with saying(b"") as address:
        with trio.move_on_after(0.05) as scope:
            await fetch(upstreams, "http://127.0.0.1:9", proxy=f"{scheme}://{address}")
        assert scope.cancelled_caught
        assert upstreams.open_connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:8080", "ftp://h:1", "http://", "http://h:0", "http://h:99999", "http://h/x",
        "socks5://h?x", "http://h h:1", f"http://u:{'x' * 256}@h:1",
    ],
)  # fmt: skip
def test_what_is_no_proxys_address_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="proxy's") as caught:
        parse_proxy_url(url)
    assert "x" * 256 not in str(caught.value)
