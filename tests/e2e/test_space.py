"""Whatever clients send, Redis keeps room for the next good request."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from ..store.conftest import RedisProcess
from .conftest import BODY, Running, relay_running

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
AT_ONCE = 16


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    server = RedisProcess(tmp_path / "small")
    (tmp_path / "small").mkdir(exist_ok=True)
    server.start()
    yield server
    server.kill()


async def flood(relay: Running, good: str, requests: int) -> tuple[int, set[int]]:
    """Send requests of every kind with names that nobody heard of; good ones between them.

    Returns how many good ones there were, and the statuses that they got.
    """
    numbers = itertools.count(1)
    statuses: set[int] = set()
    sent = 0

    async def one(client: httpx.AsyncClient, number: int) -> None:
        nonlocal sent
        model = f"{number}/claude-haiku-4-5"
        body = {**BODY, "model": model, "metadata": {"user_id": f'{{"session_id": "s{number}"}}'}}
        agent = {"user-agent": f"program-{number}", "x-claude-code-agent-id": f"agent-{number}"}
        path = ("/v1/messages", "/v1/messages/count_tokens", "/openai/claude/v1/chat/completions",
                f"/v1/files/file_{number}", "/v1/messages", "/v1/messages")[number % 6]  # fmt: skip
        key = (relay.key, "disabled", f"sk-relay-{number}", relay.key)[number % 4]
        key = DISABLED[relay.key] if key == "disabled" else key
        method = "GET" if "/files/" in path else "POST"
        await client.request(method, path, json=body, headers={**agent, "x-api-key": key})
        if number % 10 == 0:
            answer = await client.post("/v1/messages", json=BODY, headers={"x-api-key": good})
            statuses.add(answer.status_code)
            sent += 1

    async def some() -> None:
        async with relay.client(timeout=60.0) as client:
            while (number := next(numbers)) <= requests:
                await one(client, number)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(some)
    return sent, statuses


DISABLED: dict[str, str] = {}


async def test_a_good_key_is_served_whatever_fills_a_small_redis(
    small_redis: RedisProcess, tmp_path: Path
):
    async with relay_running(small_redis.url, tmp_path) as relay:
        _, good = await relay.ctx.keys.create("good")
        _, disabled = await relay.ctx.keys.create("disabled")
        await relay.ctx.keys.set_enabled("disabled", enabled=False)
        DISABLED[relay.key] = disabled
        used, _ = await relay.ctx.store.usage.memory()
        # Half of what the flood would take without a bound.
        await relay.ctx.store._db.call("CONFIG", "SET", "maxmemory", used + 3 * MIB // 2)
        sent, statuses = await flood(relay, good, 4000)
        assert (sent, statuses) == (400, {200})
        _, most = await relay.ctx.store.usage.memory()
        assert most == used + 3 * MIB // 2
        async with relay.client(headers={"x-api-key": good}) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200
        assert (await relay.report()).total["requests"] > 1000
