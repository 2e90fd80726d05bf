"""Skills: each belongs to a key and lives in an account, with its versions."""

from typing import Any

import httpx
import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, SOON_S, Running

SKILL = {"files[]": ("greet/SKILL.md", b"---\nname: greet\n---\nSKILL.md says hello.")}


async def made(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/skills", files=SKILL, data={"display_name": "Greet"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def using(*skills: dict[str, str]) -> dict[str, Any]:
    return {**BODY, "container": {"skills": [*skills]}}


def custom(skill_id: str) -> dict[str, str]:
    return {"type": "custom", "skill_id": skill_id, "version": "latest"}


async def test_a_skill_lives_with_its_versions_until_it_is_deleted(relay: Running):
    async with relay.client() as client:
        skill_id = await made(client)
        path = f"/v1/skills/{skill_id}"
        version = (await client.post(f"{path}/versions", files=SKILL)).json()["id"]
        assert (await client.get(path)).json()["latest_version_id"] == version
        listed = (await client.get(f"{path}/versions")).json()["data"]
        assert (await client.get(f"{path}/versions/{version}")).json()["skill_id"] == skill_id
        assert (await client.get(f"{path}/versions/{version}/content")).content.startswith(b"PK")
        for one in listed:
            gone = await client.delete(f"{path}/versions/{one['id']}")
            assert gone.status_code == 200
        # A version that is gone is not the skill.
        assert (await client.get(path)).status_code == 200
        assert (await client.delete(path)).status_code == 200
        with trio.fail_after(SOON_S):
            while await relay.ctx.store.objects.read(skill_id):  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await client.get("/v1/skills")).json()["data"] == []
    assert len(listed) == 2


async def test_another_keys_skill_is_not_found_and_nothing_is_sent(relay: Running):
    _, other = await relay.ctx.keys.create("bob")
    async with relay.client() as client:
        skill_id = await made(client)
    sent = len(relay.sim.requests)
    path = f"/v1/skills/{skill_id}"
    calls = [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/versions"),
        ("POST", "/versions"),
        ("GET", "/versions/1"),
        ("DELETE", "/versions/1"),
        ("GET", "/versions/1/content"),
    ]
    async with relay.client(headers={"x-api-key": other}) as client:
        for method, rest in calls:
            assert (await client.request(method, path + rest)).status_code == 404
        named = await client.post("/v1/messages", json=using(custom(skill_id)))
        params = {"custom_id": "a", "params": using(custom(skill_id))}
        batch = await client.post("/v1/messages/batches", json={"requests": [params]})
        assert (await client.get("/v1/skills")).json()["data"] == []
    assert len(relay.sim.requests) == sent
    assert (named.status_code, batch.status_code) == (404, 404)
    message = named.json()["error"]["message"]
    assert message == "container.skills[0].skill_id: this key has no skill with that id."
    assert batch.json()["error"]["message"].startswith("requests[0].params.container.skills[0]")


async def test_a_list_shows_a_keys_own_skills_newest_first_by_pages(relay: Running):
    async with relay.client() as client:
        skills = [await made(client) for _ in range(3)]
        first = (await client.get("/v1/skills", params={"limit": 2})).json()
        rest = (await client.get("/v1/skills", params={"page": first["next_page"]})).json()
        anthropics = (await client.get("/v1/skills", params={"source": "anthropic"})).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == skills[::-1]
    assert (first["has_more"], rest["has_more"], rest["next_page"]) == (True, False, None)
    assert {one["source"] for one in anthropics["data"]} == {"anthropic"}


async def test_a_request_goes_to_the_account_of_its_skill(relay: Running):
    await relay.add_accounts()
    limited = Fault(status=429, headers={"retry-after": "30"}, error_type="rate_limit_error")
    async with relay.client() as client:
        skill_id = await made(client)
        home = relay.sim.requests[-1].header("x-api-key")
        for number in range(6):
            turns = [{"role": "user", "content": str(number)}]
            body = {**using(custom(skill_id)), "messages": turns}
            assert (await client.post("/v1/messages", json=body)).status_code == 200
            assert relay.sim.requests[-1].header("x-api-key") == home
        built_in = using({"type": "anthropic", "skill_id": "pptx"})
        assert (await client.post("/v1/messages", json=built_in)).status_code == 200
        relay.sim.by_key[home] = limited
        await client.post("/v1/messages", json=body)
        resting = await client.post("/v1/messages", json=body)
    assert resting.status_code == 503
    assert "holds this skill is at its limits" in resting.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/agents", "Managed Agents"), ("/api/v1/sessions/sesn_1/events", "Managed Agents"),
        ("/claude/v1/memory_stores", "Managed Agents"), ("/v1/vaults/vlt_1", "Managed Agents"),
        ("/v1/organizations/api_keys", "Admin API"), ("/v1/elsewhere", "base URL"),
    ],
)  # fmt: skip
async def test_what_is_not_served_says_so_in_its_own_words(relay: Running, path: str, says: str):
    async with relay.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert says in answer.json()["error"]["message"]
