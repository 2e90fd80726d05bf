"""What Relay itself fails and no usage record tells of is counted, whatever part of it failed."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trio.testing

from relay.monitor import stored
from relay.simulator import Fault

from ..store.conftest import RedisProcess, own_redis
from .conftest import BODY, UPSTREAM_KEY, Running, relay_running
from .test_lost_database import CALLS

__all__ = ["own_redis"]

STREAM = {**BODY, "stream": True}
# Of the table of calls, those that the API's own functions answer.
PAGES = {"the admin API", "a page", "signing in", "a key's own page"}
API = sorted(CALLS.keys() - PAGES - {"ready"})


async def broken(*args: object, **options: object) -> None:
    raise RuntimeError("broken")


async def counted(relay: Running) -> Mapping[str, int]:
    """Every error that is counted, once what runs has ended."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    await relay.ctx.own_errors.write()
    now_ms = await relay.ctx.store.upkeep.now_ms()
    return await relay.ctx.store.usage.own_errors(now_ms - 300_000, now_ms)


@pytest.fixture
async def broken_relay(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """A relay whose code fails at the first step of whatever it is asked."""
    for step in ("keys.Keys.authenticate", "admin.access.who_asks", "users.Users.session",
                 "users.Users.sign_in"):  # fmt: skip
        monkeypatch.setattr(f"relay.{step}", broken)
    async with relay_running(redis_url, tmp_path) as running:
        yield running


async def test_an_exception_in_the_code_of_any_api_is_counted(broken_relay: Running):
    async with broken_relay.client() as client:
        assert {call: (await CALLS[call](client)).status_code for call in API} == dict.fromkeys(
            API, 500
        )

    assert await counted(broken_relay) == {"internal_error (api)": len(API)}


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("the admin API", "internal_error (admin API)"),
        ("signing in", "status_500 (console)"),
        # What fails in the page of the error as well leaves the listener to answer.
        ("a page", "internal_error (listener)"),
    ],
)
async def test_an_exception_in_the_code_of_the_console_or_the_admin_api_is_counted(
    broken_relay: Running, call: str, what: str
):
    async with broken_relay.client() as client:
        assert (await CALLS[call](client)).status_code == 500

    assert await counted(broken_relay) == {what: 1}


async def test_an_application_that_ends_without_an_answer_is_counted(
    relay: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("relay.asgi.new_request_id", lambda: 1 / 0)
    async with relay.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 500

    assert await counted(relay) == {"internal_error (listener)": 1}


async def test_calls_that_redis_fails_are_counted_once_it_is_back(
    own_redis: RedisProcess, tmp_path: Path
):
    async with relay_running(own_redis.url, tmp_path) as relay:
        own_redis.kill()
        async with relay.client() as client:
            for call in ("messages", "a page", "the admin API"):
                assert (await CALLS[call](client)).status_code == 503
        own_redis.start()
        await relay.ctx.store.ping(10)

        found = await counted(relay)
        assert sum(found.values()) == 3
        assert {what.partition(" ")[2] for what in found} == {"(api)", "(console)", "(admin API)"}


async def test_an_upstream_that_breaks_is_counted_where_there_is_no_record(relay: Running):
    relay.sim.always = Fault(reset_at=0)
    async with relay.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 502
        answer = await client.post("/v1/messages/count_tokens", json=BODY)
        assert answer.status_code == 502

    assert sum((await counted(relay)).values()) == 1
    assert (await relay.report()).total["requests"] == 1


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_an_error_of_the_upstream_is_none_of_relays(relay: Running, path: str):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500, error_type="x", message="no")
    async with relay.client() as client:
        assert (await client.post(path, json=BODY)).status_code == 500

    assert await counted(relay) == {}


async def test_good_answers_refusals_and_probes_are_no_errors(
    own_redis: RedisProcess, tmp_path: Path
):
    async with relay_running(own_redis.url, tmp_path) as relay, relay.client() as client:
        assert (await client.post("/v1/messages", json=STREAM)).status_code == 200
        assert (await client.post("/v1/messages", json={})).status_code == 400
        own_redis.kill()
        assert (await client.get("/ready")).status_code == 503
        own_redis.start()
        await relay.ctx.store.ping(10)

        assert await counted(relay) == {}


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (RuntimeError("broken"), "internal_error"),
        (ExceptionGroup("two", [ValueError("one")]), "internal_error"),
        (OSError(24, "too many open files"), "out_of_room"),
    ],
)
async def test_a_record_says_that_relay_failed_after_admission(
    relay: Running,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    word: str,
):
    async def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("relay.delivery.deliver", fail)
    async with relay.client() as client:
        assert (await client.post("/v1/messages", json=STREAM)).status_code >= 500
    await relay.settled()

    looked = await stored.look(relay.ctx.store, relay.ctx.settings, relay.ctx.alerts)
    assert (looked.requests, looked.failures) == (1, 1)
    assert await counted(relay) == {}
    (record,) = await relay.ctx.store.usage.records(1)
    assert f'"error":"{word}"'.encode() in record


async def test_a_request_that_cannot_be_booked_is_counted(
    relay: Running, monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: object) -> None:
        raise ValueError("no record can be made")

    monkeypatch.setattr("relay.lease.Lease.record", fail)
    async with relay.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 500

    assert await counted(relay) == {"internal_error (api)": 1}
