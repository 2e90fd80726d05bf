"""Sockets without a task that watches them: one epoll tells all of them what came and who left.

It is edge-triggered and read by one task for the whole server. So a wait for a client costs no
system call and no closure, and a client's leaving is seen while its connection's one task waits for
something else.
"""

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
from trio.lowlevel import Abort

# Of events that are taken from the kernel at one time.
_MOST_EVENTS = 1024
_CAME = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET if hasattr(select, "epoll") else 0
_LEFT = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR if hasattr(select, "epoll") else 0
# A write deadline covers one slice, so that it bounds a client's silence and not a long answer.
SLICE_BYTES = 256 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Ports:
    """All ports of one server. Where there is no epoll there can be none."""

    is_possible = hasattr(select, "epoll")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ports: dict[int, Port] = {}

    async def run(self) -> None:
        """Tell the ports what happens to them, until cancelled."""
        number, poll, ports = self._epoll.fileno(), self._epoll.poll, self._ports
        try:
            while True:
                await trio.lowlevel.wait_readable(number)
                for each, events in poll(0, _MOST_EVENTS):
                    if (port := ports.get(each)) is not None:
                        port.note(events)
        finally:
            self._epoll.close()

    def open(self, sock: socket.socket) -> "Port":
        """A port of a connected socket, which becomes non-blocking.

        Raises:
            OSError: the kernel watches no more sockets.
        """
        sock.setblocking(False)
        number = sock.fileno()
        self._epoll.register(number, _CAME)
        port = self._ports[number] = Port(sock, self._forget)
        return port

    def _forget(self, number: int) -> None:
        if self._ports.pop(number, None) is not None and not self._epoll.closed:
            # The kernel may have dropped it already.
            with suppress(OSError):
                self._epoll.unregister(number)


class Port:
    """One connected socket, which one task reads and writes."""

    __slots__ = ("_abort", "_forget", "_is_readable", "_number", "_reader", "_sock", "_writes",
                 "has_left", "on_left")  # fmt: skip

    def __init__(self, sock: socket.socket, forget: Callable[[int], None]) -> None:
        self._sock = sock
        self._forget = forget
        self._number = sock.fileno()
        self._is_readable = True
        self._reader: trio.lowlevel.Task | None = None
        self._writes = False
        self._abort = self._stop_waiting
        # Whether the peer has closed, at least its sending side, and what wants to hear of it.
        self.has_left = False
        self.on_left: Callable[[], None] | None = None

    def note(self, events: int) -> None:
        """Take in what the kernel tells."""
        self._is_readable = True
        self._wake()
        if events & _LEFT and not self.has_left:
            self.has_left = True
            if self.on_left is not None:
                self.on_left()

    def receive_now(self, most_bytes: int) -> bytes | None:
        """What has come in: None for nothing yet, empty when nothing will come any more."""
        if not self._is_readable:
            return None
        try:
            data = self._sock.recv(most_bytes)
        except BlockingIOError:
            self._is_readable = False
            return None
        except OSError:
            return b""
        # The next edge tells of what comes after a short read; after the end there is none.
        if 0 < len(data) < most_bytes and not self.has_left:
            self._is_readable = False
        return data

    async def receive(self, most_bytes: int) -> bytes:
        """What comes in next; empty when nothing will. Only one task may wait for it."""
        while (data := self.receive_now(most_bytes)) is None:
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        return data

    async def send(self, data: bytes, patience_s: float) -> bool:
        """Send all of `data`. Returns False if it cannot be, or when the peer takes too long.

        Args:
            patience_s: for each slice of SLICE_BYTES.

        Cancellation: part of it may have been sent.
        """
        try:
            sent = self._send_now(data)
            if sent < len(data):
                rest = memoryview(data)[sent:]
                for start in range(0, len(rest), SLICE_BYTES):
                    with trio.move_on_after(patience_s) as scope:
                        await self._send_slice(rest[start : start + SLICE_BYTES])
                    if scope.cancelled_caught:
                        return False
        except (OSError, trio.ClosedResourceError):
            return False
        return True

    async def _send_slice(self, data: memoryview) -> None:
        self._writes = True
        try:
            while data:
                await trio.lowlevel.wait_writable(self._sock)
                data = data[self._send_now(data) :]
        finally:
            self._writes = False

    def _send_now(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def end_output(self) -> bool:
        """Tell the peer that nothing more will come. Returns False if it is gone."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def close(self, *, reset: bool = False) -> None:
        """Close now, from any task; whoever waits here finds out."""
        self._forget(self._number)
        if reset:
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if self._writes:
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        self._is_readable = True
        self._wake()

    def give_up(self) -> socket.socket:
        """The socket, which is no port any more."""
        self._forget(self._number)
        return self._sock

    def _wake(self) -> None:
        if self._reader is not None:
            task, self._reader = self._reader, None
            trio.lowlevel.reschedule(task)

    def _stop_waiting(self, _: Any) -> Abort:
        self._reader = None
        return Abort.SUCCEEDED
