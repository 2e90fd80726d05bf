"""What is wrong is named with its field, and refused before anything was done."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from relay.store import name

from ..e2e.conftest import SOON_S
from ..store.conftest import RedisProcess
from .conftest import Api, api_running

WRONG = (
    ("POST", "/keys", {}, "name"),
    ("POST", "/keys", {"name": "alice"}, "name"),
    ("POST", "/keys", {"name": "x\ny"}, "name"),
    ("POST", "/keys", {"name": "x", "budget": {"daily": 5}}, "budget"),
    ("POST", "/keys", {"name": "x", "budgets": {"hourly": 5}}, "budgets.hourly"),
    ("POST", "/keys", {"name": "x", "budgets": {"daily": "much"}}, "budgets"),
    ("POST", "/keys", {"name": "x", "budgets": {"daily": "1E+999999"}}, "budgets"),
    ("POST", "/keys", {"name": "x", "budgets": {"daily": "5 loose"}}, "budgets"),
    ("POST", "/keys", {"name": "x", "budgetMode": "soft"}, "budgetMode"),
    ("POST", "/keys", {"name": "x", "dailyLimit": "10"}, "dailyLimit"),
    ("POST", "/keys", {"name": "x", "dailyLimit": -1}, "dailyLimit"),
    ("POST", "/keys", {"name": "x", "rateLimitOverride": {"windowMs": 1500, "maxRequests": 1}},
     "rateLimitOverride.windowMs"),
    ("POST", "/keys", {"name": "x", "rateLimitOverride": {"windowMs": 1000}},
     "rateLimitOverride.maxRequests"),
    ("POST", "/keys", {"name": "x", "expiresAt": "tomorrow"}, "expiresAt"),
    ("POST", "/keys", {"name": "x", "expiresAt": "2027-01-01T00:00:00"}, "expiresAt"),
    ("POST", "/keys", {"name": "x", "expiresAt": "9999-12-31T23:59:59-14:00"}, "expiresAt"),
    ("POST", "/keys", {"name": "x", "expiresAt": "0001-01-01T00:00:00+14:00"}, "expiresAt"),
    ("POST", "/keys", {"name": "x", "allowedIps": ["300.1.1.1"]}, "allowedIps"),
    ("POST", "/keys", {"name": "x", "clientRestrictions": ["no_such"]}, "clientRestrictions"),
    ("POST", "/keys", {"name": "x", "models": ["[a]"]}, "models"),
    ("POST", "/keys", {"name": "x", "tags": ["two words"]}, "tags[0]"),
    ("POST", "/accounts", {"name": "main", "secret": "s"}, "name"),
    ("POST", "/accounts", {"name": "x"}, "secret"),
    ("POST", "/accounts", {"name": "x", "kind": "oauth"}, "baseUrl"),
    ("POST", "/accounts", {"name": "x", "kind": "oauth", "secret": "s"}, "secret"),
    ("POST", "/accounts", {"name": "x", "kind": "federation"}, "options"),
    ("POST", "/accounts", {"name": "x", "secret": "s", "baseUrl": "ftp://x"}, "baseUrl"),
    ("POST", "/accounts", {"name": "x", "secret": "s", "proxy": "ftp://x"}, "proxy"),
    ("POST", "/accounts", {"name": "x", "secret": "s", "models": ["[a]"]}, "models"),
    ("POST", "/accounts", {"name": "x", "secret": "sk-ant-oat01-x"}, "secret"),
    ("POST", "/accounts", {"name": "x", "secret": "s", "options": {"else": "x"}}, "options.else"),
    ("POST", "/users", {"name": "x", "password": "short"}, "password"),
    ("POST", "/users", {"name": "admin", "password": "long enough"}, "name"),
    ("POST", "/users", {"name": "x", "password": "long enough", "role": "owner"}, "role"),
    ("POST", "/tokens", {"name": "x"}, "expiresAt"),
    ("POST", "/tokens", {"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
    ("POST", "/tokens", {"name": "a-admin", "expiresAt": None}, "name"),
    ("PUT", "/owners/two%20words", {}, "owner"),
    ("PUT", "/owners/team", {"budgets": {"daily": -1}}, "budgets"),
    ("GET", "/keys?limit=0", None, "limit"),
    ("GET", "/keys?limit=1&limit=2", None, "limit"),
    ("GET", "/keys?colour=red", None, "colour"),
    ("GET", "/keys?after=key_none", None, "after"),
    ("GET", "/audit?after=0-0", None, "after"),
    ("GET", "/audit?after=1-2-3", None, "after"),
    ("GET", "/requests?after=0-0", None, "after"),
    ("GET", "/requests?since=whenever", None, "since"),
    ("GET", "/usage?by=colour", None, "by[0]"),
    ("GET", "/usage?since=2026-01-02&until=2026-01-01", None, "since"),
    ("GET", "/reports/yesterday", None, "date"),
    ("GET", "/reports/20261123", None, "date"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "field"), WRONG, ids=str)
async def test_what_is_wrong_is_named(api: Api, method: str, path: str, body: object, field: str):
    before = await api.relay.ctx.audit.newest(1)
    async with api.client() as client:
        response = await client.request(method, path, json=body)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert (error["type"], error["field"]) == ("invalid_request_error", field), error
        assert error["message"]
    assert await api.relay.ctx.audit.newest(1) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000, b'"name"'],
    ids=["empty", "list", "null", "cut", "bytes", "surrogate", "deep", "text"],
)
async def test_a_body_that_is_no_object_is_refused(api: Api, content: bytes):
    async with api.client() as client:
        assert (await client.post("/keys", content=content)).status_code == 400


async def test_a_body_that_is_too_large_is_refused(api: Api):
    async with api.client() as client:
        note = "x" * (1024 * 1024)
        assert (await client.post("/keys", json={"name": "x", "note": note})).status_code == 413
        packed = await client.post("/keys", content=b"x", headers={"content-encoding": "gzip"})
        assert packed.status_code == 400


@pytest.mark.parametrize("path", ["/keys/nobody", "/accounts/none", "/users/none", "/owners/none",
                                  "/webhooks/none/dead", "/requests/req_none"])  # fmt: skip
async def test_what_there_is_not_is_404(api: Api, path: str):
    async with api.client() as client:
        response = await client.get(path)
        assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


async def test_what_is_deleted_twice_is_as_good_as_once(api: Api):
    (key,) = await api.relay.ctx.keys.list()
    (account,) = await api.relay.ctx.accounts.list()
    token, _ = await api.relay.ctx.tokens.create("spare", "viewer")
    await api.relay.ctx.users.add("kim", "long enough", "viewer")
    async with api.client() as client:
        for path in (f"/keys/{key.id}", f"/accounts/{account.id}", f"/tokens/{token.id}",
                     "/users/kim"):  # fmt: skip
            for _ in range(2):
                response = await client.delete(path)
                assert (response.status_code, response.content) == (204, b"")


async def test_what_cannot_be_as_things_are_is_409(api: Api):
    (account,) = await api.relay.ctx.accounts.list()
    async with api.client() as client:
        for method, path, body in (
            ("DELETE", "/users/admin", None),
            ("PATCH", "/users/admin", {"role": "viewer"}),
            ("POST", f"/accounts/{account.id}/sign-in", None),
            ("POST", "/sign-ins/nobody-waits", {"code": "x"}),
            ("POST", "/backups/drill", None),
        ):
            response = await client.request(method, path, json=body)
            assert (response.status_code, response.json()["error"]["type"]) == (
                409, "conflict_error",
            ), response.text  # fmt: skip


async def test_a_method_that_a_path_does_not_take_is_told(api: Api):
    async with api.client() as client:
        response = await client.post("/keys/alice", json={})
        assert (response.status_code, response.headers["allow"]) == (405, "GET, PATCH, DELETE")


async def test_nobody_overwrites_what_somebody_else_changed_meanwhile(api: Api):
    async with api.client() as client:
        for path in ("/keys/alice", "/accounts/main"):
            read = await client.get(path)
            version = read.headers["etag"]
            assert version == f'"{read.json()["version"]}"'
            match = {"if-match": version}
            assert (await client.patch(path, json={"note": "one"}, headers=match)).is_success
            late = await client.patch(path, json={"note": "two"}, headers=match)
            assert late.status_code == 412
            assert (await client.get(path)).json()["note"] == "one"
            assert (await client.patch(path, json={"note": "three"})).is_success


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/keys/alice", "PATCH", {"dailyLimit": 0}),
        ("/keys/alice", "PATCH", {"enabled": False}),
        ("/accounts/main", "PATCH", {"weight": 0}),
        ("/accounts/main", "PATCH", {"enabled": False}),
        ("/owners/team", "PUT", {"budgets": {"daily": 0}}),
    ],
)
async def test_of_many_who_change_one_version_at_one_time_one_does(
    api: Api, path: str, method: str, body: dict[str, Any]
):
    await api.relay.ctx.owners.set("team", {"daily": "1"})
    statuses = []
    async with api.client() as client, trio.open_nursery() as nursery:
        match = {"if-match": (await client.get(path)).headers["etag"]}

        async def change(number: int) -> None:
            told = json.loads(json.dumps(body).replace("0", str(number)))
            response = await client.request(method, path, json=told, headers=match)
            statuses.append(response.status_code)

        for number in range(10, 20):
            nursery.start_soon(change, number)
    assert sorted(statuses) == [200] + [412] * 9


@pytest.mark.parametrize("path", ["/keys/alice", "/accounts/main"])
async def test_to_change_nothing_is_fine_in_the_newest_version_alone(api: Api, path: str):
    async with api.client() as client:
        match = {"if-match": (await client.get(path)).headers["etag"]}
        assert (await client.patch(path, json={}, headers=match)).status_code == 200
        assert (await client.patch(path, json={})).status_code == 200
        late = await client.patch(path, json={}, headers={"if-match": '"0"'})
        assert late.status_code == 412


async def test_another_write_to_an_account_is_no_change_of_its_settings(api: Api):
    (account,) = await api.relay.ctx.accounts.list()
    async with api.client() as client:
        match = {"if-match": (await client.get("/accounts/main")).headers["etag"]}
        await api.relay.ctx.store.accounts.change(account.id, {"token_renew_at": "1"})
        edited = await client.patch("/accounts/main", json={"note": "one"}, headers=match)
    assert edited.status_code == 200


async def test_a_change_goes_on_to_its_end_when_whoever_asked_has_gone(api: Api):
    ctx = api.relay.ctx
    (account,) = await ctx.accounts.list()
    running = name("inflight_account", account.id)
    await ctx.store._db.call("ZADD", running, 1, "lease_of_a_stream")
    async with api.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.delete(f"/accounts/{account.id}?patience=30", timeout=0.5)
    assert (await ctx.accounts.find(account.id)).enabled is False
    await ctx.store._db.call("ZREM", running, "lease_of_a_stream")
    with trio.fail_after(SOON_S):
        while await ctx.accounts.list():  # noqa: ASYNC110
            await trio.sleep(0.02)
        while (await ctx.audit.newest(1))[0].action != "account.remove":  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_without_redis_nothing_is_done_and_that_is_said(
    own_redis: RedisProcess, tmp_path: Path
):
    async with api_running(own_redis.url, tmp_path / "home") as api, api.client() as client:
        own_redis.kill()
        response = await client.post("/keys", json={"name": "bob"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
