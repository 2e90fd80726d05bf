"""One connection to an upstream, plain or TLS: sends, and tells whether it may be used again."""

import ssl

import trio

from relay.upstream.origin import Address

# Looking for leftovers reads only what is there already, so this never runs out in practice.
_PEEK_DEADLINE_S = 1.0


class _NothingThereError(Exception):
    """Raised through a TLS stream that is only to look at what it has."""


class _Wire(trio.abc.Stream):
    """The socket below all TLS streams, which must outlive a failed or abandoned send.

    trio's SSLStream cannot be read any more once a send on it has failed, but the upstream's
    reason for hanging up is to be read just then. So here such a send looks like any other,
    and `is_broken` says that nothing more will leave.
    """

    def __init__(self, tcp: trio.SocketStream) -> None:
        self._tcp = tcp
        self._sending: trio.CancelScope | None = None
        self.is_broken = False
        self.is_peeking = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_broken:
            return
        with trio.CancelScope() as self._sending:
            try:
                await self._tcp.send_all(data)
            except trio.BrokenResourceError:
                self.is_broken = True
        self.is_broken = self.is_broken or self._sending.cancelled_caught
        self._sending = None

    def abandon_send(self) -> None:
        """End a send that is under way here or on its way through the TLS above."""
        self.is_broken = True
        if self._sending is not None:
            self._sending.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.is_peeking and not self._tcp.socket.is_readable():
            raise _NothingThereError
        return await self._tcp.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self._tcp.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._tcp.aclose()


class Connection:
    """One connection to an upstream, with TLS once, twice (to a proxy too) or not at all."""

    def __init__(self, address: Address, tcp: trio.SocketStream) -> None:
        self.address = address
        self.idle_since = 0.0
        self.stream: trio.abc.Stream = tcp
        self._tcp = tcp
        self._wire: _Wire | None = None
        self._is_sending = False

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """TLS to `host`, over what the connection has been so far."""
        if self._wire is None:
            self.stream = self._wire = _Wire(self._tcp)
        tls = trio.SSLStream(self.stream, context, server_hostname=host, https_compatible=True)
        self.stream = tls
        await tls.do_handshake()

    async def send(self, data: bytes | memoryview) -> bool:
        """Send `data`. Returns whether all of it left; an answer may be there even if not."""
        self._is_sending = True
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return False
        finally:
            self._is_sending = False
        return self._wire is None or not self._wire.is_broken

    def abandon_send(self) -> bool:
        """End a send under way where a cancellation would end the receiving too.

        Returns whether there was one.
        """
        if self._wire is None or not self._is_sending:
            return False
        self._wire.abandon_send()
        return True

    async def is_stale(self) -> bool:
        """Whether an idle connection was closed, or has bytes that nobody asked for."""
        wire = self._wire
        if wire is None:
            return self._tcp.socket.is_readable()
        # TLS may hold bytes that the socket no longer shows, and a session ticket, which makes
        # the socket readable, is no reason to let go.
        wire.is_peeking = True
        try:
            with trio.move_on_after(_PEEK_DEADLINE_S):
                await self.stream.receive_some(1)
        except _NothingThereError:
            return False
        except trio.BrokenResourceError:
            return True
        finally:
            wire.is_peeking = False
        return True

    def close(self) -> None:
        # A socket closes at once and without an await, so no cancellation can get in between.
        self._tcp.socket.close()
