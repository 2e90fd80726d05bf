"""What a role names is reached at a public address, or where the settings allow an inner one."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import trio

from relay.addresses import is_allowed
from relay.upstream import UpstreamError, Upstreams

INNER = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "0.0.0.0", "0",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "2852039166", "0xa9fea9fe",
    "100.64.0.1", "198.18.0.1", "192.0.0.1", "224.0.0.1", "255.255.255.255", "localhost",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[fc00::1]",
    "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[ff02::1]",
]  # fmt: skip


async def ask(upstreams: Upstreams, url: str, **more: Any) -> int:
    async with upstreams.send(
        url, "GET", b"/", [], b"", headers_timeout_s=5, silence_timeout_s=5, **more
    ) as reply:
        return reply.status


Make = Callable[..., Upstreams]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes clients that are closed with the test."""
    made: list[Upstreams] = []

    def one(**options: Any) -> Upstreams:
        made.append(Upstreams(**options))
        return made[-1]

    yield one
    for upstreams in made:
        await upstreams.aclose()


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    """The port of a server on this machine that answers everything with 204."""

    async def serve(stream: trio.SocketStream) -> None:
        async for _ in stream:
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    serve_here = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
    listeners = await nursery.start(serve_here)
    return int(listeners[0].socket.getsockname()[1])


@pytest.mark.parametrize("host", INNER)
async def test_an_inner_address_is_refused_in_every_notation(make: Make, host: str):
    with pytest.raises(UpstreamError, match=r"claude\.innerNetworks") as error:
        await ask(make(), f"http://{host}:9", judges_host=True)
    assert error.value.never_left


@pytest.mark.parametrize("host", INNER)
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_proxy_inside_is_refused_as_well(make: Make, host: str, scheme: str):
    with pytest.raises(UpstreamError, match=r"claude\.innerNetworks"):
        await ask(make(), "https://api.example", proxy=f"{scheme}://{host}:9", judges_proxy=True)


async def test_a_number_behind_a_proxy_is_judged_before_the_proxy_is_asked(make: Make, port: int):
    proxy = f"http://127.0.0.1:{port}"
    for host in ("169.254.169.254", "0x7f.1", "[::1]"):
        with pytest.raises(UpstreamError, match=r"claude\.innerNetworks"):
            await ask(make(), f"http://{host}", proxy=proxy, judges_host=True)


async def test_the_settings_allow_inner_networks(make: Make, port: int):
    upstreams = make(inner_networks=(ip_network("127.0.0.0/8"),))
    url = f"http://127.0.0.1:{port}"
    assert await ask(upstreams, url, judges_host=True) == 204
    mapped = f"http://[::ffff:127.0.0.1]:{port}"
    assert await ask(upstreams, mapped, judges_host=True) == 204
    with pytest.raises(UpstreamError, match=r"claude\.innerNetworks"):
        await ask(upstreams, "http://10.0.0.1", judges_host=True)


async def test_what_nobody_judges_is_reached_as_before(make: Make, port: int):
    assert await ask(make(), f"http://127.0.0.1:{port}") == 204


async def test_a_connection_that_nobody_judged_is_not_used_for_a_judged_request(
    make: Make, port: int
):
    upstreams, url = make(), f"http://127.0.0.1:{port}"
    assert await ask(upstreams, url) == 204
    assert upstreams.idle_connections == 1
    with pytest.raises(UpstreamError, match=r"claude\.innerNetworks"):
        await ask(upstreams, url, judges_host=True)


class Rebinding(trio.abc.HostnameResolver):
    """A name that is public when it is looked up first, and this machine ever after."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: bytes | None, port: Any, *_: Any, **__: Any) -> Sequence[Any]:
        name = (host or b"").decode()
        try:
            address = str(ip_address(name))
        except ValueError:
            self.asked.append(name)
            address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        number = int(port or 0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, number))]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
def rebinding() -> Any:
    def use(*answers: str) -> Rebinding:
        resolver = Rebinding(*answers)
        trio.socket.set_custom_hostname_resolver(resolver)
        return resolver

    return use


async def test_the_address_that_was_judged_is_the_one_that_is_reached(
    make: Make, rebinding: Any, port: int
):
    resolver = rebinding("127.0.0.1", "127.0.0.2")
    upstreams = make(inner_networks=(ip_network("127.0.0.1/32"),))
    assert await ask(upstreams, f"http://api.example:{port}", judges_host=True) == 204
    # Looked up once: there is no second answer that nobody judges.
    assert resolver.asked == ["api.example"]


async def test_a_name_that_moves_inside_is_refused_at_its_next_connection(
    make: Make, rebinding: Any, port: int
):
    rebinding("127.0.0.1", "127.0.0.2")
    upstreams = make(inner_networks=(ip_network("127.0.0.1/32"),), idle_expiry_s=0)
    assert await ask(upstreams, f"http://api.example:{port}", judges_host=True) == 204
    with pytest.raises(UpstreamError, match=r"claude\.innerNetworks"):
        await ask(upstreams, f"http://api.example:{port}", judges_host=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_allowed(address: str):
    assert is_allowed(ip_address(address), ())
