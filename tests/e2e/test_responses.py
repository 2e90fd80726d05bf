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

    assert answer.status_code == 200
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
