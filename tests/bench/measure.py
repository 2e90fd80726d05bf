"""The order of the benchmark: start everyone, take rounds in turn, keep the middle of the rounds.

All contenders run all the time and are loaded one after another, back and forth, so that a noisy
neighbour or a machine that slows down meets them all alike.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import trio

from tests.bench import requests_load, streams_load, upstreams
from tests.bench.contenders import Contender
from tests.bench.processes import StartError, rss_mib
from tests.bench.requests_load import LoadError, RequestsRound
from tests.bench.streams_load import Shape, StreamsRound

_WARM_UP_S = 1
# What a round leaves behind (closing connections, settling) shall not fall into the next.
_PAUSE_S = 0.1
# What is not the middle of its rounds: no error and no lost stream may hide behind it.
_NOT_MIDDLE: dict[str, Callable[[list[float]], float]] = {"errors": sum, "completed": min}

Round = TypeVar("Round", RequestsRound, StreamsRound)
Amount = TypeVar("Amount", int, Shape)
Load = Callable[[Contender, Amount], Awaitable[Round]]
Step = Callable[[Contender], Awaitable[object]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured; `clients` and `shapes` may be empty."""

    rounds: int
    seconds: int
    clients: tuple[int, ...]
    shapes: tuple[Shape, ...]
    warm_up: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MiB of the contender and of the database beside it."""

    own_mib: float
    aside_mib: float


@dataclass(slots=True)
class Result:
    """One contender's figures; a failure leaves out what came after it."""

    name: str
    failure: str | None = None
    idle: Memory | None = None
    loaded: Memory | None = None
    requests: dict[int, RequestsRound] = field(default_factory=dict)
    streams: dict[Shape, StreamsRound] = field(default_factory=dict)


async def run(contenders: Sequence[Contender], plan: Plan, folder: Path, say: Say) -> list[Result]:
    """Measure the contenders by the plan. `say` is told what goes on.

    Raises:
        StartError: an upstream does not run.
    """
    async with trio.open_nursery() as nursery:
        say("starting the upstreams and the contenders")
        shared = await upstreams.start(nursery, folder)
        async with trio.open_nursery() as starting:
            for contender in contenders:
                starting.start_soon(contender.start, nursery, shared)
        results = [Result(contender.name, idle=_memory(contender)) for contender in contenders]
        await _Measurement(contenders, results, plan, folder, say).run()
        for contender, result in zip(contenders, results, strict=True):
            result.loaded = _memory(contender)
            result.failure = contender.failure
        say("ending them")
        nursery.cancel_scope.cancel()
    return results


def _memory(contender: Contender) -> Memory | None:
    if contender.failure:
        return None
    own, aside = contender.pids()
    return Memory(rss_mib(own), rss_mib(aside))


@dataclass(slots=True)
class _Measurement:
    contenders: Sequence[Contender]
    results: list[Result]
    plan: Plan
    folder: Path
    say: Say

    async def run(self) -> None:
        if self.plan.clients:
            await self._warm_up()
        for clients in self.plan.clients:
            rounds = await self._rounds(f"requests, c={clients}", self._request, clients)
            for result in self.results:
                if rounds[result.name]:
                    result.requests[clients] = _middle(rounds[result.name])
        if self.plan.shapes:
            await self._each(lambda contender: contender.prepare_streams())
        for shape in self.plan.shapes:
            what = f"{shape.streams} streams of {shape.chunks} chunks"
            rounds = await self._rounds(what, streams_load.run, shape)
            for result in self.results:
                if rounds[result.name]:
                    result.streams[shape] = _middle(rounds[result.name])

    async def _warm_up(self) -> None:
        if self.plan.warm_up:
            self.say("warming up")
            await self._each(
                lambda one: requests_load.run(one, self.folder, clients=8, seconds=_WARM_UP_S)
            )

    async def _request(self, contender: Contender, clients: int) -> RequestsRound:
        seconds = self.plan.seconds
        return await requests_load.run(contender, self.folder, clients=clients, seconds=seconds)

    async def _rounds(
        self, what: str, load: Load[Amount, Round], amount: Amount
    ) -> dict[str, list[Round]]:
        """Take turns, every second time in the other direction."""
        found: dict[str, list[Round]] = {contender.name: [] for contender in self.contenders}

        async def take(contender: Contender) -> None:
            found[contender.name].append(await load(contender, amount))
            await trio.sleep(_PAUSE_S)

        for number in range(self.plan.rounds):
            self.say(f"{what}: round {number + 1} of {self.plan.rounds}")
            await self._each(take, backwards=number % 2 == 1)
        return found

    async def _each(self, do: Step, *, backwards: bool = False) -> None:
        """Do it with every contender that has not failed; a failure is noted and stays alone."""
        for contender in self.contenders[:: -1 if backwards else 1]:
            if contender.failure is None:
                try:
                    await do(contender)
                except (LoadError, StartError, OSError, trio.TooSlowError) as error:
                    contender.failure = str(error) or type(error).__name__


def _middle(rounds: list[Round]) -> Round:
    """The median of every figure over the rounds, of those rounds that have it."""
    figures = {}
    for name in (one.name for one in dataclasses.fields(rounds[0])):
        seen = [value for one in rounds if (value := getattr(one, name)) is not None]
        figures[name] = _NOT_MIDDLE.get(name, median)(seen) if seen else None
    return type(rounds[0])(**figures)
