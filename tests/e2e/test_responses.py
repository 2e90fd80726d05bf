"""The Responses API through a whole relay: faults, limits, errors, and what is booked."""

import json
from typing import Any

import httpx
import pytest

from relay import sse
from relay.simulator import Fault

from .conftest import Running

PATH = "/openai/claude/v1/responses"
ASKED = {"model": "claude-opus-5", "input": "hello", "max_output_tokens": 100}
STREAM = {**ASKED, "stream": True}


async def post(relay: Running, body: object = ASKED, path: str = PATH) -> httpx.Response:
    async with relay.client() as client:
        return await client.post(path, json=body)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in sse.Framer().feed(text.encode())]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_a_request_is_answered_and_booked(relay: Running, path: str):
    answer = await post(relay, path=path)

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["object"], told["status"]) == ("response", "completed")
    assert answer.headers["x-request-id"].removeprefix("req_") in told["id"]
    assert int(answer.headers["content-length"]) == len(answer.content)
    total = (await relay.report()).total
    assert total["requests"] == 1
    assert total["output_tokens"] == told["usage"]["output_tokens"]


async def test_an_error_in_the_stream_is_told_and_booked(relay: Running):
    relay.sim.script.append(Fault(error_event="overloaded_error", message="Busy.", after_events=5))
    told = events_of((await post(relay, STREAM)).text)

    assert told[-2]["response"]["error"] == {"code": "server_error", "message": "Busy."}
    assert (await relay.report()).total["requests"] == 1


async def test_an_earlier_response_is_told_not_to_be_kept(relay: Running):
    async with relay.client() as client:
        answers = [
            await client.get(f"{PATH}/resp_1"),
            await client.delete(f"{PATH}/resp_1"),
            await client.post(f"{PATH}/resp_1/cancel"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert all("stores no responses" in answer.json()["error"]["message"] for answer in answers)


async def test_other_paths_and_methods_are_told_in_openais_words(relay: Running):
    async with relay.client() as client:
        unknown = await client.get("/openai/claude/v1/assistants")
        wrong = await client.get(PATH)

    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert unknown.json()["error"].keys() == {"message", "type", "param", "code"}
    assert wrong.headers["allow"] == "POST"


async def test_an_inputs_length_is_claudes_count(relay: Running):
    asked = {
        "model": "claude-opus-5", "input": "hello", "instructions": "Be short.", "stream": True,
        "max_output_tokens": 50, "tools": [{"type": "function", "name": "now"}],
        "prompt_cache_key": "k", "temperature": 1,
    }  # fmt: skip
    async with relay.client() as client:
        answer = await client.post(f"{PATH}/input_tokens", json=asked)
        refused = await client.post(f"{PATH}/input_tokens", json={**asked, "input": 5})

    (received,) = relay.sim.requests
    sent = json.loads(received.body)
    assert received.target == "/v1/messages/count_tokens"
    assert sent.keys() == {"model", "messages", "system", "tools"}
    assert answer.json().keys() == {"object", "input_tokens"}
    assert answer.json()["object"] == "response.input_tokens"
    assert answer.json()["input_tokens"] > 0
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert (await relay.report()).total.get("cost_micros", 0) == 0


async def test_a_count_that_is_none_is_the_upstreams_fault(relay: Running):
    relay.sim.script.append(Fault(status=200, body="{}"))
    async with relay.client() as client:
        answer = await client.post(
            f"{PATH}/input_tokens", json={"model": "claude-opus-5", "input": "hello"}
        )
    assert answer.status_code == 502


SUMMARY = {"type": "compaction", "content": "They said hello.", "signature": "c2ln"}
COMPACTED = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5",
    "content": [SUMMARY], "stop_reason": "compaction", "stop_sequence": None,
    "usage": {"input_tokens": 0, "output_tokens": 0, "iterations": [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 200}]},
}  # fmt: skip
TALK = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "how are you"},
]


async def test_a_conversation_is_compacted_by_claude_and_goes_on_from_its_summary(relay: Running):
    tools = [{"type": "function", "name": "now"}]
    relay.sim.script.append(Fault(status=200, body=json.dumps(COMPACTED)))
    async with relay.client() as client:
        asked = {"model": "claude-opus-5", "input": TALK, "tools": tools, "instructions": "Brief."}
        compacted = await client.post(f"{PATH}/compact", json=asked)
        told = compacted.json()
        going_on = [*told["output"], {"role": "user", "content": "and now?"}]
        answer = await client.post(PATH, json={**asked, "input": going_on})

    first, second = [json.loads(one.body) for one in relay.sim.requests]
    assert first["compaction"] == {"type": "summarize"}
    assert len(first["messages"]) == 3
    assert told["object"] == "response.compaction"
    assert [item["type"] for item in told["output"]] == ["message", "message", "compaction"]
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (1000, 200)
    assert answer.status_code == 200, answer.text
    assert second["messages"][0] == {"role": "assistant", "content": [SUMMARY]}
    assert [message["role"] for message in second["messages"]] == ["assistant", "user"]
    assert second["messages"][1]["content"][0]["text"] == "and now?"
    assert [first["system"][0]["text"], first["tools"][0]["name"]] == ["Brief.", "now"]
    betas = [received.header("anthropic-beta") for received in relay.sim.requests]
    assert betas == ["compact-2026-09-04"] * 2
    (row,) = (await relay.report()).rows
    assert row.counters["input_tokens"] >= 1000


async def test_no_summary_is_the_upstreams_fault(relay: Running):
    empty = {**COMPACTED, "content": [{**SUMMARY, "content": None}]}
    relay.sim.script.append(Fault(status=200, body=json.dumps(empty)))
    async with relay.client() as client:
        answer = await client.post(
            f"{PATH}/compact", json={"model": "claude-opus-5", "input": TALK}
        )
    assert answer.status_code == 502
    await relay.settled()


async def test_a_plain_request_names_no_beta(relay: Running):
    assert (await post(relay)).status_code == 200
    assert relay.sim.requests[0].header("anthropic-beta") == ""
