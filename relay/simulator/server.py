"""The running simulator: its journal, its script of faults, and the gate that holds answers.

Tests steer it from the same process; clients steer it with headers, through a relay too.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import trio

from relay.simulator.api import Api, Check, Reply, keys_of
from relay.simulator.connection import GONE, Connection, Sender
from relay.simulator.faults import Fault
from relay.simulator.journal import Journal, Received
from relay.simulator.state import Place


class Simulator:
    """A running simulator.

    Attributes:
        script: the faults of the next requests in their order, each used once.
        always: the fault of every other request, until it is set to None again.
        by_key: the faults of the requests with a given API key, until they are removed.
        open_connections: how many clients are connected.
    """

    def __init__(self, host: str, port: int, api_keys: frozenset[str] | None, check: Check) -> None:
        self.host = host
        self.port = port
        self.script: deque[Fault] = deque()
        self.always: Fault | None = None
        self.by_key: dict[str, Fault] = {}
        self.open_connections = 0
        self._journal = Journal()
        self._api = Api(api_keys, check)
        self._api.base_url = self.base_url
        self._gate: trio.Event | None = None
        self._number = 0

    @property
    def base_url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def places(self) -> dict[str, Place]:
        """Organisation and workspace by API key; a key that is not in it has its own of both."""
        return self._api.places

    @property
    def requests(self) -> deque[Received]:
        """The journal: the newest requests, oldest first."""
        return self._journal.requests

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have come since the start; the caller sets the deadline."""
        await self._journal.wait_for(count)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Answer nothing for the length of the block; requests are received all the same."""
        outer, self._gate = self._gate, trio.Event()
        try:
            yield
        finally:
            self._gate.set()
            self._gate = outer

    def end_batches(self) -> None:
        """Let the batches that were made with `x-sim-batch: open` end with their answers."""
        self._api.batches.end_all(self.base_url)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends or a fault ends it."""
        self.open_connections += 1
        try:
            if fault := self._fault_at_accept():
                await trio.sleep(fault.delay_s)
                await Sender(stream, fault).spoil()
            else:
                await Connection(stream, self._reply_to).run()
        except* (*GONE, h11.LocalProtocolError):
            pass
        finally:
            self.open_connections -= 1
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async def _reply_to(self, received: Received) -> Reply:
        self._journal.add(received)
        self._number += 1
        number = self._number
        fault = self._fault_for(received)
        while self._gate is not None:
            await self._gate.wait()
        await trio.sleep(fault.delay_s)
        return self._api.reply(received, number, fault)

    def _fault_at_accept(self) -> Fault | None:
        if self.script and self.script[0].at_accept:
            return self.script.popleft()
        return self.always if self.always and self.always.at_accept else None

    def _fault_for(self, received: Received) -> Fault:
        """A request's own fault, the script's next, its key's, or the lasting one."""
        if text := received.header("x-sim-fault"):
            try:
                return Fault.parse(text)
            except ValueError as error:
                return Fault(status=400, message=f"x-sim-fault: {error}")
        if self.script and not self.script[0].at_accept:
            return self.script.popleft()
        keys = sorted(keys_of(received) & self.by_key.keys())
        return self.by_key[keys[0]] if keys else self.always or Fault()


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    api_keys: frozenset[str] | None = None,
    check: Check = lambda fields: None,
    task_status: trio.TaskStatus[Simulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the Simulator as started.

    Args:
        port: 0 takes any that is free.
        api_keys: the keys that are accepted; None accepts every request.
        check: raises answers.ApiError for a message or a count that is refused.

    Raises:
        OSError: the port cannot be listened on.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    simulator = Simulator(host, listeners[0].socket.getsockname()[1], api_keys, check)
    task_status.started(simulator)
    await trio.serve_listeners(simulator.handle, listeners)
