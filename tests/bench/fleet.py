"""Relay processes on one Redis, before a simulated upstream in this process; and their books.

What several processes do together, and what becomes of it when one of them or Redis dies, is
measured and tested with it.
"""

import contextlib
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trio

from relay import server, settings, simulator
from relay.context import Context
from relay.store import name
from tests.bench.processes import Program
from tests.bench.relay_contender import clean_env
from tests.store.conftest import RedisProcess

BODY = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
CONTENT = json.dumps(BODY, separators=(",", ":")).encode()
STREAM = json.dumps({**BODY, "stream": True}, separators=(",", ":")).encode()
_SECRET = "upstream-secret"
_SETTINGS = """\
[server]
drainLead = 0
drainTimeout = 1000
[rateLimit]
enabled = false
"""
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Relay:
    """One relay process."""

    program: Program
    url: str

    def kill(self) -> None:
        """End it as the kernel does when memory is short: it can do nothing about it."""
        os.kill(self.program.pid, signal.SIGKILL)


@dataclass(slots=True)
class Books:
    """What Redis says was used, in micro-dollars, in each of the ways in which it says so."""

    records: list[dict]
    counted: Counter[str]
    spent: dict[str, int]
    held: dict[str, int]
    open_leases: int

    @property
    def of_records(self) -> int:
        return sum(record["cost_micros"] for record in self.records)

    def check(self, scopes: int) -> None:
        """Raise AssertionError unless all ways agree and nothing is held any more.

        Args:
            scopes: how many keys have used something.
        """
        ids = [record["request_id"] for record in self.records]
        assert len(ids) == len(set(ids)), "a request has two records"
        total = self.of_records
        assert self.counted["cost_micros"] == total, (self.counted["cost_micros"], total)
        assert self.counted["requests"] == len(ids), (self.counted["requests"], len(ids))
        for kind in ("key", "account", "relay"):
            of_kind = [sum_ for scope, sum_ in self.spent.items() if scope.startswith(kind)]
            assert sum(of_kind) == total, (kind, of_kind, total)
        assert sum(scope.startswith("key") for scope in self.spent) == scopes
        assert not any(self.held.values()), self.held
        assert self.open_leases == 0, self.open_leases


@dataclass(slots=True)
class Fleet:
    """Everything that runs."""

    ctx: Context
    sim: simulator.Simulator
    redis: RedisProcess
    relays: list[Relay] = field(default_factory=list)
    _keys: int = 0

    async def key(self, **limits: object) -> str:
        """The text of a new key."""
        self._keys += 1
        _, text = await self.ctx.keys.create(f"key-{self._keys}", **limits)
        return text

    def client(self, number: int, key: str, timeout_s: float = 60.0) -> httpx.AsyncClient:
        """A client of the relay of that number, with as many connections as it asks for."""
        headers = {"x-api-key": key, "content-type": "application/json"}
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(
            base_url=self.relays[number].url, headers=headers, limits=limits, timeout=timeout_s,
            trust_env=False,
        )  # fmt: skip

    async def open_leases(self) -> int:
        return await self.ctx.store.leases.count()

    async def until_settled(self, deadline_s: float) -> float:
        """Wait until no lease is open. Returns how many seconds it took."""
        began = trio.current_time()
        with trio.fail_after(deadline_s):
            while await self.open_leases():  # noqa: ASYNC110
                await trio.sleep(_LOOK_EVERY_S)
        return trio.current_time() - began

    async def books(self) -> Books:
        """The books of this moment."""
        db = self.ctx.store._db
        records = [json.loads(row) for row in await self.ctx.store.usage.records(10_000)]
        counted: Counter[str] = Counter()
        prefix = name("count_day", "")
        days = [key.decode().removeprefix(prefix)
                for key in await db.call("KEYS", name("count_day", "*"))]  # fmt: skip
        for day in await self.ctx.store.usage.counted(days):
            for cell in day.cells:
                counted.update(cell.amounts)
        spent: dict[str, int] = {}
        held: dict[str, int] = defaultdict(int)
        prefix = name("spend", "")
        for key in await db.call("KEYS", name("spend", "*")):
            figures = await db.hash(key.decode())
            scope = key.decode().removeprefix(prefix)
            if "total" in figures:
                spent[scope] = int(figures["total"])
            for figure in ("held_most", "held_expected"):
                held[f"{scope} {figure}"] = int(figures.get(figure, 0))
        return Books(records, counted, spent, held, await self.open_leases())


@contextlib.asynccontextmanager
async def running(folder: Path, relays: int = 2) -> AsyncIterator[Fleet]:
    """A fleet with one account at the simulator, in `folder`; everything ends with the block.

    Raises:
        StartError: a relay does not run.
    """
    home, data = folder / "home", folder / "redis"
    for one in (home, data):
        one.mkdir(mode=0o700)
    (home / "relay.toml").write_text(_SETTINGS)
    redis = RedisProcess(data)
    redis.start()
    env = {"RELAY_HOME": str(home), "REDIS_URL": redis.url}
    try:
        async with trio.open_nursery() as nursery:
            sim = await nursery.start(simulator.serve)
            async with server.context(settings.load(env)) as ctx:
                await ctx.accounts.add("main", secret=_SECRET, base_url=sim.base_url)
                fleet = Fleet(ctx, sim, redis)
                try:
                    for number in range(relays):
                        fleet.relays.append(await _started(nursery, number, folder, env))
                    yield fleet
                finally:
                    for relay in fleet.relays:
                        with contextlib.suppress(ProcessLookupError):
                            relay.kill()
            nursery.cancel_scope.cancel()
    finally:
        redis.kill()


async def _started(nursery: trio.Nursery, number: int, folder: Path, env: dict[str, str]) -> Relay:
    command = [sys.executable, "relay.py", "serve", "--port", "0"]
    program = await Program.start(
        nursery, f"relay-{number}", command, folder, {**clean_env(), **env}
    )
    await program.until(lambda: "listening on" in program.log.read_text())
    url = program.log.read_text().partition("listening on ")[2].split()[0]
    return Relay(program, url)
