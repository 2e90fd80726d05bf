"""A Redis that was emptied or exchanged is noticed: nothing is refused as unknown, nothing made."""

import dataclasses
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trio

from relay import server, settings, store
from relay.monitor import stored
from relay.monitor.findings import CRITICAL
from relay.monitor.relay_checks import redis as redis_check
from relay.monitor.seen import Look
from relay.monitor.site import site
from relay.store import DatabaseLost, Store
from relay.store.marker import FILE, LOST

from ..store.conftest import RedisProcess, own_redis
from .conftest import BODY, SOON_S, Running, relay_running

__all__ = ["own_redis"]

OPENAI_BODY = {"model": "claude-opus-5", "messages": [{"role": "user", "content": "hello"}]}
CALLS: dict[str, Callable[[httpx.AsyncClient], object]] = {
    "messages": lambda client: client.post("/v1/messages", json=BODY),
    "count_tokens": lambda client: client.post("/v1/messages/count_tokens", json=BODY),
    "models": lambda client: client.get("/v1/models"),
    "a batch": lambda client: client.get("/v1/messages/batches/msgbatch_1"),
    "files": lambda client: client.get("/v1/files"),
    "own usage": lambda client: client.get("/api/v1/usage"),
    "chat": lambda client: client.post("/openai/claude/v1/chat/completions", json=OPENAI_BODY),
    "responses": lambda client: client.post(
        "/openai/claude/v1/responses", json={"model": "claude-opus-5", "input": "hello"}
    ),
    "ready": lambda client: client.get("/ready"),
    "the admin API": lambda client: client.get(
        "/admin/api/v1/keys", headers={"authorization": "Bearer sk-relay-admin-nobodys"}
    ),
    "signing in": lambda client: client.post(
        "/web/sign-in", data={"name": "admin", "password": "not the right one"}
    ),
    "a page": lambda client: client.get("/web", headers={"cookie": "relay=of-before"}),
    "a key's own page": lambda client: client.post("/web/my", data={"key": "sk-relay-nobodys"}),
}


@pytest.fixture
async def quiet(redis_url: str, tmp_path: Path, monkeypatch) -> AsyncIterator[Running]:
    """A relay whose job never looks, so that a request itself must notice."""
    monkeypatch.setattr("relay.jobs.CONFIRM_EVERY_S", 3600.0)
    async with relay_running(redis_url, tmp_path) as running:
        yield running


async def confirmed(opened: Store) -> bool:
    try:
        await opened.confirm()
    except DatabaseLost:
        return False
    return True


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("command", [b"FLUSHALL\r\n", b"FLUSHDB\r\n"], ids=["all", "db"])
async def test_an_emptied_redis_is_noticed_by_the_first_call(
    quiet: Running, redis_process: RedisProcess, call, command: bytes, caplog
):
    caplog.set_level(logging.INFO)
    async with quiet.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200
        await quiet.settled()
        redis_process.command(command)
        answer = await call(client)

    assert answer.status_code == 503, answer.text
    assert "relay restore" in answer.text
    assert "unknown_key" not in caplog.text
    assert "could not sign in" not in caplog.text
    assert "unknown admin token" not in caplog.text


async def test_a_running_relay_notices_by_itself(relay: Running, redis_process: RedisProcess):
    redis_process.command(b"FLUSHALL\r\n")
    with trio.fail_after(SOON_S):
        while relay.ctx.store.is_up:
            try:
                await relay.ctx.store.ping()
            except DatabaseLost:
                break
            await trio.sleep(0.05)

    with pytest.raises(DatabaseLost):
        await relay.ctx.keys.create("bob")


async def test_the_health_of_the_process_does_not_depend_on_it(
    relay: Running, redis_process: RedisProcess
):
    redis_process.command(b"FLUSHALL\r\n")
    async with relay.client() as client:
        assert (await client.get("/ready")).json()["status"] == "database_lost"
        assert (await client.get("/health")).status_code == 200


async def test_a_start_on_an_emptied_redis_makes_no_admin_until_it_is_accepted(
    redis_url: str, redis_process: RedisProcess, tmp_path: Path
):
    async with store.opened(redis_url, tmp_path) as before:
        await before.confirm()
    redis_process.command(b"FLUSHALL\r\n")
    async with trio.open_nursery() as nursery:
        ctx, url = await nursery.start(*serving(redis_url, tmp_path))
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=SOON_S) as client:
            assert (await client.get("/ready")).status_code == 503
        async with store.opened(redis_url) as seen:
            assert await seen.users.names() == []
            async with store.opened(redis_url, tmp_path) as accepting:
                await accepting.accept_database()
            with trio.fail_after(SOON_S):
                while await seen.users.names() != ["admin"]:  # noqa: ASYNC110
                    await trio.sleep(0.05)
        assert await confirmed(ctx.store)
        nursery.cancel_scope.cancel()


def serving(redis_url: str, home: Path):
    chosen = settings.load({"RELAY_HOME": str(home), "REDIS_URL": redis_url})
    chosen = dataclasses.replace(chosen, port=0, drain_lead_s=0.0, drain_timeout_s=1.0)
    return server.serve, chosen


async def test_another_database_of_the_same_redis_is_not_taken(tmp_path: Path, redis_url: str):
    async with store.opened(redis_url, tmp_path) as first:
        await first.confirm()
    async with store.opened(f"{redis_url}?db=3", tmp_path) as other:
        with pytest.raises(DatabaseLost, match="relay restore FILE"):
            await other.keys.ids()


async def test_a_redis_of_another_relay_is_not_taken(
    tmp_path: Path, redis_url: str, redis_process: RedisProcess
):
    async with store.opened(redis_url, tmp_path / "one") as one:
        await one.confirm()
    redis_process.command(b"FLUSHALL\r\n")
    async with store.opened(redis_url, tmp_path / "two") as two:
        await two.confirm()
        async with store.opened(redis_url, tmp_path / "one") as one:
            assert not await confirmed(one)


async def test_a_redis_that_restarts_empty_is_noticed_on_the_new_connection(
    tmp_path: Path, own_redis: RedisProcess
):
    async with store.opened(own_redis.url, tmp_path / "home") as opened:
        await opened.confirm()
        own_redis.stop()
        shutil.rmtree(own_redis.folder / "appendonlydir")
        own_redis.start()
        with trio.fail_after(SOON_S), pytest.raises(DatabaseLost):
            await _first_answer(opened)
        assert own_redis.command(b"DBSIZE\r\n") == b":0\r\n"


async def _first_answer(opened: Store) -> list[str]:
    while True:
        try:
            return list(await opened.keys.ids())
        except DatabaseLost:
            raise
        except store.RedisAway:
            await trio.sleep(0.02)


async def test_instances_with_homes_of_their_own_share_a_redis(tmp_path: Path, redis_url: str):
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(_confirm_with, redis_url, tmp_path / str(number % 3))

    ids = {(tmp_path / str(number) / FILE).read_text() for number in range(3)}
    assert len(ids) == 1


async def _confirm_with(redis_url: str, home: Path) -> None:
    async with store.opened(redis_url, home) as opened:
        await opened.confirm()
        assert await confirmed(opened)


async def test_data_of_the_release_before_gets_its_id(tmp_path: Path, redis_url: str):
    async with store.opened(redis_url) as before:
        await before._db.call("SET", "{relay}:schema", "1")
    await _confirm_with(redis_url, tmp_path)

    assert (tmp_path / FILE).read_text().startswith("db_")


async def test_a_home_that_cannot_be_written_serves_as_before(tmp_path: Path, redis_url: str):
    (tmp_path / "home").write_text("a file where a folder is to be")
    async with store.opened(redis_url, tmp_path / "home") as opened:
        assert await confirmed(opened)
        assert await confirmed(opened)


async def test_a_file_that_was_cut_off_is_written_anew(tmp_path: Path, redis_url: str):
    await _confirm_with(redis_url, tmp_path)
    whole = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(whole[:7])
    await _confirm_with(redis_url, tmp_path)

    assert (tmp_path / FILE).read_text() == whole


async def test_the_monitor_says_critical_and_what_to_do(relay: Running, redis_process, redis_url):
    redis_process.command(b"FLUSHALL\r\n")
    chosen = relay.ctx.settings
    async with store.opened(redis_url, chosen.home) as opened:
        seen = await stored.look(opened, chosen, relay.ctx.alerts)
    look = Look(at=datetime.now(UTC), stored=seen)
    [found] = redis_check(look, site(chosen, {}), chosen)

    assert found.level == CRITICAL
    assert found.text == LOST
    assert "relay restore FILE" in found.mend
    assert "relay accept-database" in found.mend
