"""Both of OpenAI's APIs through a whole relay: faults, limits, errors, and what is sent."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay import sse
from relay.simulator import Fault

from .conftest import OTHER_KEYS, UPSTREAM_KEY, Running, relay_running

MODEL = "claude-opus-5"
# What differs between two requests that ask the same.
_TIMES = re.compile(r'"(created|created_at|completed_at)":\d+')
_IDS = re.compile(r"\w+[_-][0-9A-Za-z]{20,}(_\d+)?")


@dataclass
class Api:
    """One of the two APIs at a running relay."""

    relay: Running
    path: str
    key: str | None = None

    def asking(self, words: Any = "hello", **more: Any) -> dict[str, Any]:
        if self.path.endswith("/responses"):
            return {"model": MODEL, "input": words, "max_output_tokens": 100, **more}
        messages = words if isinstance(words, list) else [{"role": "user", "content": words}]
        return {"model": MODEL, "messages": messages, "max_tokens": 100, **more}

    async def post(self, body: object | None = None, **more: Any) -> httpx.Response:
        own = {"headers": {"authorization": f"Bearer {self.key}"}} if self.key else {}
        async with self.relay.client(**own) as client:
            return await client.post(self.path, json=body or self.asking(**more))

    @property
    def place(self) -> str:
        """The field that holds what was said."""
        return "input" if self.path.endswith("/responses") else "messages"


@pytest.fixture(params=["responses", "chat/completions"])
async def api(request: pytest.FixtureRequest, relay: Running) -> Api:
    return Api(relay, f"/openai/claude/v1/{request.param}")


def events_of(text: str) -> list[dict[str, Any]]:
    """A stream's events, without what may differ; the word that ends a chat is no event."""
    same = _IDS.sub("-", _TIMES.sub(r'"\1":0', text))
    frames = [frame.data for frame in sse.Framer().feed(same.encode())]
    return [json.loads(data) for data in frames if data != b"[DONE]"]


def is_whole(text: str) -> bool:
    """Whether a stream came to its end."""
    return "data: [DONE]\n\n" in text or "event: response.completed\n" in text


async def test_the_upstream_gets_claudes_request_in_the_version_that_is_read(api: Api):
    async with api.relay.client() as client:
        headers = {"anthropic-version": "2026-10-21"}
        await client.post(api.path, json=api.asking(), headers=headers)

    (received,) = api.relay.sim.requests
    assert received.target == "/v1/messages"
    assert received.header("anthropic-version") == "2023-06-01"
    assert received.header("x-api-key") == UPSTREAM_KEY
    assert json.loads(received.body) == {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_events_are_the_same_however_the_upstreams_bytes_are_cut(api: Api, size: int):
    whole = await api.post(stream=True)
    api.relay.sim.script.append(Fault(drip=0.0, drip_bytes=size))
    cut = await api.post(stream=True)

    assert whole.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in cut.headers
    assert events_of(cut.text) == events_of(whole.text)
    assert is_whole(cut.text)


@pytest.mark.parametrize("place", range(1100, 2100, 250))
@pytest.mark.parametrize("kind", ["cut_at", "reset_at", "garbage_at"])
async def test_a_stream_that_breaks_off_says_so_in_whole_events(api: Api, kind: str, place: int):
    api.relay.sim.script.append(Fault(**{kind: place}))
    answer = await api.post(stream=True)

    if answer.status_code == 502:
        assert answer.json()["error"]["type"] == "server_error"
        return
    last = events_of(answer.text)[-1]
    if not is_whole(answer.text):
        assert last["error"]["message"].startswith("The upstream's answer broke off.")
    await api.relay.settled()


async def test_an_error_in_the_stream_is_told_and_booked(api: Api):
    api.relay.sim.script.append(
        Fault(error_event="overloaded_error", message="Busy.", after_events=5)
    )
    answer = await api.post(stream=True)

    assert events_of(answer.text)[-1]["error"]["message"] == "Busy."
    assert not is_whole(answer.text)
    assert (await api.relay.report()).total["requests"] == 1


@pytest.mark.parametrize("part", ["responses", "chat/completions"])
async def test_silence_is_filled_with_comments(redis_url: str, tmp_path: Path, part: str):
    async with relay_running(redis_url, tmp_path, ping_interval_s=0.05) as relay:
        relay.sim.script.append(Fault(drip=0.2, drip_bytes=1000))
        answer = await Api(relay, f"/openai/claude/v1/{part}").post(stream=True)

        assert ": ping\n\n" in answer.text
        assert is_whole(answer.text)


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
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_an_upstreams_refusal_comes_in_openais_words(
    api: Api, status: int, kind: str, told: tuple[int, str, str | None], streams: bool
):
    api.relay.sim.by_key[UPSTREAM_KEY] = Fault(status=status, error_type=kind, message="No.")
    answer = await api.post(stream=streams)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == told
    assert (error["message"], error["param"]) == ("No.", None)
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_answer_of_the_upstream_that_is_no_json_is_told_as_an_error(api: Api):
    packed = {"content-encoding": "gzip"}
    api.relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500, body="<html>", headers=packed)
    answer = await api.post()

    error = answer.json()["error"]
    assert (error["type"], error["message"]) == (
        "server_error",
        "The upstream answered with status 500.",
    )
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", ['{"content": 3, "usage": {"input_tokens": "many"}}', "[]", "{"])
async def test_an_answer_of_an_odd_shape_is_told_or_is_the_upstreams_fault(api: Api, body: str):
    api.relay.sim.script.append(Fault(status=200, body=body))
    answer = await api.post()

    assert answer.status_code == (200 if body.startswith('{"') else 502)
    await api.relay.settled()


async def test_a_failure_moves_on_to_another_account_unseen(api: Api):
    relay = api.relay
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=529, error_type="overloaded_error")

    for _ in range(4):
        assert (await api.post(stream=True)).status_code == 200


async def test_a_wrong_key_is_told_in_openais_words(api: Api):
    api.key = "sk-relay-no"
    answer = await api.post()

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_key_that_may_not_use_the_model_is_told_so(api: Api):
    _, api.key = await api.relay.ctx.keys.create("bob", models=("claude-haiku-*",))
    answer = await api.post()

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert not api.relay.sim.requests


async def test_a_spent_budget_is_told_as_a_quota(api: Api):
    _, api.key = await api.relay.ctx.keys.create("bob", budgets={"total": "0.000001"})
    answers = [await api.post() for _ in range(2)]

    error = answers[-1].json()["error"]
    assert (answers[-1].status_code, error["code"]) == (429, "insufficient_quota")
    assert answers[-1].headers["x-should-retry"] == "false"


async def test_a_field_that_cannot_be_taken_is_named_and_nothing_is_sent(api: Api):
    answer = await api.post(api.asking([{"role": "critic", "content": "x"}]))

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": f"{api.place}[0].role: must be one of user, assistant, system, developer.",
        "type": "invalid_request_error",
        "param": f"{api.place}[0].role",
        "code": None,
    }
    assert not api.relay.sim.requests


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"input": "\xff"}'])
async def test_a_body_that_is_no_json_object_is_refused(api: Api, content: bytes):
    async with api.relay.client() as client:
        answer = await client.post(api.path, content=content)

    assert answer.status_code == 400
    assert "JSON object" in answer.json()["error"]["message"]


async def test_a_conversation_with_a_name_stays_with_its_account(api: Api):
    relay = api.relay
    await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)

    for number in range(6):
        answer = await api.post(words=f"no. {number}", prompt_cache_key="conversation 1")
        assert answer.status_code == 200

    assert len({received.header("x-api-key") for received in relay.sim.requests}) == 1


async def test_an_accounts_own_name_for_a_model_is_used(api: Api):
    await api.relay.ctx.accounts.edit("main", model_map={MODEL: "claude-haiku-4-5"})
    answer = await api.post()

    assert json.loads(api.relay.sim.requests[0].body)["model"] == "claude-haiku-4-5"
    assert answer.json()["model"] == "claude-haiku-4-5"


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 100_000])
async def test_a_body_nested_deeply_is_answered_or_refused(api: Api, depth: int):
    schema = '{"items":' * depth + "{}" + "}" * depth
    shape = {"type": "json_schema", "name": "n", "schema": "SCHEMA"}
    if api.place == "input":
        asked = api.asking(text={"format": shape})
    else:
        asked = api.asking(response_format={"type": "json_schema", "json_schema": shape})
    async with api.relay.client() as client:
        body = json.dumps(asked).replace('"SCHEMA"', schema)
        answer = await client.post(api.path, content=body.encode())

    assert answer.status_code in (200, 400)


TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_a_conversation_that_is_too_long_is_told_by_the_code_that_clients_compact_at(
    api: Api, streams: bool
):
    api.relay.sim.script.append(
        Fault(status=400, error_type="invalid_request_error", message=TOO_LONG)
    )
    answer = await api.post(stream=streams)

    if streams and api.place == "input":
        assert answer.status_code == 200
        failed = events_of(answer.text)[-2]
        assert failed["type"] == "response.failed"
        error = failed["response"]["error"]
    else:
        assert answer.status_code == 400
        error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].endswith(TOO_LONG)
    await api.relay.settled()


async def test_a_model_that_the_key_may_not_use_is_told_by_its_code(api: Api):
    _, api.key = await api.relay.ctx.keys.create("bob", models=("claude-haiku-*",))
    assert (await api.post()).json()["error"]["code"] == "model_not_found"


async def test_what_claude_cannot_have_is_said_in_a_header_and_by_why(api: Api):
    tools = [{"type": "image_generation"}, {"type": "tool_search"}]
    answers = [await api.post(tools=tools, stream=streams) for streams in (False, True)]

    left_out = ["tools[0] (image_generation)", "tools[1] (tool_search)"]
    assert [answer.headers["x-relay-left-out"] for answer in answers] == ["; ".join(left_out)] * 2
    await api.relay.settled()
    for answer in answers:
        told = await api.relay.ctx.store.usage.decision(answer.headers["x-request-id"])
        assert told is not None
        assert json.loads(told)["left_out"] == left_out


async def test_much_that_claude_cannot_have_takes_a_bounded_header(api: Api):
    tools = [{"type": "ünknown\r\nx: y" + "z" * 500}] * 1000
    answer = await api.post(tools=tools)

    assert answer.status_code == 200
    said = answer.headers["x-relay-left-out"]
    assert said.endswith("; 990 more")
    assert len(said) < 2000


async def test_nothing_is_said_where_nothing_is_left_out(api: Api):
    assert "x-relay-left-out" not in (await api.post()).headers
