"""A whole relay in this process: real Redis, real sockets, the simulator as its upstream.

The simulator refuses what Claude refuses: simulator/strict.py has the rules.
"""

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from relay import server, settings, simulator
from relay.context import Context
from relay.usage import Report, report

from ..simulator import strict
from ..store.conftest import redis_process, redis_url

__all__ = ["redis_process", "redis_url"]

UPSTREAM_KEY = "upstream-secret"
OTHER_KEYS = ("second-secret", "third-secret")
API_KEYS = frozenset({UPSTREAM_KEY, *OTHER_KEYS})
SOON_S = 10.0
BODY = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


@dataclasses.dataclass
class Running:
    """A relay that serves, with one account at the simulator and one key."""

    ctx: Context
    url: str
    sim: simulator.Simulator
    key: str
    stop: trio.Event

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.key, "anthropic-version": "2023-06-01"}

    def client(self, **options: object) -> httpx.AsyncClient:
        """A client of the relay with the key and no patience."""
        given = {"base_url": self.url, "headers": self.headers, "timeout": SOON_S, **options}
        return httpx.AsyncClient(trust_env=False, **given)

    async def raw(self, body: object, **headers: str) -> trio.SocketStream:
        """The socket of a messages request that was sent; the caller reads and closes it."""
        content = json.dumps(body).encode()
        given = {**self.headers, "host": "relay", "content-length": str(len(content)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
        head = "\r\n".join(["POST /v1/messages HTTP/1.1", *lines, "", ""])
        stream = await trio.open_tcp_stream("127.0.0.1", int(self.url.rpartition(":")[2]))
        await stream.send_all(head.encode() + content)
        return stream

    async def report(self) -> Report:
        """Today's usage once every lease is settled."""
        await self.settled()
        return await report(self.ctx.store)

    async def add_accounts(self) -> None:
        """Two more accounts at the same upstream, beside the one that there is."""
        for number, secret in enumerate(OTHER_KEYS, 2):
            await self.ctx.accounts.add(f"more{number}", secret=secret, base_url=self.sim.base_url)

    async def sim_got_a_request(self) -> None:
        """Wait until the upstream has a request."""
        with trio.fail_after(SOON_S):
            while not self.sim.requests:  # noqa: ASYNC110
                await trio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until no lease is open, here and in Redis."""
        with trio.fail_after(SOON_S):
            while self.ctx.leases.open_count or await self.ctx.store.leases.count():  # noqa: ASYNC110
                await trio.sleep(0.01)


@asynccontextmanager
async def relay_running(
    redis_url: str, home: Path, *, api_keys: frozenset[str] | None = API_KEYS, **changes: object
) -> AsyncIterator[Running]:
    """A relay with the given changes to its settings; `api_keys` None: its upstream takes any."""
    chosen = settings.load({"RELAY_HOME": str(home), "REDIS_URL": redis_url})
    quick = {
        "port": 0,
        "drain_lead_s": 0.0,
        "drain_timeout_s": 1.0,
        "retry_delay_s": 0.01,
        "rate_enabled": False,
        "inner_networks": ("127.0.0.0/8", "::1/128"),
    }
    chosen = dataclasses.replace(chosen, **{**quick, **changes})
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve = partial(simulator.serve, api_keys=api_keys, check=strict.check)
        sim = await nursery.start(serve)
        ctx, url = await nursery.start(partial(server.serve, chosen, stop=stop))
        await ctx.accounts.add("main", secret=UPSTREAM_KEY, base_url=sim.base_url)
        _, key = await ctx.keys.create("alice")
        yield Running(ctx, url, sim, key, stop)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def relay(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A relay as it comes."""
    async with relay_running(redis_url, tmp_path) as running:
        yield running
