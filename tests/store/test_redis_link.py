"""The link to Redis when Redis restarts, stalls, refuses or is not there."""

import os
import signal
from pathlib import Path

import pytest
import trio

from relay import redis_link
from relay.redis_link import RedisAway, linked

from .conftest import RedisProcess

SOON_S = 10.0


async def test_concurrent_calls_get_their_own_answers(redis_url: str):
    async with linked(redis_url) as link:

        async def echo(number: int) -> None:
            assert await link.call("ECHO", number) == str(number).encode()

        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(echo, number)


@pytest.mark.parametrize("url", ["unix:///tmp/redis.sock", "redis://127.0.0.1:1"])
def test_a_redis_reached_without_tls_costs_no_reading_of_authorities(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse() -> None:
        pytest.fail("the system's authorities were read")

    monkeypatch.setattr(redis_link.ssl, "create_default_context", refuse)
    redis_link.RedisLink(url)


async def test_a_cancelled_call_does_not_shift_the_answers_of_others(redis_url: str):
    async with linked(redis_url) as link:
        await link.call("PING")
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.call("ECHO", "nobody waits")
        assert scope.cancelled_caught
        assert await link.call("ECHO", "mine") == b"mine"


async def test_a_bound_call_ends_with_its_answer_though_it_is_cancelled(redis_url: str):
    async with linked(redis_url) as link:
        await link.call("PING")
        answer = None
        with trio.CancelScope() as scope:
            scope.cancel()
            answer = await link.call("ECHO", "booked", bound=True)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert answer == b"booked"


@pytest.mark.parametrize("is_up", [True, False], ids=["stalled", "away"])
async def test_a_bound_call_ends_by_its_deadline_though_it_is_cancelled(
    own_redis: RedisProcess, is_up: bool
):
    assert own_redis.process is not None
    async with linked(own_redis.url) as link:
        await link.call("PING")
        if is_up:
            os.kill(own_redis.process.pid, signal.SIGSTOP)
        else:
            own_redis.kill()
            with pytest.raises(RedisAway):
                await link.call("PING", deadline_s=0.2)
        ends_by_itself = False
        try:
            with trio.fail_after(SOON_S), trio.CancelScope() as scope:
                scope.cancel()
                with pytest.raises(RedisAway, match="does not answer"):
                    await link.call("PING", deadline_s=0.2, bound=True)
                ends_by_itself = True
            assert ends_by_itself
        finally:
            if is_up:
                os.kill(own_redis.process.pid, signal.SIGCONT)


async def test_one_overdue_answer_fails_its_own_call_and_renews_the_connection(
    own_redis: RedisProcess,
):
    assert own_redis.process is not None
    async with linked(own_redis.url) as link:
        await link.call("PING")
        before = link.connections
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisAway, match="does not answer") as caught:
                await link.call("PING", deadline_s=0.2)
            assert caught.value.maybe_done
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert await link.call("PING", deadline_s=SOON_S) == b"PONG"
        assert link.connections == before + 1


async def test_calls_succeed_again_after_redis_was_killed_and_came_back(own_redis: RedisProcess):
    async with linked(own_redis.url) as link:
        await link.call("SET", "kept", "1")
        own_redis.kill()
        with pytest.raises(RedisAway):
            await link.call("GET", "kept", deadline_s=0.2)
        own_redis.start()
        with trio.fail_after(SOON_S):
            assert await link.call("GET", "kept", deadline_s=SOON_S) == b"1"


async def test_a_redis_that_stalls_fails_calls_in_time_and_serves_when_it_goes_on(
    own_redis: RedisProcess,
):
    assert own_redis.process is not None
    async with linked(own_redis.url) as link:
        await link.call("PING")
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisAway):
                await link.call("PING", deadline_s=0.2)
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert await link.call("PING", deadline_s=SOON_S) == b"PONG"


async def test_no_redis_at_all_is_said_within_the_deadline(tmp_path: Path):
    async with linked(f"unix://{tmp_path}/none.sock") as link:
        with pytest.raises(RedisAway, match="does not answer"):
            await link.call("PING", deadline_s=0.1)


async def test_a_wrong_password_is_said_at_once_and_not_repeated_in_the_sentence(
    own_redis: RedisProcess,
):
    own_redis.command(b"CONFIG SET requirepass right\r\n")
    async with linked(f"{own_redis.url}?password=wrong-secret") as link:
        with pytest.raises(RedisAway, match="WRONGPASS") as caught:
            await link.call("PING", deadline_s=SOON_S)
        assert "wrong-secret" not in str(caught.value)


async def test_password_and_database_of_the_url_are_used(own_redis: RedisProcess):
    own_redis.command(b"CONFIG SET requirepass right\r\n")
    async with linked(f"{own_redis.url}?password=right&db=3") as link:
        await link.call("SET", "a", "1")
        assert b"db=3" in await link.call("CLIENT", "INFO")


async def test_a_full_redis_is_away_rather_than_wrong(own_redis: RedisProcess):
    own_redis.command(b"CONFIG SET maxmemory 1\r\n")
    async with linked(own_redis.url) as link:
        with pytest.raises(RedisAway, match="OOM"):
            await link.call("SET", "a", "1")
