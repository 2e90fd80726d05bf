"""A key's models hold for every model that a request names, wherever and however it names it."""

import json

import pytest

from relay.simulator import Fault

from .conftest import BODY, OTHER_KEYS, UPSTREAM_KEY, Running

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-5"
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS, "max_uses": 1}
ADDITION = {"type": "tool_addition", "tool": {"definition": ADVISOR}}

NAMED: dict[str, tuple[dict, str]] = {
    "a fallback": ({"fallbacks": [{"model": HAIKU}, {"model": OPUS}]}, "fallbacks[1].model"),
    "any fallback": ({"fallbacks": "default"}, "fallbacks"),
    "an advisor": (
        {"tools": [{"name": "mine", "input_schema": {"type": "object"}}, ADVISOR]},
        "tools[1].model",
    ),
    "an advisor in a message": (
        {"messages": [*BODY["messages"], {"role": "system", "content": [ADDITION]}]},
        "messages[1].content[0].tool.definition.model",
    ),
}


def spelled(body: dict) -> list[bytes]:
    """The same JSON as it is, and with all letters of the words that matter as escapes."""
    plain = json.dumps(body)
    escaped = plain
    for word in ("fallbacks", "advisor_20260301", "tool_addition", "model", OPUS, "default"):
        units = "".join(f"\\u{ord(letter):04x}" for letter in word)
        escaped = escaped.replace(f'"{word}"', f'"{units}"')
    return [plain.encode(), escaped.encode()]


@pytest.mark.parametrize("what", NAMED)
@pytest.mark.parametrize("spelling", [0, 1], ids=["plain", "escaped"])
@pytest.mark.parametrize("is_batch", [False, True], ids=["message", "batch"])
async def test_a_model_that_a_key_may_not_use_is_refused_wherever_it_is_named(
    relay: Running, what: str, spelling: int, is_batch: bool
):
    await relay.add_accounts()
    await relay.ctx.keys.edit("alice", models=["claude-haiku-*"])
    more, place = NAMED[what]
    body = spelled({**BODY, "model": HAIKU, **more})[spelling]
    path = "/v1/messages"
    if is_batch:
        path = "/v1/messages/batches"
        body = b'{"requests":[{"custom_id":"a","params":' + body + b"}]}"
        place = f"requests[0].params.{place}"
    async with relay.client() as client:
        answer = await client.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{place}: ")
    assert not relay.sim.requests
    await relay.ctx.leases.refusals.write()
    (row,) = (await relay.report()).rows
    assert (row.counters.get("requests", 0), row.refusals) == (0, {"refused_key_model": 1})


@pytest.mark.parametrize("what", NAMED)
async def test_a_key_that_may_use_every_model_may_name_any(relay: Running, what: str):
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, **NAMED[what][0]})
    assert len(relay.sim.requests) == 1
    assert "may use" not in answer.text


async def test_a_text_that_speaks_of_advisors_names_no_model(relay: Running):
    await relay.ctx.keys.edit("alice", models=["claude-haiku-*"])
    text = json.dumps(ADDITION)
    turns = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "model": HAIKU, "messages": turns})
    assert answer.status_code == 200


async def with_lists(relay: Running, second: dict) -> None:
    """`main`, which comes first, and which serves Haiku alone; and another account."""
    await relay.ctx.accounts.edit("main", priority=1, allowed_models=["claude-haiku-*"])
    await relay.ctx.accounts.add(
        "second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url, **second
    )


@pytest.mark.parametrize("what", NAMED)
async def test_an_account_that_may_not_serve_a_named_model_is_passed_over(
    relay: Running, what: str
):
    await with_lists(relay, {})
    more, _ = NAMED[what]
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "model": HAIKU, **more})
        # Another conversation: this one stays where it was.
        own = {"x-claude-code-session-id": "another"}
        plain = await client.post("/v1/messages", json={**BODY, "model": HAIKU}, headers=own)
    got = [request.header("x-api-key") for request in relay.sim.requests]
    assert got == [OTHER_KEYS[0], UPSTREAM_KEY]
    await relay.settled()
    ids = [answer.headers["request-id"], plain.headers["request-id"]]
    why = [json.loads(await relay.ctx.store.usage.decision(one) or b"") for one in ids]
    assert [decision["skipped"] for decision in why] == [{"model": ["main"]}, {}]


@pytest.mark.parametrize("what", NAMED)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_named_model_that_no_account_serves_is_refused_with_its_place(
    relay: Running, what: str, path: str
):
    await relay.ctx.accounts.edit("main", allowed_models=["claude-haiku-*"])
    more, place = NAMED[what]
    async with relay.client() as client:
        answer = await client.post(path, json={**BODY, "model": HAIKU, **more})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert answer.json()["error"]["message"].startswith(f"{place}: ")
    assert not relay.sim.requests


async def test_an_account_with_another_name_for_a_named_model_is_passed_over(relay: Running):
    """Only `model` is changed to an account's own name: the rest of a body goes on as it is."""
    await relay.ctx.accounts.edit("main", priority=1, model_map={OPUS: "claude-opus-4-1"})
    body = {**BODY, "model": HAIKU, **NAMED["an advisor"][0]}
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json=body)
        assert (answer.status_code, len(relay.sim.requests)) == (400, 0)
        assert answer.json()["error"]["message"].startswith("tools[1].model: the accounts")
        await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
        assert (await client.post("/v1/messages", json=body)).status_code == 200
    assert [request.header("x-api-key") for request in relay.sim.requests] == [OTHER_KEYS[0]]


async def test_failover_goes_to_no_account_that_may_not_serve_a_named_model(relay: Running):
    await relay.ctx.accounts.edit("main", priority=1)
    await relay.ctx.accounts.add(
        "second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url, allowed_models=[HAIKU]
    )
    more, _ = NAMED["a fallback"]
    for body, count in (({"model": HAIKU, **more}, 1), ({"model": HAIKU}, 2)):
        relay.sim.requests.clear()
        relay.sim.script.append(Fault(status=529, error_type="overloaded_error"))
        async with relay.client() as client:
            await client.post("/v1/messages", json={**BODY, **body})
        await relay.settled()
        await relay.ctx.accounts.reset("main")
        got = {request.header("x-api-key") for request in relay.sim.requests}
        assert len(got) == count


async def test_a_batch_goes_to_an_account_that_may_serve_all_that_it_names(relay: Running):
    params = {**BODY, "model": HAIKU, **NAMED["an advisor"][0]}
    body = {"requests": [{"custom_id": "a", "params": params}]}
    await relay.ctx.accounts.edit("main", priority=1, allowed_models=["claude-haiku-*"])
    async with relay.client() as client:
        answer = await client.post("/v1/messages/batches", json=body)
        assert (answer.status_code, len(relay.sim.requests)) == (404, 0)
        place = "requests[0].params.tools[1].model: "
        assert answer.json()["error"]["message"].startswith(place)
        await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
        assert (await client.post("/v1/messages/batches", json=body)).status_code == 200
    assert [request.header("x-api-key") for request in relay.sim.requests] == [OTHER_KEYS[0]]


@pytest.mark.parametrize("model", ["a\nb", "x" * 257], ids=["two lines", "too long"])
async def test_what_can_be_no_models_name_is_refused(relay: Running, model: str):
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "fallbacks": [{"model": model}]})
    assert (answer.status_code, len(relay.sim.requests)) == (400, 0)
    assert answer.json()["error"]["message"].startswith("fallbacks[0].model: ")


async def test_a_request_names_no_more_models_than_anyone_needs(relay: Running):
    named = [{**ADVISOR, "model": f"claude-opus-{number}"} for number in range(65)]
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "tools": named})
    assert (answer.status_code, len(relay.sim.requests)) == (400, 0)
    assert answer.json()["error"]["message"].startswith("tools[64].model: ")
