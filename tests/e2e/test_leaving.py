"""Clients that go away, one or a hundred, and a relay that is told to stop."""

from pathlib import Path

import httpx
import trio

from .conftest import BODY, SOON_S, Running, relay_running

STREAM = {**BODY, "stream": True}
SLOW = {"anthropic-sim-chunks": "200", "anthropic-sim-delay-ms": "20"}
# The promise is 100 ms; under a busy machine the test allows ten times that.
TOLD_WITHIN_S = 1.0


async def leave_after_first_bytes(relay: Running) -> None:
    async with await relay.raw(STREAM, **SLOW) as stream:
        received = b""
        while b"content_block_delta" not in received:
            data = await stream.receive_some()
            assert data, "the answer ended before its first text"
            received += data


async def takes_requests(relay: Running) -> bool:
    try:
        async with relay.client() as client:
            await client.get("/ready")
    except httpx.TransportError:
        return False
    return True


async def test_a_client_that_leaves_mid_stream_ends_its_upstream_request(relay: Running):
    await leave_after_first_bytes(relay)
    left_at = trio.current_time()
    with trio.fail_after(SOON_S):
        await relay.sim.requests[-1].closed.wait()
    assert trio.current_time() - left_at < TOLD_WITHIN_S
    total = (await relay.report()).total
    assert (total["requests"], total["estimated"], total["errors"]) == (1, 1, 1)
    assert relay.ctx.upstreams.open_connections == relay.ctx.upstreams.idle_connections


async def test_a_client_that_leaves_before_the_answer_ends_its_upstream_request(relay: Running):
    async def ask_until_cancelled(scope: trio.CancelScope) -> None:
        with scope:
            async with relay.client() as client:
                await client.post("/api/v1/messages", json=BODY)

    client_scope = trio.CancelScope()
    async with relay.sim.hold(), trio.open_nursery() as nursery:
        nursery.start_soon(ask_until_cancelled, client_scope)
        await relay.sim_got_a_request()
        client_scope.cancel()
        with trio.fail_after(SOON_S):
            await relay.sim.requests[-1].closed.wait()
        total = (await relay.report()).total
    assert (total["requests"], total["estimated"]) == (1, 1)


async def test_two_hundred_clients_of_whom_half_vanish_leave_nothing_behind(relay: Running):
    quick = {"anthropic-sim-chunks": "5", "anthropic-sim-delay-ms": "5"}

    async def stay(done: list[str]) -> None:
        async with relay.client(headers={**relay.headers, **quick}, timeout=6 * SOON_S) as client:
            answer = await client.post("/api/v1/messages", json=STREAM)
            done.append(answer.text)

    whole: list[str] = []
    with trio.fail_after(6 * SOON_S):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(stay, whole)
                nursery.start_soon(leave_after_first_bytes, relay)
        report = await relay.report()
    assert len(whole) == 100
    assert all("event: message_stop" in text for text in whole)
    assert (report.total["requests"], report.total["estimated"]) == (200, 100)
    assert len(await relay.ctx.store.usage.records(300)) == 200
    assert await relay.ctx.store.leases.count() == 0
    for account in await relay.ctx.accounts.list():
        assert await relay.ctx.store.accounts.open_leases(account.id) == 0
    assert relay.ctx.upstreams.open_connections == relay.ctx.upstreams.idle_connections
    assert relay.ctx.bodies.held_bytes == 0


async def test_a_client_that_stops_reading_is_dropped_and_its_lease_settled(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, write_timeout_s=0.2) as relay:
        async with await relay.raw(STREAM, anthropic_sim_chunks="20000"):
            with trio.fail_after(SOON_S):
                await relay.sim_got_a_request()
                await relay.settled()
        assert (await relay.report()).total["errors"] == 1


async def test_a_stop_lets_running_requests_end_and_takes_no_new_ones(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, drain_lead_s=0.3, drain_timeout_s=10) as relay:
        texts: list[str] = []

        async def ask() -> None:
            headers = {"anthropic-sim-chunks": "30", "anthropic-sim-delay-ms": "20"}
            async with relay.client() as client:
                answer = await client.post("/v1/messages", json=STREAM, headers=headers)
                texts.append(answer.text)

        with trio.fail_after(SOON_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await relay.sim_got_a_request()
                relay.stop.set()
                async with relay.client() as client:
                    health = await client.get("/health")
        assert "event: message_stop" in texts[0]
        assert health.status_code in (200, 503)


async def test_a_stop_waits_until_the_proxy_that_watches_it_has_heard_of_it(
    redis_url: str, tmp_path: Path
):
    lead_s = 0.1
    async with relay_running(redis_url, tmp_path, drain_lead_s=lead_s) as relay:
        async with relay.client() as client:
            assert (await client.get("/health")).status_code == 200
        relay.stop.set()
        await trio.sleep(5 * lead_s)
        async with relay.client() as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200
            assert (await client.get("/health")).status_code == 503
        with trio.fail_after(SOON_S):
            while await takes_requests(relay):
                pass


async def test_a_stop_ends_what_runs_on_after_the_deadline_and_settles_it(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, drain_timeout_s=0.1) as relay:
        broke: list[bool] = []

        async def ask() -> None:
            try:
                async with relay.client(headers={**relay.headers, **SLOW}) as client:
                    await client.post("/v1/messages", json=STREAM)
            except httpx.RemoteProtocolError:
                broke.append(True)

        with trio.fail_after(SOON_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await relay.sim_got_a_request()
                relay.stop.set()
        assert broke == [True]
        assert relay.ctx.leases.open_count == 0
