"""The pool as a whole: many requests over several accounts and two relays at once."""

import dataclasses
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from relay import server, settings
from relay.simulator import Fault

from .conftest import API_KEYS, BODY, OTHER_KEYS, SOON_S, UPSTREAM_KEY, Running, relay_running
from .scripted import scripted_upstream

pytestmark = pytest.mark.slow

STREAM = {**BODY, "stream": True}


async def with_three(relay: Running, *weights: int) -> None:
    for number, secret in enumerate(OTHER_KEYS):
        await relay.ctx.accounts.add(
            f"account-{number + 2}",
            secret=secret,
            base_url=relay.sim.base_url,
            weight=weights[number + 1] if weights else 1,
        )


async def flood(
    relay: Running, count: int, at_once: int, sessions: list[str] | None = None
) -> Counter[int]:
    """So many requests, each of a session of its own unless some are given."""
    codes: Counter[int] = Counter()
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    numbers = iter(range(count))

    async def ask_on(client: httpx.AsyncClient) -> None:
        for number in numbers:
            session = sessions[number % len(sessions)] if sessions else uuid.uuid4().hex
            headers = {"x-claude-code-session-id": session}
            codes[(await client.post("/v1/messages", json=BODY, headers=headers)).status_code] += 1

    async with relay.client(limits=limits, timeout=60) as client, trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(ask_on, client)
    return codes


async def records(relay: Running) -> list[dict]:
    """Every usage record, newest first."""
    await relay.settled()
    return [json.loads(record) for record in await relay.ctx.store.usage.records(10_000)]


async def asked(relay: Running) -> Counter[str]:
    """How often each account was asked."""
    attempts = (attempt for one in await records(relay) for attempt in one["attempts"])
    return Counter(attempt["account_name"] for attempt in attempts)


async def nothing_is_left(relay: Running) -> None:
    await relay.settled()
    for account in await relay.ctx.accounts.list():
        assert await relay.ctx.store.accounts.open_leases(account.id) == 0
    upstreams = relay.ctx.upstreams
    with trio.fail_after(SOON_S):
        while upstreams.open_connections != upstreams.idle_connections:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_one_healthy_account_of_three_serves_everybody(relay: Running):
    await with_three(relay)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=429, headers={"retry-after": "30"})
    relay.sim.by_key[OTHER_KEYS[0]] = Fault(reset_at=0)
    with trio.fail_after(100):
        assert await flood(relay, 800, at_once=50) == {200: 800}
    times = await asked(relay)
    assert times["account-3"] == 800
    # What was under way before the first failure was known, and no more.
    assert times["main"] <= 50
    assert times["account-2"] <= 50
    await nothing_is_left(relay)


async def test_equal_accounts_share_the_load_evenly(relay: Running):
    await with_three(relay)
    assert await flood(relay, 1200, at_once=30) == {200: 1200}
    assert list((await asked(relay)).values()) == [pytest.approx(400, rel=0.05)] * 3


async def test_weighted_accounts_share_the_load_by_weight(relay: Running):
    await with_three(relay, 1, 2, 3)
    assert await flood(relay, 1200, at_once=30) == {200: 1200}
    times = await asked(relay)
    assert times["main"] == pytest.approx(200, rel=0.05)
    assert times["account-2"] == pytest.approx(400, rel=0.05)
    assert times["account-3"] == pytest.approx(600, rel=0.05)


async def test_sessions_stay_and_spread(relay: Running):
    await with_three(relay)
    sessions = [f"session-{number}" for number in range(60)]
    assert await flood(relay, 600, at_once=20, sessions=sessions) == {200: 600}
    homes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in await records(relay):
        homes[record["session"]][record["attempts"][-1]["account_name"]] += 1
    assert len(homes) == 60
    for counted in homes.values():
        assert max(counted.values()) >= 0.99 * counted.total()
    spread = Counter(counted.most_common(1)[0][0] for counted in homes.values())
    assert list(spread.values()) == [20, 20, 20]


async def test_a_storm_of_rate_limits_passes_and_the_next_request_is_served(relay: Running):
    await with_three(relay)
    for secret, wait_s in zip((UPSTREAM_KEY, *OTHER_KEYS), ("9", "1", "8"), strict=True):
        relay.sim.by_key[secret] = Fault(status=429, headers={"retry-after": wait_s})
    assert await flood(relay, 3, at_once=3) == {429: 3}
    relay.sim.by_key.clear()
    # The first account is back within the patience of a request, which waits for it.
    async with relay.client(timeout=SOON_S) as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200
    assert await flood(relay, 60, at_once=10) == {200: 60}


class _Tasks(trio.abc.Instrument):
    """Counts the tasks that live."""

    def __init__(self) -> None:
        self.living = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.living += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.living -= 1


EVENTS = (
    b'event: message_start\ndata: {"message":{"model":"m","usage":{"input_tokens":9}}}\n\n',
    b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"hello"}}\n\n',
)


async def test_an_upstream_that_dies_in_fifty_streams_leaves_nothing_behind(relay: Running):
    texts: list[str] = []
    begun = 0
    tasks = _Tasks()

    async def one() -> None:
        nonlocal begun
        text = ""
        async with (
            relay.client(timeout=30) as client,
            client.stream("POST", "/v1/messages", json=STREAM) as answer,
        ):
            async for part in answer.aiter_text():
                begun += not text
                text += part
        texts.append(text)

    await flood(relay, 1, at_once=1)
    trio.lowlevel.add_instrument(tasks)
    # The upstream dies at the end of its block, while the streams of the nursery run.
    async with trio.open_nursery() as nursery:  # noqa: SIM117
        async with scripted_upstream() as upstream:
            upstream.headers = [(b"content-type", b"text/event-stream")]
            upstream.pieces, upstream.holds_open = EVENTS, True
            await relay.ctx.accounts.edit("main", base_url=upstream.base_url, secret="s")
            for _ in range(50):
                nursery.start_soon(one)
            with trio.fail_after(SOON_S):
                while begun < 50:  # noqa: ASYNC110
                    await trio.sleep(0.01)
    assert len(texts) == 50
    assert all("event: error" in text for text in texts)
    await nothing_is_left(relay)
    with trio.fail_after(SOON_S):
        while tasks.living > 0:  # noqa: ASYNC110
            await trio.sleep(0.01)
    trio.lowlevel.remove_instrument(tasks)
    total = (await relay.report()).total
    assert (total["requests"], total["estimated"]) == (51, 50)


@asynccontextmanager
async def two_relays(
    redis_url: str, home: Path, *, api_keys: frozenset[str] | None = API_KEYS, **changes: object
) -> AsyncIterator[tuple[Running, Running]]:
    """Two relay processes' worth of parts on one Redis, at one upstream."""
    async with relay_running(redis_url, home, api_keys=api_keys, **changes) as first:
        stop = trio.Event()
        chosen = dataclasses.replace(
            settings.load({"RELAY_HOME": str(home), "REDIS_URL": redis_url}),
            port=0,
            drain_lead_s=0.0,
            **changes,
        )
        async with trio.open_nursery() as nursery:
            ctx, url = await nursery.start(partial(server.serve, chosen, stop=stop))
            yield first, Running(ctx, url, first.sim, first.key, stop)
            nursery.cancel_scope.cancel()


async def test_an_accounts_limit_of_requests_holds_across_two_relays(
    redis_url: str, tmp_path: Path
):
    async with two_relays(redis_url, tmp_path, most_waiting=0) as (one, two):
        await one.ctx.accounts.edit("main", max_concurrency=3)
        codes: Counter[int] = Counter()

        async def ask(relay: Running) -> None:
            codes.update(await flood(relay, 1, at_once=1))

        async with trio.open_nursery() as nursery, one.sim.hold():
            for relay in (one, two) * 5:
                nursery.start_soon(ask, relay)
            with trio.fail_after(SOON_S):
                while codes.total() < 7:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert codes == {529: 7}
        assert codes == {529: 7, 200: 3}


async def test_an_accounts_rest_holds_across_two_relays(redis_url: str, tmp_path: Path):
    async with two_relays(redis_url, tmp_path) as (one, two):
        one.sim.by_key[UPSTREAM_KEY] = Fault(status=429, headers={"retry-after": "30"})
        assert await flood(one, 1, at_once=1) == {429: 1}
        one.sim.by_key.clear()
        assert await flood(two, 5, at_once=5) == {429: 5}
