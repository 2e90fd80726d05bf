"""A key's models hold for every model that a request names, wherever and however it names it."""

import json

import pytest

from .conftest import BODY, Running

HAIKU, OPUS = "claude-haiku-4-5", "claude-opus-5"
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS, "max_uses": 1}
ADDITION = {"type": "tool_addition", "tool": {"definition": ADVISOR}}

NAMED: dict[str, tuple[dict, str]] = {
    "a fallback": ({"fallbacks": [{"model": HAIKU}, {"model": OPUS}]}, "fallbacks[1].model"),
    "any fallback": ({"fallbacks": "default"}, "fallbacks"),
    "an advisor": ({"tools": [{"name": "mine", "input_schema": {}}, ADVISOR]}, "tools[1].model"),
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
