"""No turn of a conversation makes a later one fail: OpenAI's clients through a whole relay.

The upstream refuses what Claude refuses (tests/simulator/strict.py).
"""

import json

import pytest

from relay.simulator import Fault

from ..unit.histories import CASES, CHAT, RESPONSES, Api, Step
from .conftest import BODY, Running

apis = pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)


async def answers_to(relay: Running, api: Api, steps: list[Step]) -> list[int]:
    """The status of every request of a conversation that grows by these steps."""
    found = []
    async with relay.client() as client:
        for length in range(1, len(steps) + 1):
            if steps[length - 1][0] == "assistant":
                # The user speaks next; only then is there anything to ask.
                continue
            asked = api.asking(steps[:length], tools=[api.tool()])
            found.append((await client.post(api.path, json=asked)).status_code)
    return found


@apis
async def test_every_odd_history_goes_on_turn_by_turn(relay: Running, api: Api):
    refused = {
        name: found
        for name, steps, _ in CASES
        if set(found := await answers_to(relay, api, [*steps, ("user", "go on")])) != {200}
    }
    assert refused == {}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("said", [" ", "\n\n", "Hello."])
@apis
async def test_the_relays_own_answers_come_back(relay: Running, api: Api, said: str, stream: bool):
    said_in = "messages" if api is CHAT else "input"
    asked = api.asking([("user", "hello")], reasoning_effort="high", max_tokens=60)
    if api is RESPONSES:
        asked = api.asking([("user", "hello")], reasoning={"effort": "high", "summary": "auto"})
    async with relay.client() as client:
        for _ in range(3):
            relay.sim.script.append(Fault(text=said))
            answer = await client.post(api.path, json={**asked, "stream": stream})
            assert answer.status_code == 200, answer.text
            asked[said_in] += _kept(api, answer.text, stream=stream)
            asked[said_in] += api.write([("user", "go on")])


def _kept(api: Api, text: str, *, stream: bool) -> list[dict]:
    """What a client keeps of an answer."""
    if not stream and api is CHAT:
        return [json.loads(text)["choices"][0]["message"]]
    if not stream:
        return json.loads(text)["output"]
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if api is RESPONSES:
        return events[-1]["response"]["output"]
    words = "".join(
        choice["delta"].get("content") or "" for one in events for choice in one["choices"]
    )
    return [{"role": "assistant", "content": words or None}]


@apis
async def test_a_picture_with_a_wrong_label_costs_no_conversation(relay: Running, api: Api):
    address = "data:image/jpg;base64,iVBORw0KGgo\nAAAA="
    part = {"type": "image_url", "image_url": {"url": address}}
    if api is RESPONSES:
        part = {"type": "input_image", "image_url": address}
    steps: list[Step] = [("user", [part]), ("call", "c"), ("result", "c", [part]), ("user", "b")]
    assert set(await answers_to(relay, api, steps)) == {200}


LIMITED = {"type": "integer", "minimum": 0}
FORM = {"type": "object", "properties": {"minimum": LIMITED, "next": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "properties": {"pattern": {"type": ["string", "null"],
                                                                        "pattern": "^a"}}}},
        "required": ["minimum"]}  # fmt: skip


@apis
async def test_schemas_cost_no_conversation(relay: Running, api: Api):
    tools = [{"name": f"t{place}", "strict": True, "parameters": FORM} for place in range(23)]
    shape = {"name": "a", "schema": FORM}
    asked = api.asking(
        [("user", "hello")],
        tools=[{"type": "function", "function": one} if api is CHAT else {"type": "function", **one}
               for one in tools],
        response_format={"type": "json_schema", "json_schema": shape},
        text={"format": {"type": "json_schema", **shape}},
    )  # fmt: skip
    async with relay.client() as client:
        answer = await client.post(api.path, json=asked)
    assert answer.status_code == 200, answer.text


@apis
async def test_half_a_character_costs_no_conversation(relay: Running, api: Api):
    asked = api.asking([("user", "cut \ud83d off")])
    async with relay.client() as client:
        answer = await client.post(api.path, content=json.dumps(asked))
    assert answer.status_code == 200
    assert "cut \\ufffd off" in json.dumps(json.loads(relay.sim.requests[-1].body))


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_claudes_own_api_names_half_a_character(relay: Running, path: str):
    asked = {**BODY, "messages": [{"role": "user", "content": "cut \ud83d off"}]}
    async with relay.client() as client:
        answer = await client.post(path, content=json.dumps(asked))
    assert answer.status_code == 400
    assert "half a surrogate pair" in answer.json()["error"]["message"]
    assert not relay.sim.requests
