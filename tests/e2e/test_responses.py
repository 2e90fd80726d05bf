"""The Responses API through a whole relay: faults, limits, errors, and what is booked."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay import sse
from relay.simulator import Fault

from .conftest import OTHER_KEYS, UPSTREAM_KEY, Running, relay_running

PATH = "/openai/claude/v1/responses"
ASKED = {"model": "claude-opus-5", "input": "hello", "max_output_tokens": 100}
STREAM = {**ASKED, "stream": True}


async def post(relay: Running, body: object = ASKED, path: str = PATH) -> httpx.Response:
    async with relay.client() as client:
        return await client.post(path, json=body)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in sse.Framer().feed(text.encode())]


def without_ids(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without what differs between two requests."""
    told = json.dumps(events)
    for event in events:
        response = event.get("response", {})
        for name in ("id", "created_at", "completed_at"):
            if response.get(name):
                told = told.replace(json.dumps(response[name]), '"-"')
        if "item" in event:
            told = told.replace(event["item"]["id"], "-")
    found: list[dict[str, Any]] = json.loads(told)
    return found


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


async def test_the_upstream_gets_claudes_request_in_the_version_that_is_read(relay: Running):
    async with relay.client() as client:
        await client.post(PATH, json=ASKED, headers={"anthropic-version": "2026-10-21"})

    (received,) = relay.sim.requests
    assert received.target == "/v1/messages"
    assert received.header("anthropic-version") == "2023-06-01"
    assert received.header("x-api-key") == UPSTREAM_KEY
    assert json.loads(received.body) == {
        "model": "claude-opus-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_events_are_the_same_however_the_upstreams_bytes_are_cut(relay: Running, size: int):
    whole = await post(relay, STREAM)
    relay.sim.script.append(Fault(drip=0.0, drip_bytes=size))
    cut = await post(relay, STREAM)

    assert whole.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in cut.headers
    told = without_ids(events_of(cut.text))
    assert told == without_ids(events_of(whole.text))
    assert told[-1]["type"] == "response.completed"


@pytest.mark.parametrize("place", range(1100, 2100, 250))
@pytest.mark.parametrize("kind", ["cut_at", "reset_at", "garbage_at"])
async def test_a_stream_that_breaks_off_says_so_in_whole_events(
    relay: Running, kind: str, place: int
):
    relay.sim.script.append(Fault(**{kind: place}))
    answer = await post(relay, STREAM)

    if answer.status_code == 502:
        assert answer.json()["error"]["type"] == "server_error"
        return
    told = events_of(answer.text)
    if told[-1]["type"] != "response.completed":
        assert told[-1]["type"] == "error"
        assert told[-1]["error"]["message"].startswith("The upstream's answer broke off.")
        assert len(told) == 1 or told[-2]["type"] == "response.failed"
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    await relay.settled()


async def test_an_error_in_the_stream_is_told_and_booked(relay: Running):
    relay.sim.script.append(Fault(error_event="overloaded_error", message="Busy.", after_events=5))
    told = events_of((await post(relay, STREAM)).text)

    assert told[-2]["response"]["error"] == {"code": "server_error", "message": "Busy."}
    assert (await relay.report()).total["requests"] == 1


async def test_silence_is_filled_with_comments(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, ping_interval_s=0.05) as relay:
        relay.sim.script.append(Fault(drip=0.2, drip_bytes=1000))
        answer = await post(relay, STREAM)

        assert ": ping\n\n" in answer.text
        assert events_of(answer.text)[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, "invalid_request_error", (400, "invalid_request_error", None)),
        (404, "not_found_error", (404, "invalid_request_error", None)),
        (413, "request_too_large", (413, "invalid_request_error", None)),
        (429, "rate_limit_error", (429, "rate_limit_error", "rate_limit_exceeded")),
        (500, "api_error", (500, "server_error", None)),
        (529, "overloaded_error", (503, "server_error", "server_is_overloaded")),
    ],
)
@pytest.mark.parametrize("body", [ASKED, STREAM], ids=["whole", "stream"])
async def test_an_upstreams_refusal_comes_in_openais_words(
    relay: Running, status: int, kind: str, told: tuple[int, str, str | None], body: object
):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=status, error_type=kind, message="No.")
    answer = await post(relay, body)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == told
    assert (error["message"], error["param"]) == ("No.", None)
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_answer_of_the_upstream_that_is_no_json_is_told_as_an_error(relay: Running):
    packed = {"content-encoding": "gzip"}
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500, body="<html>", headers=packed)
    answer = await post(relay)

    error = answer.json()["error"]
    assert (error["type"], error["message"]) == (
        "server_error",
        "The upstream answered with status 500.",
    )
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


async def test_a_failure_moves_on_to_another_account_unseen(relay: Running):
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=529, error_type="overloaded_error")

    for _ in range(4):
        assert (await post(relay, STREAM)).status_code == 200


async def test_a_wrong_key_is_told_in_openais_words(relay: Running):
    async with httpx.AsyncClient(base_url=relay.url, trust_env=False) as client:
        answer = await client.post(
            PATH, json=ASKED, headers={"authorization": "Bearer sk-relay-no"}
        )

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (401, "invalid_api_key")


async def test_a_key_that_may_not_use_the_model_is_told_so(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=("claude-haiku-*",))
    async with relay.client(headers={"authorization": f"Bearer {key}"}) as client:
        answer = await client.post(PATH, json=ASKED)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert not relay.sim.requests


async def test_a_spent_budget_is_told_as_a_quota(relay: Running):
    _, key = await relay.ctx.keys.create("bob", budgets={"total": "0.000001"})
    async with relay.client(headers={"authorization": f"Bearer {key}"}) as client:
        answers = [await client.post(PATH, json=ASKED) for _ in range(2)]

    error = answers[-1].json()["error"]
    assert (answers[-1].status_code, error["code"]) == (429, "insufficient_quota")
    assert answers[-1].headers["x-should-retry"] == "false"


async def test_a_field_that_cannot_be_taken_is_named_and_nothing_is_sent(relay: Running):
    answer = await post(relay, {**ASKED, "input": [{"role": "critic", "content": "x"}]})

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "input[0].role: must be one of user, assistant, system, developer.",
        "type": "invalid_request_error",
        "param": "input[0].role",
        "code": None,
    }
    assert not relay.sim.requests


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"input": "\xff"}'])
async def test_a_body_that_is_no_json_object_is_refused(relay: Running, content: bytes):
    async with relay.client() as client:
        answer = await client.post(PATH, content=content)

    assert answer.status_code == 400
    assert "JSON object" in answer.json()["error"]["message"]


async def test_an_earlier_response_is_told_not_to_be_kept(relay: Running):
    async with relay.client() as client:
        answers = [
            await client.get(f"{PATH}/resp_1"),
            await client.delete(f"{PATH}/resp_1"),
            await client.post(f"{PATH}/resp_1/cancel"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert all("stores no responses" in answer.json()["error"]["message"] for answer in answers)


async def test_a_conversation_with_a_name_stays_with_its_account(relay: Running):
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)

    for number in range(6):
        asked = {**ASKED, "input": f"no. {number}", "prompt_cache_key": "conversation 1"}
        assert (await post(relay, asked)).status_code == 200

    assert len({received.header("x-api-key") for received in relay.sim.requests}) == 1


async def test_an_accounts_own_name_for_a_model_is_used(relay: Running):
    await relay.ctx.accounts.edit("main", model_map={"claude-opus-5": "claude-haiku-4-5"})
    answer = await post(relay)

    assert json.loads(relay.sim.requests[0].body)["model"] == "claude-haiku-4-5"
    assert answer.json()["model"] == "claude-haiku-4-5"


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 100_000])
async def test_a_body_nested_deeply_is_answered_or_refused(relay: Running, depth: int):
    nested = b'{"items":' * depth + b"{}" + b"}" * depth
    async with relay.client() as client:
        answer = await client.post(
            PATH,
            content=b'{"model":"claude-opus-5","input":"a","text":{"format":{"type":"json_schema",'
            b'"name":"n","schema":' + nested + b"}}}",
        )

    assert answer.status_code in (200, 400)


async def test_other_paths_and_methods_are_told_in_openais_words(relay: Running):
    async with relay.client() as client:
        unknown = await client.get("/openai/claude/v1/assistants")
        wrong = await client.get(PATH)

    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert unknown.json()["error"].keys() == {"message", "type", "param", "code"}
    assert wrong.headers["allow"] == "POST"
