"""HTTP/1.1 by hand: keep-alive, bodies in chunks, the journal, and clients that leave."""

import json

import httpx
import pytest
import trio

from relay.simulator import Simulator, journal
from relay.simulator.journal import Journal, Received

from .conftest import BODY, KEY, PATH, SOON_S, STREAM, connect, head_of, post, rest_of, soon

SLOW = {"anthropic_sim_chunks": "200", "anthropic_sim_delay_ms": "20"}
# The promise is 100 ms; under a busy machine the test allows ten times that.
TOLD_WITHIN_S = 1.0
CONTENT = json.dumps(BODY).encode()


async def test_a_connection_serves_one_request_after_the_other(
    sim: Simulator, client: httpx.AsyncClient
):
    for body in (BODY, STREAM, BODY):
        assert (await client.post(PATH, json=body)).status_code == 200
    assert sim.open_connections == 1
    assert [one.answered for one in sim.requests] == [True, True, True]
    assert not any(one.closed.is_set() for one in sim.requests)


async def test_a_client_that_closes_with_the_whole_answer_in_hand_has_not_left(sim: Simulator):
    for number in range(1, 21):
        async with await post(sim, BODY) as stream:
            received = b""
            with soon():
                while not received.endswith(b"}}"):
                    received += await stream.receive_some()
        assert len(sim.requests) == number
        assert sim.requests[-1].answered
        assert not sim.requests[-1].closed.is_set()


async def test_requests_that_come_at_once_are_answered_in_order(sim: Simulator):
    last = head_of(CONTENT, connection="close", x_sim_text="second")
    async with await connect(sim) as stream:
        await stream.send_all(head_of(CONTENT, x_sim_text="first") + CONTENT + last + CONTENT)
        received, _ = await rest_of(stream)
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.index(b"first") < received.index(b"second")


async def test_a_body_in_chunks_is_read_whole(sim: Simulator, client: httpx.AsyncClient):
    async def pieces():
        for place in range(0, len(CONTENT), 10):
            yield CONTENT[place : place + 10]

    assert (await client.post(PATH, content=pieces())).status_code == 200
    assert sim.requests[-1].body == CONTENT
    assert sim.requests[-1].header("transfer-encoding") == "chunked"


async def test_a_client_that_expects_100_is_told_to_go_on(sim: Simulator):
    async with await connect(sim) as stream:
        await stream.send_all(head_of(CONTENT, expect="100-continue", connection="close"))
        with soon():
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(CONTENT)
        received, _ = await rest_of(stream)
    assert received.startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_http_gets_a_400(sim: Simulator):
    async with await connect(sim) as stream:
        await stream.send_all(b"nonsense\r\n\r\n")
        received, _ = await rest_of(stream)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert not sim.requests


async def test_the_journal_has_every_byte_as_it_came(sim: Simulator):
    content = (
        b' {"model":"claude-opus-5",  "max_tokens":1,"messages":[{"role":"user","content":""}]}\n'
    )
    async with await connect(sim) as stream:
        await stream.send_all(head_of(content, X_Odd="a  b", connection="close") + content)
        await rest_of(stream)
    received = sim.requests[-1]
    assert (received.method, received.target, received.body) == ("POST", PATH, content)
    assert received.header("x-odd") == "a  b"
    assert received.header("x-api-key") == KEY


async def test_held_requests_are_received_and_answered_on_release(
    sim: Simulator, client: httpx.AsyncClient
):
    statuses = []

    async def ask() -> None:
        statuses.append((await client.post(PATH, json=BODY)).status_code)

    with soon():
        async with trio.open_nursery() as nursery, sim.hold():
            for _ in range(3):
                nursery.start_soon(ask)
            await sim.wait_for_requests(3)
            assert not any(one.answered for one in sim.requests)
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize("body", [STREAM, BODY])
async def test_a_client_that_leaves_is_noticed_while_its_answer_is_held(sim: Simulator, body: dict):
    with soon():
        async with sim.hold():
            async with await post(sim, body):
                await sim.wait_for_requests(1)
            left_at = trio.current_time()
            await sim.requests[-1].closed.wait()
    closed_at = sim.requests[-1].closed_at
    assert closed_at is not None
    assert closed_at - left_at < TOLD_WITHIN_S
    assert not sim.requests[-1].answered


async def test_a_client_that_leaves_is_noticed_while_it_is_streamed_to(sim: Simulator):
    with trio.fail_after(SOON_S):
        async with await post(sim, **SLOW) as stream:
            received = b""
            while b"content_block_delta" not in received:
                received += await stream.receive_some()
        left_at = trio.current_time()
        await sim.requests[-1].closed.wait()
    assert trio.current_time() - left_at < TOLD_WITHIN_S


def test_the_journal_keeps_the_newest_within_its_bounds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "_MOST_BYTES", 25)
    kept = Journal()
    for number in range(1500):
        kept.add(Received("POST", str(number), [], b""))
    assert [kept.requests[0].target, kept.requests[-1].target] == ["500", "1499"]
    for _ in range(3):
        kept.add(Received("POST", "/", [], b"x" * 10))
    assert len(kept.requests) == 2
    assert kept.total == 1503
