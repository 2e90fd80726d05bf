"""One key asks for more than there is; the others are served all the same, over all processes."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from ..process.conftest import Home
from .conftest import BODY, OTHER_KEYS, SOON_S, Running, redis_process, redis_url
from .scripted import Scripted, scripted_upstream
from .test_pool import two_relays
from .test_waiting import posted, standing

__all__ = ["redis_process", "redis_url"]

Codes = dict[str, list[int]]


async def ask(relay: Running, key: str, who: str, into: Codes) -> None:
    """One request that the upstream can tell by `who`; its status goes into `into`."""
    body = {**BODY, "stream": True, "messages": [{"role": "user", "content": who}]}
    headers = {**relay.headers, "x-api-key": key}
    # A client that reads no certificates takes no time to make.
    async with relay.client(timeout=30, headers=headers, verify=False) as client:
        status = (await client.post("/v1/messages", json=body)).status_code
    into.setdefault(who, []).append(status)


async def asked(relay: Running, count: int) -> None:
    """Wait until the upstream has so many messages requests."""
    with trio.fail_after(SOON_S):
        while len(posted(relay)) < count:  # noqa: ASYNC110
            await trio.sleep(0.005)


async def test_a_key_is_served_at_once_beside_endless_streams_of_another(
    redis_url: str, tmp_path: Path
):
    async with two_relays(redis_url, tmp_path) as (one, two):
        await one.ctx.accounts.edit("main", max_concurrency=60)
        _, bob = await one.ctx.keys.create("bob")
        codes: Codes = {}
        async with trio.open_nursery() as nursery, one.sim.hold():
            for number in range(62):
                nursery.start_soon(ask, (one, two)[number % 2], one.key, "alice", codes)
            await standing(one, 8, "accounts")
            nursery.start_soon(ask, two, bob, "bob", codes)
            await asked(one, 55)
            assert sorted(posted(one)) == ["alice"] * 54 + ["bob"]
        assert codes == {"alice": [200] * 62, "bob": [200]}
        await one.settled()


async def test_the_next_free_slot_is_the_other_keys(redis_url: str, tmp_path: Path):
    async with two_relays(redis_url, tmp_path) as (one, two):
        await one.ctx.accounts.edit("main", max_concurrency=1)
        _, bob = await one.ctx.keys.create("bob")
        codes: Codes = {}
        async with trio.open_nursery() as nursery, one.sim.hold():
            for number in range(6):
                nursery.start_soon(ask, (one, two)[number % 2], one.key, "alice", codes)
            await standing(one, 5, "accounts")
            nursery.start_soon(ask, two, bob, "bob", codes)
            await standing(one, 6, "accounts")
        assert posted(one) == ["alice", "bob", *["alice"] * 5]
        assert codes == {"alice": [200] * 6, "bob": [200]}
        await standing(one, 0, "accounts")


@asynccontextmanager
async def overloaded(relay: Running) -> AsyncIterator[Scripted]:
    """A second account, whose upstream answers 529."""
    async with scripted_upstream() as upstream:
        upstream.status = 529
        await relay.ctx.accounts.add("second", secret="s", base_url=upstream.base_url)
        yield upstream


async def test_a_failure_waits_for_the_other_accounts_slot(relay: Running):
    await relay.ctx.accounts.edit("main", max_concurrency=1)
    codes: Codes = {}
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(ask, relay, relay.key, "first", codes)
        await asked(relay, 1)
        async with overloaded(relay) as upstream:
            nursery.start_soon(ask, relay, relay.key, "fails", codes)
            await standing(relay, 1, "accounts")
            assert len(upstream.bodies) == 1
        assert await relay.ctx.store.leases.count() == 2
    assert codes == {"first": [200], "fails": [200]}
    assert posted(relay) == ["first", "fails"]
    await relay.settled()


async def test_a_failures_client_that_goes_away_frees_everything(relay: Running):
    await relay.ctx.accounts.edit("main", max_concurrency=1)
    codes: Codes = {}
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(ask, relay, relay.key, "first", codes)
        await asked(relay, 1)
        async with overloaded(relay):
            gone = await relay.raw(BODY)
            await standing(relay, 1, "accounts")
        await gone.aclose()
        await standing(relay, 0, "accounts")
        with trio.fail_after(SOON_S):
            while await relay.ctx.store.leases.count() != 1:  # noqa: ASYNC110
                await trio.sleep(0.005)
    assert codes == {"first": [200]}
    await relay.settled()


async def post(url: str, headers: dict[str, str]) -> None:
    """One request whose relay is killed while it waits."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
        with contextlib.suppress(httpx.TransportError):
            await client.post(f"{url}/v1/messages", json=BODY, headers=headers)


@pytest.fixture
def other(redis_url: str, tmp_path: Path) -> Iterator[Home]:
    """A relay that is a process of its own, on the same Redis."""
    home = Home(tmp_path)
    home.env |= {"RELAY_HOME": str(tmp_path), "REDIS_URL": redis_url}
    yield home
    home.end()


async def test_nobody_waits_for_the_calls_of_a_process_that_was_killed(relay: Running, other: Home):
    await relay.ctx.accounts.edit("main", max_concurrency=1)
    _, bob = await relay.ctx.keys.create("bob")
    codes: Codes = {}
    process, url = await trio.to_thread.run_sync(other.serve)
    async with trio.open_nursery() as nursery:
        async with relay.sim.hold():
            nursery.start_soon(ask, relay, relay.key, "alice", codes)
            await asked(relay, 1)
            for _ in range(3):
                nursery.start_soon(post, url, {**relay.headers, "x-api-key": bob})
            await standing(relay, 3, "accounts")
            process.kill()
            # They stand before her, and their key has fewer slots.
            nursery.start_soon(ask, relay, relay.key, "alice", codes)
            await standing(relay, 4, "accounts")
        with trio.fail_after(SOON_S):
            while codes != {"alice": [200, 200]}:  # noqa: ASYNC110
                await trio.sleep(0.01)
    await standing(relay, 0, "accounts")
    await relay.settled()


async def test_a_waiting_call_goes_to_an_account_that_comes_back(relay: Running):
    """It waits for a slot of one account; the other is switched on meanwhile."""
    await relay.ctx.accounts.edit("main", max_concurrency=1)
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
    await relay.ctx.accounts.set_enabled("second", enabled=False)
    codes: Codes = {}
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(ask, relay, relay.key, "first", codes)
        await asked(relay, 1)
        nursery.start_soon(ask, relay, relay.key, "waits", codes)
        await standing(relay, 1, "accounts")
        await relay.ctx.accounts.set_enabled("second", enabled=True)
        await asked(relay, 2)
    assert codes == {"first": [200], "waits": [200]}


async def test_whose_key_is_disabled_while_it_waits_is_refused(relay: Running):
    await relay.ctx.accounts.edit("main", max_concurrency=1)
    _, bob = await relay.ctx.keys.create("bob")
    codes: Codes = {}
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(ask, relay, relay.key, "alice", codes)
        await asked(relay, 1)
        nursery.start_soon(ask, relay, bob, "bob", codes)
        await standing(relay, 1, "accounts")
        await relay.ctx.keys.set_enabled("bob", enabled=False)
        with trio.fail_after(SOON_S):
            while codes != {"bob": [401]}:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await standing(relay, 0, "accounts")
    assert posted(relay) == ["alice"]
