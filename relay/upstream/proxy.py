"""The way through an outbound proxy: HTTP CONNECT, also over TLS, and SOCKS5.

What comes out is a stream to the upstream, as if it had been reached directly. Only the proxy that
was named is asked; the environment plays no part.
"""

import base64
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import h11
import trio
from socksio import SOCKSError, socks5

from relay.upstream.errors import UpstreamError

_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_RECEIVE_BYTES = 16 * 1024
_SOCKS_ADDRESS_BYTES = {1: 4, 4: 16}
_BROKE = "The outbound proxy closed the connection."


@dataclass(frozen=True, slots=True)
class Proxy:
    """An outbound proxy. `scheme` is http, https or socks5."""

    scheme: str
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)


def parse_proxy_url(url: str) -> Proxy:
    """Read `http|https|socks5://[user:password@]host[:port]`.

    Raises:
        ValueError: a sentence about what such an address has to be; nothing of it is repeated.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("A proxy's port is between 1 and 65535.") from None
    visible = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in _PORTS or not parts.hostname or not visible or port == 0:
        raise ValueError("A proxy's address is http://, https:// or socks5:// with a host.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("A proxy's address has no path, query or fragment.")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if max(len(username.encode()), len(password.encode())) > 255:
        raise ValueError("A proxy's user name and password have at most 255 bytes each.")
    return Proxy(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], username, password)


async def tunnel(
    tcp: trio.SocketStream, proxy: Proxy, host: str, port: int, context: ssl.SSLContext
) -> trio.abc.Stream:
    """A stream to `host` through a proxy to which `tcp` is connected.

    Raises:
        UpstreamError: the proxy does not let us through.
        trio.BrokenResourceError: the connection to it broke.
    """
    if proxy.scheme == "socks5":
        await _by_socks(tcp, proxy, host, port)
        return tcp
    stream: trio.abc.Stream = tcp
    if proxy.scheme == "https":
        stream = trio.SSLStream(tcp, context, server_hostname=proxy.host, https_compatible=True)
    await _by_connect(stream, proxy, host, port)
    return stream


async def _by_connect(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """HTTP CONNECT (RFC 9110 section 9.3.6)."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Some proxies know these names only in this case.
    headers = [("Host", target)]
    if proxy.username:
        pair = f"{proxy.username}:{proxy.password}".encode()
        headers.append(("Proxy-Authorization", f"Basic {base64.b64encode(pair).decode()}"))
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=target, headers=headers)
    await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
    except h11.RemoteProtocolError:
        raise _refused("The outbound proxy does not speak HTTP.") from None
    if not isinstance(event, h11.Response):
        raise _refused(_BROKE)
    if event.status_code == 407:
        raise _refused("The outbound proxy refuses the user name or password.")
    if not 200 <= event.status_code < 300:
        status = event.status_code
        raise _refused(f"The outbound proxy cannot reach the upstream (status {status}).")
    if http.trailing_data[0]:
        raise _refused("The outbound proxy speaks before the upstream can.")


async def _by_socks(tcp: trio.SocketStream, proxy: Proxy, host: str, port: int) -> None:
    """SOCKS5 (RFC 1928), the name resolved at the proxy; user and password by RFC 1929."""
    wanted = socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
    if proxy.username:
        wanted = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD
    try:
        await tcp.send_all(socks5.SOCKS5AuthMethodsRequest([wanted]).dumps())
        greeting = await _exactly(tcp, 2)
        if greeting[0] != 5:
            raise SOCKSError
        chosen = socks5.SOCKS5AuthReply.loads(greeting)
        if chosen.method is not wanted:
            raise _refused("The outbound proxy asks for another way to sign in.")
        if proxy.username:
            pair = proxy.username.encode(), proxy.password.encode()
            await tcp.send_all(socks5.SOCKS5UsernamePasswordRequest(*pair).dumps())
            if not socks5.SOCKS5UsernamePasswordReply.loads(await _exactly(tcp, 2)).success:
                raise _refused("The outbound proxy refuses the user name or password.")
        connect = socks5.SOCKS5Command.CONNECT
        request = socks5.SOCKS5CommandRequest.from_address(connect, (host, port))
        await tcp.send_all(request.dumps())
        answer = socks5.SOCKS5Reply.loads(await _socks_answer(tcp))
    except (SOCKSError, ValueError, AssertionError):
        raise _refused("The outbound proxy does not speak SOCKS5.") from None
    if answer.reply_code is not socks5.SOCKS5ReplyCode.SUCCEEDED:
        word = answer.reply_code.name.replace("_", " ").lower()
        raise _refused(f"The outbound proxy cannot reach the upstream ({word}).")


async def _socks_answer(tcp: trio.SocketStream) -> bytes:
    """The answer to a command: four bytes, an address of the kind they name, and a port."""
    head = await _exactly(tcp, 4)
    if head[3] == 3:
        length = await _exactly(tcp, 1)
        return head + length + await _exactly(tcp, length[0] + 2)
    # Unknown kinds are refused by the parser.
    return head + await _exactly(tcp, _SOCKS_ADDRESS_BYTES.get(head[3], 4) + 2)


async def _exactly(tcp: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await tcp.receive_some(size - len(data))
        if not part:
            raise _refused(_BROKE)
        data += part
    return data


def _refused(reason: str) -> UpstreamError:
    return UpstreamError("connect", reason, never_left=True)
