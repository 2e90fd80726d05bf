"""Each fault, as a client at the socket sees it."""

import json

import httpx
import pytest
import trio

from relay.simulator import NAMED, Fault, Simulator

from .conftest import BODY, KEY, PATH, STREAM, connect, events_of, post, rest_of, soon


async def test_the_script_is_followed_in_order_and_then_all_is_well(
    sim: Simulator, client: httpx.AsyncClient
):
    sim.script.extend([Fault(status=500), Fault(status=529)])
    statuses = [(await client.post(PATH, json=BODY)).status_code for _ in range(3)]
    assert statuses == [500, 529, 200]


async def test_a_lasting_fault_lasts_until_it_is_cleared(sim: Simulator, client: httpx.AsyncClient):
    sim.always = Fault(status=503)
    statuses = [(await client.post(PATH, json=BODY)).status_code for _ in range(2)]
    sim.always = None
    assert [*statuses, (await client.post(PATH, json=BODY)).status_code] == [503, 503, 200]


async def test_a_fault_can_meet_one_key_only(sim: Simulator, client: httpx.AsyncClient):
    sim.by_key["another"] = Fault(status=500)
    assert (await client.post(PATH, json=BODY)).status_code == 200
    sim.by_key[KEY] = Fault(status=500)
    assert (await client.post(PATH, json=BODY)).status_code == 500


@pytest.mark.parametrize("name", [name for name, fault in NAMED.items() if fault.status])
async def test_a_named_fault_answers_in_the_envelope(client: httpx.AsyncClient, name: str):
    answer = await client.post(PATH, json=BODY, headers={"anthropic-sim-fault": name})
    fault = NAMED[name]
    assert answer.status_code == fault.status
    assert answer.json()["error"]["message"] == fault.message
    assert answer.json()["error"].get("details") == fault.details
    assert answer.headers.get("retry-after") == fault.headers.get("retry-after")


async def test_status_headers_and_body_are_sent_as_given(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(status=418, headers={"content-type": "text/html"}, body="<p>no</p>"))
    answer = await client.post(PATH, json=BODY)
    assert (answer.status_code, answer.text) == (418, "<p>no</p>")
    assert answer.headers["content-type"] == "text/html"
    assert sim.requests[-1].usage is None


async def test_a_good_answer_can_carry_other_headers(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(headers={"anthropic-ratelimit-requests-remaining": "0"}))
    answer = await client.post(PATH, json=BODY)
    assert answer.status_code == 200
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"


@pytest.mark.parametrize("place", [1, 100, 1300, 1700])
async def test_a_cut_comes_at_its_byte_and_is_a_clean_close(sim: Simulator, place: int):
    async with await post(sim, anthropic_sim_fault=json.dumps({"cut_at": place})) as stream:
        received, was_reset = await rest_of(stream)
    assert (len(received), was_reset) == (place, False)
    assert not sim.requests[-1].answered


@pytest.mark.parametrize("place", [0, 1, 1300])
async def test_a_reset_comes_at_its_byte(sim: Simulator, place: int):
    sim.script.append(Fault(reset_at=place))
    async with await post(sim) as stream:
        received, was_reset = await rest_of(stream)
    assert (len(received), was_reset) == (place, True)


async def test_a_place_can_count_from_the_body(sim: Simulator):
    sim.script.append(Fault(cut_at=5, of_body=True))
    async with await post(sim, BODY) as stream:
        received, _ = await rest_of(stream)
    assert received.partition(b"\r\n\r\n")[2] == b'{"id"'


async def test_a_connection_is_closed_or_reset_at_accept(sim: Simulator, client: httpx.AsyncClient):
    for fault, is_reset in (
        (Fault(at_accept=True), False),
        (Fault(at_accept=True, reset_at=0), True),
    ):
        sim.script.append(fault)
        async with await connect(sim) as stream:
            assert await rest_of(stream) == (b"", is_reset)
    assert not sim.requests
    assert (await client.post(PATH, json=BODY)).status_code == 200


async def test_silence_keeps_the_connection_open(sim: Simulator):
    sim.script.append(Fault(silent_at=40))
    async with await post(sim) as stream:
        received = b""
        with soon():
            while len(received) < 40:
                received += await stream.receive_some()
        with trio.move_on_after(0.05) as waited:
            await stream.receive_some()
    assert waited.cancelled_caught
    with soon():
        await sim.requests[-1].closed.wait()


@pytest.mark.parametrize("place", [0, 1500])
async def test_garbage_is_no_http(sim: Simulator, client: httpx.AsyncClient, place: int):
    sim.script.append(Fault(garbage_at=place))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(PATH, json=STREAM)


async def test_a_dripping_answer_comes_whole(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(drip=0.0, drip_bytes=7))
    assert events_of((await client.post(PATH, json=STREAM)).text)[-1][0] == "message_stop"


async def test_a_delay_comes_before_the_head(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(delay_s=0.05))
    started_at = trio.current_time()
    assert (await client.post(PATH, json=BODY)).status_code == 200
    assert trio.current_time() - started_at >= 0.05


async def test_an_error_event_ends_the_stream(client: httpx.AsyncClient):
    headers = {"anthropic-sim-fault": "overloaded_midway"}
    answer = await client.post(PATH, json=STREAM, headers=headers)
    events = events_of(answer.text)
    assert [name for name, _ in events][2:] == ["content_block_start", "error"]
    assert events[-1][1]["error"]["type"] == "overloaded_error"
    assert events[-1][1]["request_id"] == answer.headers["request-id"]


async def test_text_put_into_a_stream_changes_nothing_else(
    sim: Simulator, client: httpx.AsyncClient
):
    sim.script.append(Fault(insert=": a comment\n\n", after_events=1))
    text = (await client.post(PATH, json=STREAM)).text
    assert "\n\n: a comment\n\nevent: ping\n" in text
    assert text.count("event: ") == 10


@pytest.mark.parametrize(
    "fault", [{"status": 99}, {"headers": {"a": "x\ny"}}, {"headers": {"content-length": "5"}}]
)
async def test_a_fault_that_http_does_not_allow_ends_only_its_connection(
    sim: Simulator, client: httpx.AsyncClient, fault: dict
):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(PATH, json=BODY, headers={"x-sim-fault": json.dumps(fault)})
    assert (await client.post(PATH, json=BODY)).status_code == 200


@pytest.mark.parametrize(
    "text", ["none", "[]", '{"cut": 1}', '{"cut_at": "1"}', '{"cut_at": -1}', '{"delay_s": -1}']
)
def test_a_fault_that_makes_no_sense_is_refused(text: str):
    with pytest.raises(ValueError, match=r"a fault|there is no cut"):
        Fault.parse(text)
