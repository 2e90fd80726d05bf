"""Changes of keys and accounts wait until they are on disk, whatever Redis it is."""

import shutil
from pathlib import Path

import pytest

from relay import store
from relay.store import Store

from .conftest import RedisProcess

KEY = {"name": "alice", "hash": "h1", "enabled": "1", "expires_at": "", "models": ""}


async def commands_of(opened: Store) -> str:
    info: bytes = await opened._db.call("INFO", "commandstats")
    return info.decode()


async def test_a_new_redis_is_asked_to_wait_for_its_disk(own_redis: RedisProcess):
    async with store.opened(own_redis.url) as opened:
        await opened.keys.add("key_1", KEY)
        assert "cmdstat_waitaof:calls=1," in await commands_of(opened)


@pytest.mark.root
async def test_an_older_redis_is_told_to_flush_one_write(tmp_path: Path):
    program = shutil.which("redis-server")
    assert program, "tests/run --all installs redis-server"
    server = RedisProcess(tmp_path, program)
    server.start()
    try:
        async with store.opened(server.url) as opened:
            await opened.keys.add("key_1", KEY)
            assert "cmdstat_config|set:calls=2," in await commands_of(opened)
            setting = await opened._db.call("CONFIG", "GET", "appendfsync")
            assert setting == [b"appendfsync", b"everysec"]
            assert (await opened.keys.read("key_1"))["name"] == "alice"
    finally:
        server.kill()


async def test_a_redis_without_an_append_only_file_has_nothing_to_wait_for(
    own_redis: RedisProcess,
):
    own_redis.command(b"CONFIG SET appendonly no\r\n")
    async with store.opened(own_redis.url) as opened:
        await opened.keys.add("key_1", KEY)
        assert (await opened.keys.read("key_1"))["name"] == "alice"


async def test_what_was_acknowledged_survives_a_kill(own_redis: RedisProcess):
    async with store.opened(own_redis.url) as opened:
        await opened.keys.add("key_1", KEY)
    own_redis.kill()
    own_redis.start()
    async with store.opened(own_redis.url) as opened:
        assert (await opened.keys.read("key_1"))["name"] == "alice"
