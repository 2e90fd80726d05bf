"""Other names for Claude's models in the Anthropic API, through a whole relay."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay import simulator

from .conftest import Running, relay_running

ALIASES = {"claude-3-opus-20240229": "claude-opus-5", "quick": "claude-haiku-4-5"}
OLD_NAME = "claude-3-opus-20240229"
BODY = {
    "model": OLD_NAME,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": 'say "model": "claude-3-opus-20240229"'}],
}
OWN = simulator.objects.MODELS


@pytest.fixture
async def relay(redis_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A relay that knows other names for models."""
    async with relay_running(redis_url, tmp_path, claude_models=ALIASES) as running:
        yield running


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/v1/messages/count_tokens"])
async def test_another_name_asks_for_claudes_model_and_nothing_else_changes(
    relay: Running, path: str
):
    sent = json.dumps(BODY, indent=1)
    async with relay.client() as client:
        answer = await client.post(path, content=sent)

    assert answer.status_code == 200, answer.text
    first = sent.replace(OLD_NAME, "claude-opus-5", 1)
    assert relay.sim.requests[-1].body.decode() == first


async def test_a_call_by_another_name_is_booked_as_claudes_model(relay: Running):
    async with relay.client() as client:
        await client.post("/api/v1/messages", json=BODY)

    (row,) = (await relay.report()).rows
    assert row.model == "claude-opus-5"


async def test_a_key_may_use_by_another_name_only_what_it_may_use(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])
    async with relay.client(headers={"x-api-key": key}) as client:
        refused = await client.post("/api/v1/messages", json=BODY)
        allowed = await client.post("/api/v1/messages", json={**BODY, "model": "quick"})

    assert (refused.status_code, allowed.status_code) == (400, 200)
    assert "claude-opus-5" in refused.json()["error"]["message"]


async def test_other_names_stand_in_the_list_behind_their_models(relay: Running):
    async with relay.client() as client:
        listed = (await client.get("/api/v1/models")).json()
        one = (await client.get("/api/v1/models/quick")).json()

    names = [entry["id"] for entry in listed["data"]]
    assert names[names.index("claude-haiku-4-5") + 1] == "quick"
    assert [name for name in names if name not in ALIASES] == [entry["id"] for entry in OWN]
    assert (listed["first_id"], listed["last_id"]) == (OWN[0]["id"], OWN[-1]["id"])
    haiku = next(entry for entry in OWN if entry["id"] == "claude-haiku-4-5")
    assert one == {**haiku, "id": "quick"}


async def test_a_key_sees_no_other_names_of_models_that_it_may_not_use(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])
    async with relay.client(headers={"x-api-key": key}) as client:
        listed = (await client.get("/api/v1/models")).json()
        refused = await client.get("/api/v1/models/claude-3-opus-20240229")

    names = [entry["id"] for entry in listed["data"]]
    assert "quick" in names
    assert "claude-3-opus-20240229" not in names
    assert refused.status_code == 404


async def test_a_batch_names_its_models_by_their_own_names(relay: Running):
    requests = [
        {"custom_id": "a", "params": {**BODY, "model": "claude-opus-5"}},
        {"custom_id": "b", "params": BODY},
    ]
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages/batches", json={"requests": requests})

    assert answer.status_code == 400
    said = answer.json()["error"]["message"]
    assert said.startswith("requests[1].params.model: ")
    assert "claude-opus-5" in said
