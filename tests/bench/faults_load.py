"""What two relay processes do while Redis is away or full, and after one of them was killed.

The load is bounded and mixed: a key with a rate, one with a strict budget, one that opens streams
up to its concurrency, and one without any limit.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import trio

from relay.pricing import Tokens
from tests.bench.fleet import CONTENT, STREAM, Fleet

# What is promised, in seconds.
REFUSED_IN_S, BACK_IN_S, SLOTS_FREE_IN_S = 2.0, 1.0, 15.0
RATE, BUDGET_MICROS, STREAMS = 10, 20_000, 3
_PATIENCE = 10
_PAUSE_S = 0.1
_LEAD_S = AFTER_S = 1.0
_LONG = {"anthropic-sim-chunks": "20", "anthropic-sim-delay-ms": "80"}
# Long enough for a relay to be killed under a hundred of them.
_LONGER = {"anthropic-sim-chunks": "60", "anthropic-sim-delay-ms": "200"}
_MESSAGE_STOP = b"event: message_stop"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a relay, in trio's time; `status` 0 is a connection that broke."""

    relay: int
    key: str
    began: float
    ended: float
    status: int
    retry_after: str
    kind: str


@dataclass(slots=True)
class Away:
    """How a time without Redis went.

    Attributes:
        ended: when Redis was told to go on; `returned`: when it did.
        most_streams: how many streams of one key the upstream has answered at one time.
        names: the names of the keys by what they are for.
    """

    began: float
    ended: float = 0.0
    returned: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    most_streams: int = 0
    names: dict[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> list[Answer]:
        """The answers to what was asked, and answered, while Redis was away."""
        return [one for one in self.answers if self.began < one.began and one.ended < self.ended]

    @property
    def slowest_refusal_s(self) -> float:
        return max(one.ended - one.began for one in self.refused)

    def back_s(self, key: str = "free") -> float:
        """How long after Redis' return the last relay served a key again."""
        first: dict[int, float] = {}
        for one in self.answers:
            if one.key == key and one.status == 200 and one.ended > self.ended:
                first.setdefault(one.relay, one.ended)
        assert len(first) == 2, f"only {sorted(first)} came back"
        return max(0.0, max(first.values()) - self.returned)


class _Load:
    def __init__(self, fleet: Fleet, keys: dict[str, str], away: Away) -> None:
        self._fleet = fleet
        self._keys = keys
        self._away = away
        self.is_over = False

    async def ask(self, number: int, key: str, *, stream: bool = False) -> None:
        """One request after the other until the load is over."""
        async with self._fleet.client(number, self._keys[key]) as client:
            while not self.is_over:
                began = trio.current_time()
                try:
                    answer = await (self._stream(client) if stream else self._plain(client))
                except httpx.TransportError:
                    answer = (0, "", "")
                now = trio.current_time()
                self._away.answers.append(Answer(number, key, began, now, *answer))
                await trio.sleep(_PAUSE_S)

    async def _plain(self, client: httpx.AsyncClient) -> tuple[int, str, str]:
        answer = await client.post("/v1/messages", content=CONTENT)
        kind = answer.json()["error"]["type"] if answer.status_code >= 400 else ""
        return answer.status_code, answer.headers.get("retry-after", ""), kind

    async def _stream(self, client: httpx.AsyncClient) -> tuple[int, str, str]:
        request = {"content": STREAM, "headers": _LONG}
        async with client.stream("POST", "/v1/messages", **request) as answer:
            if answer.status_code != 200:
                kind = (await answer.aread(), answer.json()["error"]["type"])[1]
                return answer.status_code, answer.headers.get("retry-after", ""), kind
            self._away.most_streams = max(self._away.most_streams, self._at_the_upstream())
            body = b"".join([data async for data in answer.aiter_raw()])
            assert _MESSAGE_STOP in body, "a stream did not come to its end"
            return 200, "", ""

    def _at_the_upstream(self) -> int:
        """Streams that are being answered. A client may still read one whose slot is free again."""
        return sum(
            received.body == STREAM and not received.answered and not received.closed_at
            for received in self._fleet.sim.requests
        )


async def away(
    fleet: Fleet,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
    seconds: float,
) -> Away:
    """The load before, during and after a time in which Redis does not serve."""
    keys = {
        "free": await fleet.key(),
        "rate": await fleet.key(rate=f"{RATE}/600"),
        "budget": await fleet.key(budgets={"total": BUDGET_MICROS / 1e6}, budget_mode="strict"),
        "streams": await fleet.key(concurrency=STREAMS),
    }
    seen = Away(began=trio.current_time())
    seen.names = {what: f"key-{number + 1}" for number, what in enumerate(keys)}
    load = _Load(fleet, keys, seen)
    async with trio.open_nursery() as nursery:
        for number in (0, 1):
            for key in ("free", "rate", "budget"):
                nursery.start_soon(load.ask, number, key)
            for _ in range(STREAMS):
                stream = {"stream": True}
                nursery.start_soon(lambda at=number, how=stream: load.ask(at, "streams", **how))
        await trio.sleep(_LEAD_S)
        await begin()
        seen.began = trio.current_time()
        await trio.sleep(seconds)
        seen.ended = trio.current_time()
        await end()
        seen.returned = trio.current_time()
        await trio.sleep(AFTER_S)
        with trio.move_on_after(_PATIENCE * BACK_IN_S):
            while not _are_back(seen):  # noqa: ASYNC110
                await trio.sleep(_PAUSE_S)
        load.is_over = True
    await fleet.until_settled(_PATIENCE * SLOTS_FREE_IN_S)
    return seen


def _are_back(seen: Away) -> bool:
    served = {(one.relay, one.key) for one in seen.answers
              if one.status == 200 and one.began > seen.ended}  # fmt: skip
    return {(0, "free"), (1, "free")} <= served


async def paused(fleet: Fleet, seconds: float) -> Away:
    """Redis does not answer, but its connections stand."""
    assert fleet.redis.process is not None
    pid = fleet.redis.process.pid

    async def stop() -> None:
        os.kill(pid, signal.SIGSTOP)

    async def go_on() -> None:
        os.kill(pid, signal.SIGCONT)

    return await away(fleet, stop, go_on, seconds)


async def restarted(fleet: Fleet, seconds: float) -> Away:
    """Redis is stopped, and started again on its append-only file."""

    async def stop() -> None:
        await trio.to_thread.run_sync(fleet.redis.stop)

    async def start() -> None:
        await trio.to_thread.run_sync(fleet.redis.start)

    return await away(fleet, stop, start, seconds)


async def killed(fleet: Fleet, seconds: float) -> Away:
    """Redis dies at once, and is started again on what its file has."""

    async def kill() -> None:
        fleet.redis.kill()

    async def start() -> None:
        await trio.to_thread.run_sync(fleet.redis.start)

    return await away(fleet, kill, start, seconds)


async def full(fleet: Fleet, seconds: float) -> Away:
    """Redis has no memory left for anything new."""

    async def fill() -> None:
        fleet.redis.command(b"CONFIG SET maxmemory 1\r\n")

    async def free() -> None:
        fleet.redis.command(b"CONFIG SET maxmemory 0\r\n")

    return await away(fleet, fill, free, seconds)


def answered_micros(fleet: Fleet) -> int:
    """What the upstream's whole answers cost by their own usage."""
    total = 0
    for received in fleet.sim.requests:
        if received.usage is not None and received.answered:
            usage = received.usage
            tokens = Tokens(input=usage["input_tokens"], output=usage["output_tokens"])
            total += fleet.ctx.prices.cost("claude-opus-5", tokens)
    return total


async def check_away(fleet: Fleet, seen: Away, *, is_whole: bool = True) -> None:
    """Nobody got more than the limits allow, and the books say what the upstream answered.

    Args:
        is_whole: Redis forgot nothing that it had acknowledged.

    Raises:
        AssertionError: they do not.
    """
    refused = {(one.status, one.retry_after, one.kind) for one in seen.refused if one.status != 429}
    assert refused == {(503, "1", "api_error")}, refused
    assert all(one.status for one in seen.answers), "a connection broke"
    assert seen.most_streams <= STREAMS
    books = await fleet.books()
    books.check(scopes=len(seen.names))
    costs: dict[str, list[int]] = defaultdict(list)
    for record in books.records:
        costs[record["key_name"]].append(record["cost_micros"])
    assert len(costs[seen.names["rate"]]) <= RATE
    assert 0 < sum(costs[seen.names["budget"]]) <= BUDGET_MICROS
    if is_whole:
        attempts = [attempt for record in books.records for attempt in record["attempts"]]
        assert not any(attempt["is_estimated"] for attempt in attempts)
        assert books.of_records == answered_micros(fleet)


@dataclass(slots=True)
class Killed:
    """What became of open streams when one of two relays was killed."""

    slots_free_s: float = 0.0
    whole: int = 0
    broken: int = 0


async def one_killed(fleet: Fleet, streams: int) -> Killed:
    """Half of the streams run on each relay; the first relay is killed under them."""
    key = await fleet.key(concurrency=streams, budgets={"total": 1000}, budget_mode="strict")
    seen, begun = Killed(), 0

    async def stream(client: httpx.AsyncClient) -> None:
        nonlocal begun
        body = b""
        try:
            request = {"content": STREAM, "headers": _LONGER}
            async with client.stream("POST", "/v1/messages", **request) as answer:
                assert answer.status_code == 200
                async for data in answer.aiter_raw():
                    begun += not body
                    body += data
        except httpx.TransportError:
            pass
        seen.whole += _MESSAGE_STOP in body
        seen.broken += _MESSAGE_STOP not in body

    async with fleet.client(0, key) as doomed, fleet.client(1, key) as other:
        async with trio.open_nursery() as nursery:
            for number in range(streams):
                nursery.start_soon(stream, (doomed, other)[number % 2])
            with trio.fail_after(_PATIENCE):
                while begun < streams:  # noqa: ASYNC110
                    await trio.sleep(_PAUSE_S)
            killed_at = trio.current_time()
            fleet.relays[0].kill()
        await fleet.until_settled(_PATIENCE * SLOTS_FREE_IN_S)
    seen.slots_free_s = trio.current_time() - killed_at
    return seen


async def check_killed(fleet: Fleet, seen: Killed, streams: int) -> None:
    """The other relay's streams came to their end, and each stream is on the books once.

    Raises:
        AssertionError: they did not, or it is not.
    """
    assert (seen.whole, seen.broken) == (streams // 2, streams // 2)
    books = await fleet.books()
    books.check(scopes=1)
    assert len(books.records) == streams
    assert sum(record["error"] == "process_died" for record in books.records) == streams // 2
