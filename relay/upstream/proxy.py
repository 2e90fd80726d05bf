"""The way through an outbound proxy: HTTP CONNECT and SOCKS5, over whatever leads to it.

Afterwards the same stream leads to the upstream, as if it had been reached directly. Only the proxy
that was named is asked; the environment plays no part. A password must show up nowhere.
"""

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

import h11
import trio
from socksio import SOCKSError, socks5

from relay.upstream.errors import UpstreamError

_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_RECEIVE_BYTES = 16 * 1024
_SOCKS_ADDRESS_BYTES = {1: 4, 4: 16}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An outbound proxy. `scheme` is http, https or socks5."""

    scheme: str
    host: str
    port: int
    username: bytes = b""
    password: bytes = field(default=b"", repr=False)


def parse_proxy_url(url: str) -> Proxy:
    """Read `http|https|socks5://[user[:password]@]host[:port]`, user and password percent-encoded.

    Raises:
        ValueError: a sentence about what such an address has to be; nothing of it is repeated.
    """
    parts, port = urlsplit(""), 0
    # urllib's own errors repeat the address, so none of them may even be another's context.
    with suppress(ValueError):
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    visible = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in _PORTS or not parts.hostname or not visible:
        raise ValueError("A proxy's address is http://, https:// or socks5:// with a host.")
    if port == 0:
        raise ValueError("A proxy's port is between 1 and 65535.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("A proxy's address has no path, query or fragment.")
    username = unquote_to_bytes(parts.username or "")
    password = unquote_to_bytes(parts.password or "")
    if password and not username:
        raise ValueError("A proxy's password needs a user name.")
    # RFC 1929 counts them in one byte.
    if max(len(username), len(password)) > 255:
        raise ValueError("A proxy's user name and password have at most 255 bytes each.")
    return Proxy(parts.scheme, parts.hostname, port, username, password)


async def tunnel(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Make `stream`, which leads to a proxy, lead through it to `host`.

    Raises:
        UpstreamError: the proxy does not let us through.
        trio.BrokenResourceError: the connection to it broke.
    """
    if proxy.scheme == "socks5":
        await _by_socks(stream, proxy, host, port)
    else:
        await _by_connect(stream, proxy, host, port)


async def _by_connect(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """HTTP CONNECT (RFC 9110 section 9.3.6)."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Some proxies know these names only in this case.
    headers = [(b"Host", target.encode())]
    if proxy.username:
        pair = base64.b64encode(proxy.username + b":" + proxy.password)
        headers.append((b"Proxy-Authorization", b"Basic " + pair))
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=target, headers=headers)
    await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    status = (await _answer_to_connect(stream, http)).status_code
    if status == 407:
        word = "refuses the user name or" if proxy.username else "asks for a user name and"
        raise _refused(f"The outbound proxy {word} password.")
    if not 200 <= status < 300:
        reason = f"The outbound proxy cannot reach the upstream (status {status})."
        raise _refused(reason, is_local=False)
    if http.trailing_data[0]:
        raise _refused("The outbound proxy speaks before the upstream can.")


async def _answer_to_connect(stream: trio.abc.Stream, http: h11.Connection) -> h11.Response:
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError:
            raise _refused("The outbound proxy does not speak HTTP.") from None
        if isinstance(event, h11.Response):
            return event
        # Else it is an interim answer, and the next event is asked for.
        if event is h11.NEED_DATA:
            http.receive_data(await _some(stream, _RECEIVE_BYTES))


async def _by_socks(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """SOCKS5 (RFC 1928), the name resolved at the proxy."""
    try:
        await _sign_in(stream, proxy)
        connect = socks5.SOCKS5Command.CONNECT
        request = socks5.SOCKS5CommandRequest.from_address(connect, (host, port))
        await stream.send_all(request.dumps())
        answer = socks5.SOCKS5Reply.loads(await _socks_answer(stream))
    except (SOCKSError, ValueError, AssertionError):
        raise _refused("The outbound proxy does not speak SOCKS5.") from None
    if answer.reply_code is not socks5.SOCKS5ReplyCode.SUCCEEDED:
        word = answer.reply_code.name.replace("_", " ").lower()
        reason = f"The outbound proxy cannot reach the upstream ({word})."
        raise _refused(reason, is_local=False)


async def _sign_in(stream: trio.abc.Stream, proxy: Proxy) -> None:
    """The greeting, and user and password by RFC 1929 if there are any."""
    wanted = socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
    if proxy.username:
        wanted = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD
    await stream.send_all(socks5.SOCKS5AuthMethodsRequest([wanted]).dumps())
    greeting = await _exactly(stream, 2)
    if greeting[0] != 5:
        raise SOCKSError
    if socks5.SOCKS5AuthReply.loads(greeting).method is not wanted:
        raise _refused("The outbound proxy asks for another way to sign in.")
    if not proxy.username:
        return
    login = socks5.SOCKS5UsernamePasswordRequest(proxy.username, proxy.password)
    await stream.send_all(login.dumps())
    # Some hang up without the answer that RFC 1929 wants first.
    answer = await stream.receive_some(1) and await _exactly(stream, 1)
    if answer != b"\0":
        raise _refused("The outbound proxy refuses the user name or password.")


async def _socks_answer(stream: trio.abc.Stream) -> bytes:
    """The answer to a command: four bytes, an address of the kind they name, and a port."""
    head = await _exactly(stream, 4)
    if head[3] == 3:
        length = await _exactly(stream, 1)
        return head + length + await _exactly(stream, length[0] + 2)
    # Unknown kinds are refused by the parser.
    return head + await _exactly(stream, _SOCKS_ADDRESS_BYTES.get(head[3], 4) + 2)


async def _exactly(stream: trio.abc.Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await _some(stream, size - len(data))
    return data


async def _some(stream: trio.abc.Stream, max_bytes: int) -> bytes:
    data = await stream.receive_some(max_bytes)
    if not data:
        # So do some when they cannot reach the upstream.
        raise _refused("The outbound proxy closed the connection.", is_local=False)
    return bytes(data)


def _refused(reason: str, *, is_local: bool = True) -> UpstreamError:
    """The proxy's refusal: `is_local` unless it is about the upstream behind it."""
    return UpstreamError("connect", reason, never_left=True, is_local=is_local)
