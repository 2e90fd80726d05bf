"""The client: finds or opens a connection for each request and keeps it for the next one."""

import contextlib
import functools
import ssl
from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from relay.addresses import InnerAddress, Network, judge_number, judged
from relay.upstream.connection import Connection
from relay.upstream.errors import (
    FAILURES,
    UpstreamError,
    UpstreamTimeoutError,
    is_local,
    is_ours,
    sentence,
    was_held_up,
)
from relay.upstream.exchange import Exchange, Reply
from relay.upstream.origin import (
    Address,
    Headers,
    Origin,
    announced_bytes_of,
    parse_base_url,
    request_head,
)
from relay.upstream.proxy import tunnel

_BASE_URLS_REMEMBERED = 1024
INNER = "It lies in a private network or on this machine; claude.innerNetworks allows such."
# What this room writes itself, whatever the caller's headers say.
_OWN_HEADERS = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding"))
_BODILESS_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))


class Upstreams:
    """Sends requests, and keeps connections for the next ones, the last used first.

    Args:
        connect_timeout_s: for name resolution, TCP, the way through a proxy and TLS together.
        idle_expiry_s: how long an unused connection is trusted to be still good.
        ssl_context: instead of the default one, which trusts the system's authorities.
        inner_networks: inner addresses that may be reached where they are judged.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        idle_expiry_s: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        inner_networks: Sequence[Network] = (),
    ) -> None:
        self.open_connections = 0
        self.idle_connections = 0
        self._connect_timeout_s = connect_timeout_s
        self._idle_expiry_s = idle_expiry_s
        self._ssl_context = ssl_context or _default_tls()
        self._inner_networks = inner_networks
        self._parse = functools.lru_cache(_BASE_URLS_REMEMBERED)(parse_base_url)
        self._idle: dict[Address, list[Connection]] = {}
        self._is_closed = False

    def send(
        self,
        base_url: str,
        method: str,
        target: bytes,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        *,
        headers_timeout_s: float,
        silence_timeout_s: float,
        proxy: str | None = None,
        judges_host: bool = False,
        judges_proxy: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a request; the context is its answer, and leaving it ends the answer.

        Args:
            target: path and query below the base URL's own path.
            headers: names in lower case. `host`, `connection` and the framing are made here;
                a `content-length` counts only for a body in pieces, which else goes in chunks.
            body: bytes, or pieces; a generator of pieces is closed if not all are wanted.
            headers_timeout_s: for sending and waiting for the answer's head.
            silence_timeout_s: for each wait for bytes of the answer's body.
            proxy: the address of an outbound proxy; the environment's are ignored.
            judges_host, judges_proxy: reach the upstream, or the proxy, at a public address or in
                the inner networks only. A name that a proxy resolves is not judged.

        Cancellation: closes the connection at once.

        Raises:
            UpstreamError: no answer came; UpstreamTimeoutError when a deadline passed.
            ValueError: the base URL, the target or a header cannot be sent.
        """
        origin = self._parse(base_url, proxy, judges_host, judges_proxy)
        lines = [(b"host", origin.host_header)]
        lines += [header for header in headers if header[0] not in _OWN_HEADERS]
        announced_bytes = len(body) if isinstance(body, bytes) else announced_bytes_of(headers)
        if announced_bytes is None:
            lines.append((b"transfer-encoding", b"chunked"))
        elif announced_bytes or method not in _BODILESS_METHODS:
            lines.append((b"content-length", b"%d" % announced_bytes))
        return Exchange(
            self,
            origin,
            request_head(origin, method, target, lines),
            body,
            announced_bytes,
            headers_timeout_s,
            silence_timeout_s,
        )

    async def prune(self) -> None:
        """Close what has been idle for longer than `idle_expiry_s`."""
        oldest_good = trio.current_time() - self._idle_expiry_s
        for address, idle in list(self._idle.items()):
            # The last used are at the end.
            expired = [one for one in idle if one.idle_since < oldest_good]
            del idle[: len(expired)]
            if not idle:
                del self._idle[address]
            for connection in expired:
                self.idle_connections -= 1
                self.close(connection)
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close all idle connections; those in use close when their answers end."""
        self._is_closed = True
        for idle in self._idle.values():
            for connection in idle:
                self.close(connection)
        self._idle.clear()
        self.idle_connections = 0
        await trio.lowlevel.checkpoint()

    async def take(self, address: Address) -> Connection | None:
        """The idle connection that was used last, if it is still good."""
        while idle := self._idle.get(address):
            connection = idle.pop()
            self.idle_connections -= 1
            try:
                is_expired = connection.idle_since < trio.current_time() - self._idle_expiry_s
                if not is_expired and not await connection.is_stale():
                    return connection
            except BaseException:
                self.close(connection)
                raise
            self.close(connection)
        return None

    async def open(self, origin: Origin) -> Connection:
        """A new connection, the way through a proxy and TLS included."""
        # Whom to blame, as far as the connection has come.
        end = "upstream" if origin.proxy is None else "outbound proxy"
        is_at_proxy = origin.proxy is not None
        try:
            with trio.move_on_after(self._connect_timeout_s) as waiting:
                next_hop = origin.proxy or origin
                judges = origin.judges_proxy if origin.proxy else origin.judges_host
                tcp = await self._connected(next_hop.host, next_hop.port, judges=judges)
                connection = Connection(origin.address, tcp)
                self.open_connections += 1
                try:
                    if origin.proxy is not None:
                        if origin.judges_host:
                            await judge_number(origin.host, self._inner_networks)
                        if origin.proxy.scheme == "https":
                            await connection.start_tls(origin.proxy.host, self._ssl_context)
                        is_at_proxy = False
                        await tunnel(connection.stream, origin.proxy, origin.host, origin.port)
                        end = "upstream"
                    if origin.scheme == "https":
                        await connection.start_tls(origin.host, self._ssl_context)
                except BaseException:
                    self.close(connection)
                    raise
                return connection
        except InnerAddress:
            raise UpstreamError("connect", INNER, never_left=True) from None
        except FAILURES as error:
            if is_ours(error):
                reason = "This machine has no file descriptor, memory or port left for it."
                raise UpstreamError("connect", reason, never_left=True, is_ours=True) from error
            reason = sentence(error).replace("upstream", end)
            local = is_at_proxy or is_local(error)
            raise UpstreamError("connect", reason, never_left=True, is_local=local) from error
        waited = f"{self._connect_timeout_s:g} s"
        reason = f"The {end} did not accept a connection within {waited}."
        local = was_held_up(waiting.deadline)
        raise UpstreamTimeoutError("connect", reason, never_left=True, is_local=local)

    async def _connected(self, host: str, port: int, *, judges: bool) -> trio.SocketStream:
        """A connection to a host, at the very address that was judged where it is.

        Raises:
            InnerAddress: the host may not be reached.
        """
        if not judges:
            return await trio.open_tcp_stream(host, port)
        found = await judged(host, port, self._inner_networks)
        for address in found[:-1]:
            with contextlib.suppress(OSError):
                return await trio.open_tcp_stream(str(address), port)
        return await trio.open_tcp_stream(str(found[-1]), port)

    def put_back(self, connection: Connection) -> None:
        if self._is_closed:
            self.close(connection)
            return
        connection.idle_since = trio.current_time()
        self._idle.setdefault(connection.address, []).append(connection)
        self.idle_connections += 1

    def close(self, connection: Connection) -> None:
        self.open_connections -= 1
        connection.close()


def _default_tls() -> ssl.SSLContext:
    """TLS that trusts the system's authorities.

    Made at the start, with the client: Python reads none of them, and says nothing, where a process
    has no file descriptor left, and would then trust no upstream for good.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
