"""What an upstream that fails costs a person, through a relay and without one.

The Anthropic SDK with its own retries asks in four threads. A person goes on asking until there is
an answer: the time to success is that of all calls until then.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anthropic
import trio

from relay.simulator import Fault
from tests.bench.fleet import BODY, Fleet
from tests.bench.streams_load import percentile

THREADS, CALLS = 4, 50
# How much longer the slowest of twenty may take than without the relay, and what a proxy on a busy
# machine costs by itself.
MOST_TIMES, PROXY_S = 1.2, 0.1
_SECRETS = ("upstream-secret", "second-secret")
_MOST_CALLS = 20

# What goes wrong with a request, by the seconds since the load began; None: nothing does.
Trouble = Callable[[random.Random, float], Fault | None]


def at_random(share: float, *faults: Fault) -> Trouble:
    """So many of the requests fail, in one of these ways."""
    return lambda dice, _: dice.choice(faults) if dice.random() < share else None


def in_bursts(every_s: float, for_s: float, fault: Fault) -> Trouble:
    """All requests fail for a while, over and over."""
    return lambda _, now: fault if now % every_s < for_s else None


_OVERLOADED, _BROKEN = Fault(status=529), Fault(status=500)
_LIMITED = Fault(status=429)
_STATED = Fault(status=429, headers={"retry-after": "1"})
TROUBLES: dict[str, Trouble] = {
    "nothing": at_random(0.0, _OVERLOADED),
    "10 % 529": at_random(0.1, _OVERLOADED),
    "20 % 529 and 500": at_random(0.2, _OVERLOADED, _BROKEN),
    "30 % 529 and 500": at_random(0.3, _OVERLOADED, _BROKEN),
    "529 for 1 s of each 4 s": in_bursts(4.0, 1.0, _OVERLOADED),
    "10 % 429 without retry-after": at_random(0.1, _LIMITED),
    "429 with retry-after for 1 s of each 4 s": in_bursts(4.0, 1.0, _STATED),
}


class _Weather(dict[str, Fault]):
    """Faults of the upstream's keys that are drawn anew for each request."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(dict.fromkeys(_SECRETS, Fault()))
        self._trouble, self._dice = trouble, random.Random(1)
        self._began = time.monotonic()

    def __getitem__(self, key: str) -> Fault:
        return self._trouble(self._dice, time.monotonic() - self._began) or Fault()


@dataclass(slots=True)
class Asked:
    """What came of the calls: those that failed, and the seconds until each person's success."""

    failed: int = 0
    times_s: list[float] = field(default_factory=list)

    @property
    def p95_s(self) -> float:
        return percentile(self.times_s, 95) or 0.0


@dataclass(frozen=True, slots=True)
class FailuresRow:
    """One trouble with so many accounts, without the relay and through it."""

    name: str
    accounts: int
    direct_failed: int
    relay_failed: int
    direct_p95_s: float
    relay_p95_s: float

    @property
    def holds(self) -> bool:
        """Whether the relay was never worse."""
        is_in_time = self.relay_p95_s <= MOST_TIMES * self.direct_p95_s + PROXY_S
        return self.relay_failed <= self.direct_failed and is_in_time


def _ask(base_url: str, key: str, asked: Asked, lock: threading.Lock) -> None:
    with anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=2) as client:
        for _ in range(CALLS):
            began = time.monotonic()
            failed = 0
            while failed < _MOST_CALLS:
                try:
                    client.messages.create(**BODY)
                    break
                except anthropic.APIError:
                    failed += 1
            with lock:
                asked.failed += failed
                asked.times_s.append(time.monotonic() - began)


async def _load(fleet: Fleet, trouble: Trouble, base_url: str, key: str) -> Asked:
    asked, lock = Asked(), threading.Lock()
    fleet.sim.by_key = _Weather(trouble)
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS):
            nursery.start_soon(trio.to_thread.run_sync, _ask, base_url, key, asked, lock)
    return asked


async def run(fleet: Fleet, accounts: int, say: Callable[[str], None]) -> list[FailuresRow]:
    """Each trouble, first without the relay, then through it."""
    if accounts > 1:
        await fleet.ctx.accounts.add("second", secret=_SECRETS[1], base_url=fleet.sim.base_url)
    rows = []
    for name, trouble in TROUBLES.items():
        say(f"failures: {name}, {accounts} account(s)")
        direct = await _load(fleet, trouble, fleet.sim.base_url, _SECRETS[0])
        through = await _load(fleet, trouble, fleet.relays[0].url, await fleet.key())
        for account in await fleet.ctx.accounts.list():
            await fleet.ctx.accounts.reset(account.id)
        rows.append(
            FailuresRow(name, accounts, direct.failed, through.failed, direct.p95_s, through.p95_s)
        )
    return rows
