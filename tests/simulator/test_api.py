"""What the simulated API refuses, what it keeps, and the headers of its answers."""

import json
from datetime import datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator import Fault, Simulator
from relay.simulator.api import Api
from relay.simulator.journal import Received

from .conftest import BODY, KEY, PATH, STREAM

BATCHES = "/v1/messages/batches"
WRONG = {"custom_id": "wrong", "params": {"model": "claude-opus-5"}}
RIGHT = {"custom_id": "right", "params": BODY}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in BODY.items() if key != name}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (without("model"), 400, "invalid_request_error"),
        (without("max_tokens"), 400, "invalid_request_error"),
        (without("messages"), 400, "invalid_request_error"),
        ({**BODY, "messages": []}, 400, "invalid_request_error"),
        ({**BODY, "messages": ["hello"]}, 400, "invalid_request_error"),
        ({**BODY, "max_tokens": "many"}, 400, "invalid_request_error"),
        ([], 400, "invalid_request_error"),
        ({**BODY, "model": "gpt-of-old"}, 404, "not_found_error"),
    ],
)
async def test_a_wrong_request_is_refused_in_the_apis_envelope(
    client: httpx.AsyncClient, body: object, status: int, kind: str
):
    answer = await client.post(PATH, json=body)
    told = answer.json()
    assert (answer.status_code, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert told["request_id"] == answer.headers["request-id"]
    assert told["request_id"].startswith("req_sim")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nowhere", 404), ("GET", "/v1/messages", 405), ("PUT", "/v1/files", 405)],
)
async def test_a_path_or_method_that_is_not_served(
    client: httpx.AsyncClient, method: str, path: str, status: int
):
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"


async def test_a_key_is_taken_as_bearer_too_and_a_wrong_one_refused(sim: Simulator):
    async with httpx.AsyncClient(base_url=sim.base_url, trust_env=False) as client:
        right = await client.post(PATH, json=BODY, headers={"authorization": f"Bearer {KEY}"})
        wrong = await client.post(PATH, json=BODY, headers={"x-api-key": "wrong"})
        none = await client.post(PATH, json=BODY)
        probe = await client.head("/")
    assert [one.status_code for one in (right, wrong, none, probe)] == [200, 401, 401, 200]
    assert wrong.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("name", ["usage", "chunks", "delay-ms", "citations", "fault"])
async def test_a_steering_header_that_makes_no_sense_is_named(client: httpx.AsyncClient, name: str):
    for value in ("nonsense", "-1", '{"input_tokens": "x"}', "[" * 5000):
        answer = await client.post(PATH, json=BODY, headers={f"x-sim-{name}": value})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(f"x-sim-{name}: ")


async def test_every_answer_has_its_own_id_and_the_quota_headers(client: httpx.AsyncClient):
    answers = [await client.post(PATH, json=BODY) for _ in range(3)]
    assert len({one.headers["request-id"] for one in answers}) == 3
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        name = f"anthropic-ratelimit-{kind}"
        headers = answers[0].headers
        assert int(headers[f"{name}-remaining"]) < int(headers[f"{name}-limit"])
        assert datetime.fromisoformat(headers[f"{name}-reset"]).tzinfo is not None
    assert "anthropic-organization-id" in answers[0].headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, br", "gzip"), ("gzip;q=0", None), ("identity", None), ("br;q=1, gzip;q=0.5", "gzip")],
)
async def test_a_plain_answer_is_packed_for_those_who_take_it(
    client: httpx.AsyncClient, accepted: str, coding: str | None
):
    answer = await client.post(PATH, json=BODY, headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert answer.json()["type"] == "message"


async def test_models_are_listed_in_pages(client: httpx.AsyncClient):
    every = (await client.get("/v1/models?limit=1000")).json()
    first = (await client.get("/v1/models?limit=2")).json()
    last = (await client.get(f"/v1/models?limit=10&after_id={first['last_id']}")).json()
    back = (await client.get(f"/v1/models?limit=10&before_id={last['first_id']}")).json()
    assert first["data"] + last["data"] == every["data"]
    assert back["data"] == first["data"]
    assert (first["has_more"], last["has_more"], every["has_more"]) == (True, False, False)
    one = await client.get(f"/v1/models/{first['first_id']}")
    assert one.json() == first["data"][0]
    assert (await client.get("/v1/models/claude-none")).status_code == 404
    assert (await client.get("/v1/models?limit=0")).status_code == 400


async def test_a_batch_tells_results_with_their_usage(sim: Simulator, client: httpx.AsyncClient):
    made = (await client.post(BATCHES, json={"requests": [RIGHT, WRONG]})).json()
    assert made["processing_status"] == "ended"
    assert made["request_counts"]["succeeded"] == made["request_counts"]["errored"] == 1
    results = await client.get(made["results_url"])
    lines = [json.loads(line) for line in results.text.splitlines()]
    assert [line["result"]["type"] for line in lines] == ["succeeded", "errored"]
    assert sim.requests[-1].batch_usage == [lines[0]["result"]["message"]["usage"]]
    listed = (await client.get(BATCHES)).json()["data"]
    assert listed == [made]
    assert (await client.delete(f"{BATCHES}/{made['id']}")).status_code == 200
    assert (await client.get(f"{BATCHES}/{made['id']}")).status_code == 404


async def test_an_open_batch_has_no_results_until_it_ends(
    sim: Simulator, client: httpx.AsyncClient
):
    opened = {"x-sim-batch": "open"}
    made = (await client.post(BATCHES, json={"requests": [RIGHT]}, headers=opened)).json()
    path = f"{BATCHES}/{made['id']}"
    assert made["processing_status"] == "in_progress"
    assert (await client.get(f"{path}/results")).status_code == 404
    assert (await client.delete(path)).status_code == 400
    sim.end_batches()
    assert (await client.get(path)).json()["processing_status"] == "ended"
    assert "succeeded" in (await client.get(f"{path}/results")).text


async def test_an_open_batch_can_be_cancelled(client: httpx.AsyncClient):
    opened = {"x-sim-batch": "open"}
    made = (await client.post(BATCHES, json={"requests": [RIGHT]}, headers=opened)).json()
    path = f"{BATCHES}/{made['id']}"
    assert (await client.post(f"{path}/cancel")).json()["processing_status"] == "canceling"
    ended = (await client.get(path)).json()
    assert (ended["processing_status"], ended["request_counts"]["canceled"]) == ("ended", 1)


@pytest.mark.parametrize("requests", [None, [], [5], [{"custom_id": "a"}], [RIGHT, RIGHT]])
async def test_a_malformed_batch_is_refused(client: httpx.AsyncClient, requests: object):
    assert (await client.post(BATCHES, json={"requests": requests})).status_code == 400


async def test_a_refused_batch_is_not_made(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(status=500))
    assert (await client.post(BATCHES, json={"requests": [RIGHT]})).status_code == 500
    assert (await client.get(BATCHES)).json()["data"] == []


async def test_a_file_comes_back_as_it_went(client: httpx.AsyncClient):
    content = bytes(range(256)) + b"\r\n--almost a boundary\r\n\r\n"
    upload = {"file": ("a b.bin", content, "image/png")}
    made = (await client.post("/v1/files", files=upload)).json()
    assert (made["filename"], made["mime_type"]) == ("a b.bin", "image/png")
    assert made["size_bytes"] == len(content)
    back = await client.get(f"/v1/files/{made['id']}/content")
    assert back.content == content
    assert (await client.get("/v1/files")).json()["data"] == [made]
    assert (await client.delete(f"/v1/files/{made['id']}")).json()["type"] == "file_deleted"
    assert (await client.get(f"/v1/files/{made['id']}")).status_code == 404
    assert (await client.post("/v1/files", content=b"none")).status_code == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = [
    "system", "tools", "tool_choice", "thinking", "stop_sequences", "stream", "max_tokens",
    "messages", "requests",
]  # fmt: skip


@given(
    fields=st.dictionaries(st.sampled_from(NAMES), JSON),
    content=JSON,
    path=st.sampled_from([PATH, BATCHES, "/v1/messages/count_tokens"]),
)
async def test_no_body_breaks_the_simulator(fields: dict, content: object, path: str):
    body = {**BODY, "messages": [{"role": "user", "content": content}], **fields}
    received = Received("POST", path, [], json.dumps(body).encode())
    reply = Api(None).reply(received, 1, Fault())
    if not isinstance(reply.body, bytes):
        assert b"message_stop" in b"".join(reply.body)
    assert reply.status in (200, 400)


async def test_a_stream_is_packed_on_demand_event_by_event(
    sim: Simulator, client: httpx.AsyncClient
):
    sim.script.append(Fault(pack=True))
    answer = await client.post(PATH, json=STREAM)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.count("event: ") == 10
