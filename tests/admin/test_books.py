"""Admin keys of organisations and the comparison of the books, by the API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..store.anthropic_books import ADMIN_KEY, AnthropicBooks, anthropic_books
from .conftest import Api, api_running

WORKSPACE = "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"


@pytest.fixture
async def books() -> AsyncIterator[AnthropicBooks]:
    async with anthropic_books() as made:
        yield made


@pytest.fixture
async def api(redis_url: str, tmp_path: Path, books: AnthropicBooks) -> AsyncIterator[Api]:
    async with api_running(redis_url, tmp_path, base_url=books.url) as running:
        yield running


async def test_an_admin_key_is_added_listed_linked_and_removed(api: Api):
    async with api.client("admin") as client:
        made = await client.post("/admin-keys", json={"name": "acme", "secret": ADMIN_KEY})
        assert made.status_code == 201
        assert ADMIN_KEY not in made.text
        account = (await client.get("/accounts/main")).json()["id"]
        link = {"account": "main", "workspace": WORKSPACE, "apiKeyId": "apikey_1"}
        linked = (await client.put("/admin-keys/acme/link", json=link)).json()
        assert linked["links"] == {account: {"workspace": WORKSPACE, "apiKeyId": "apikey_1"}}
        unlinked = await client.put(
            "/admin-keys/acme/link", json={"account": "main", "workspace": ""}
        )
        assert unlinked.json()["links"] == {}
        (listed,) = (await client.get("/admin-keys")).json()["data"]
        assert listed["hint"] == ADMIN_KEY[: len(listed["hint"])]
        assert (await client.delete("/admin-keys/acme")).status_code == 204
        assert (await client.get("/admin-keys")).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/admin-keys", {"name": "x", "secret": "sk-ant-api03-x"}, "secret"),
        ("POST", "/admin-keys", {"name": "a b", "secret": ADMIN_KEY}, "name"),
        ("POST", "/admin-keys", {"name": "acme", "secret": ADMIN_KEY}, "name"),
        ("POST", "/admin-keys", {"name": "x", "secret": ADMIN_KEY, "baseUrl": "x"}, "baseUrl"),
        ("PUT", "/admin-keys/acme/link", {"account": "none", "workspace": "w"}, "account"),
        ("PUT", "/admin-keys/acme/link", {"account": "main", "workspace": "a b"}, "workspace"),
        (
            "PUT",
            "/admin-keys/acme/link",
            {"account": "main", "workspace": "", "apiKeyId": "apikey_1"},
            "apiKeyId",
        ),
        ("POST", "/reconciliation/acme", {"since": "yesterday"}, "since"),
    ],
)
async def test_a_wrong_field_is_named(
    api: Api, method: str, path: str, body: dict[str, str], field: str
):
    await api.relay.ctx.admin_keys.add("acme", ADMIN_KEY)
    async with api.client("admin") as client:
        refused = await client.request(method, path, json=body)
    assert refused.status_code in (400, 422), refused.text
    assert field in refused.text
    assert ADMIN_KEY not in refused.text


async def test_the_books_are_compared_on_request_and_viewers_see_how_they_stand(api: Api):
    await api.relay.ctx.admin_keys.add("acme", ADMIN_KEY)
    await api.relay.ctx.admin_keys.link("acme", "main", WORKSPACE)
    async with api.client("admin") as client:
        compared = await client.post("/reconciliation/acme", json={})
        conflict = await client.post("/reconciliation/acme", json={"since": "2020-01-01"})
        assert (await client.post("/reconciliation/none", json={})).status_code == 404
    assert compared.status_code == 200, compared.text
    assert (compared.json()["equalUntil"], compared.json()["days"]) == (None, [])
    assert conflict.status_code == 409
    async with api.client("viewer") as client:
        (standing,) = (await client.get("/reconciliation")).json()["data"]
        assert (standing["name"], standing["differenceMicros"]) == ("acme", 0)
        assert (await client.get("/admin-keys")).status_code == 403
