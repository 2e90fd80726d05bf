"""What people do on the command line and in the console, done by a program."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from relay import backup
from relay.settings import Secret, Webhook

from ..e2e.conftest import BODY
from .conftest import PASSWORD, Api, api_running

LIMITS = {
    "dailyLimit": 10, "monthlyLimit": 1000, "tokensPerMinute": 5000, "concurrency": 3,
    "concurrencyWait": 20, "rateLimitOverride": {"windowMs": 60_000, "maxRequests": 5},
    "budgets": {"daily": "2.5 soft", "total": "100 strict"}, "models": ["claude-*"],
    "clientRestrictions": ["claude_code"], "allowedIps": ["127.0.0.1", "10.0.0.0/8"],
    "accountGroups": ["paid"], "showAccount": True, "owner": "team", "tags": ["red", "blue"],
    "note": "of the <b>team</b>", "expiresAt": "2090-01-31T12:00:00Z",
}  # fmt: skip


async def test_the_status_names_models_that_retire_soon_and_who_uses_them(api: Api):
    ctx = api.relay.ctx
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    [account] = await ctx.accounts.list()
    listed = {"data": [{"id": BODY["model"], "retires_at": soon.isoformat()}]}
    await ctx.models.learn(account.id, json.dumps(listed).encode())
    async with api.relay.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200
    async with api.client("viewer") as client:
        (found,) = (await client.get("/status")).json()["retiring"]
    assert (found["model"], found["keys"]) == (BODY["model"], ["alice"])
    assert datetime.fromisoformat(found["retiresAt"]) == soon


async def test_a_key_is_made_with_every_limit_used_changed_rotated_and_deleted(api: Api):
    async with api.client("operator") as client:
        made = await client.post("/keys", json={"name": "bob", **LIMITS})
        assert made.status_code == 201
        told = made.json()
        text = told.pop("key")
        assert text.startswith("sk-relay-")
        assert {name: told[name] for name in LIMITS} == LIMITS
        assert (told["enabled"], told["keyPrefix"]) == (True, "sk-relay-")
        shown = (await client.get(f"/keys/{told['id']}")).json()
        assert shown == told
        # What is answered may be sent back as it is, and changes nothing.
        back = await client.patch("/keys/bob", json={name: shown[name] for name in LIMITS})
        assert back.json() == shown
        changed = await client.patch("/keys/bob", json={
            "name": "Bob/2", "rateLimitOverride": None, "expiresAt": None, "enabled": False,
            "budgets": {"weekly": 7.25}, "budgetMode": "strict", "clientRestrictions": [],
        })  # fmt: skip
        after = changed.json()
        assert (after["name"], after["rateLimitOverride"], after["expiresAt"]) == (
            "Bob/2", None, None,
        )  # fmt: skip
        assert (after["enabled"], after["budgets"], after["dailyLimit"]) == (
            False, {"weekly": "7.25 strict"}, 10,
        )  # fmt: skip
        assert (await client.get("/keys/Bob%2F2")).json() == after
        rotated = await client.post("/keys/Bob%2F2/rotate", json={"graceSeconds": 0})
        assert rotated.json()["key"] != text
        assert (await client.delete(f"/keys/{told['id']}")).status_code == 204
        assert [one["name"] for one in (await client.get("/keys")).json()["data"]] == ["alice"]
    actions = [(one.action, one.actor) for one in await api.relay.ctx.audit.newest(5)]
    assert actions == [
        (f"key.{word}", "token:a-operator")
        for word in ("delete", "rotate", "edit", "edit", "create")
    ]


async def test_a_new_key_opens_the_api_of_claude(api: Api):
    async with api.client() as client:
        key = (await client.post("/keys", json={"name": "bob"})).json()["key"]
        disabled = (await client.post("/keys", json={"name": "off", "enabled": False})).json()
    for text, status in ((key, 200), (disabled["key"], 401)):
        async with api.relay.client(headers={"x-api-key": text}) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == status
    await api.relay.settled()


async def test_a_list_is_read_part_by_part_and_searched(api: Api):
    async with api.client() as client:
        for number in range(5):
            body = {"name": f"key-{number}", "tags": ["odd" if number % 2 else "even"]}
            assert (await client.post("/keys", json=body)).status_code == 201
        names, after = [], ""
        while after is not None:
            part = (await client.get("/keys", params={"limit": 2, "after": after})).json()
            names += [one["name"] for one in part["data"]]
            after = part["next"]
        assert names == ["alice", *(f"key-{number}" for number in range(5))]
        for query, count in (("tag=even", 3), ("q=KEY-4", 1), ("owner=x", 0), ("enabled=false", 0)):
            assert len((await client.get(f"/keys?{query}")).json()["data"]) == count, query


async def test_what_a_key_used_of_its_limits_is_told(api: Api):
    async with api.client() as client:
        await client.put("/owners/team", json={"budgets": {"monthly": 50}})
        limits = {"owner": "team", "dailyLimit": 5, "budgets": {"daily": 1}}
        await client.patch("/keys/alice", json=limits)
        async with api.relay.client() as user:
            assert (await user.post("/v1/messages", json=BODY)).status_code == 200
        await api.relay.settled()
        used = (await client.get("/keys/alice/used")).json()
        assert (used["limits"]["daily"]["limit"], used["limits"]["daily"]["used"]) == (5, 1)
        spent = {(one["whose"], one["period"]): one["usedMicros"] for one in used["budgets"]}
        assert spent.keys() == {("key", "daily"), ("owner", "monthly")}
        assert spent["key", "daily"] == spent["owner", "monthly"] > 0
        owner = (await client.get("/owners/team")).json()
        assert owner["budgets"] == {"monthly": "50 soft"}
        assert owner["used"][0]["usedMicros"] == spent["key", "daily"]
        assert (await client.put("/owners/team", json={})).json()["budgets"] == {}
        assert [one["name"] for one in (await client.get("/owners")).json()["data"]] == ["team"]


async def test_an_account_is_added_changed_tested_reset_and_removed(api: Api):
    secret = "second-secret"
    async with api.client("operator") as client:
        made = await client.post("/accounts", json={
            "name": "two", "secret": secret, "baseUrl": api.relay.sim.base_url, "priority": 10,
            "models": ["claude-*"], "modelMap": {"fast": "claude-haiku-4-5"}, "groups": ["paid"],
            "budgets": {"daily": 5}, "email": "ops@example.com", "enabled": False,
        })  # fmt: skip
        assert made.status_code == 201
        told = made.json()
        assert (told["state"], told["enabled"], told["priority"]) == ("disabled", False, 10)
        assert (told["modelMap"], told["budgets"]) == (
            {"fast": "claude-haiku-4-5"}, {"daily": "5 soft"},
        )  # fmt: skip
        assert secret not in made.text
        changed = await client.patch("/accounts/two", json={
            "enabled": True, "proxy": "direct", "weight": 3, "budgets": told["budgets"],
        })  # fmt: skip
        after = changed.json()
        assert (after["state"], after["proxy"], after["weight"], after["models"]) == (
            "ok", "direct", 3, ["claude-*"],
        )  # fmt: skip
        assert after["budgets"] == {"daily": "5 soft"}
        assert (await client.post("/accounts/two/test")).json()["ok"] is True
        await client.patch("/accounts/two", json={"secret": "wrong"})
        tested = (await client.post("/accounts/two/test")).json()
        assert (tested["ok"], tested["status"]) == (False, 401)
        assert (await client.post("/accounts/two/reset")).json()["state"] == "ok"
        assert (await client.get("/accounts/two/changes")).status_code == 200
        assert (await client.delete("/accounts/two?patience=0")).status_code == 204
        names = [one["name"] for one in (await client.get("/accounts")).json()["data"]]
        assert names == ["main"]
    async with api.client() as client:
        assert "wrong" not in (await client.get("/audit")).text


async def test_an_account_that_cannot_be_reached_is_told_so(api: Api):
    async with api.client() as client:
        body = {"name": "far", "secret": "s", "baseUrl": "http://127.0.0.1:9"}
        await client.post("/accounts", json=body)
        tested = (await client.post("/accounts/far/test")).json()
        assert (tested["ok"], tested["status"]) == (False, None)
        assert tested["message"]


async def test_requests_are_found_and_why_they_went_there(api: Api):
    ids = []
    async with api.relay.client() as user:
        for model in ("claude-opus-5", "claude-haiku-4-5", "claude-opus-5"):
            sent = await user.post("/v1/messages", json={**BODY, "model": model})
            ids.append(sent.headers["request-id"])
    await api.relay.settled()
    async with api.client("viewer") as client:
        part = (await client.get("/requests?limit=2")).json()
        assert [one["requestId"] for one in part["data"]] == ids[:0:-1]
        rest = (await client.get("/requests", params={"after": part["next"]})).json()
        assert ([one["requestId"] for one in rest["data"]], rest["next"]) == ([ids[0]], None)
        opus = (await client.get("/requests?model=opus&key=alice&status=200")).json()["data"]
        assert [one["requestId"] for one in opus] == [ids[2], ids[0]]
        assert opus[0]["costMicros"] == sum(one["costMicros"] for one in opus[0]["attempts"]) > 0
        assert (await client.get("/requests?failed=true")).json()["data"] == []
        assert (await client.get("/requests?until=1970-01-01")).json()["data"] == []
        assert (await client.get("/requests?since=99999d")).status_code == 200
        shown = (await client.get(f"/requests/{ids[1]}")).json()
        assert shown["request"]["model"] == "claude-haiku-4-5"
        assert shown["decision"]["chosen"] == "main"


async def test_usage_is_told_by_any_dimension_and_as_a_file(api: Api):
    async with api.relay.client() as user:
        await user.post("/v1/messages", json=BODY)
    await api.relay.settled()
    async with api.client("viewer") as client:
        told = (await client.get("/usage?by=key&by=day&since=7d")).json()
        (row,) = told["rows"]
        assert (row["keyName"], row["day"]) == ("alice", f"{datetime.now(UTC):%Y-%m-%d}")
        assert "model" not in row
        assert row["counters"]["requests"] == told["total"]["requests"] == 1
        assert row["counters"]["costMicros"] > 0
        (line,) = csv.DictReader(io.StringIO((await client.get("/usage.csv?by=key")).text))
        assert (line["key_name"], line["requests"]) == ("alice", "1")
        none = (await client.get("/usage?key=key_gone&model=x*")).json()
        assert none["rows"] == []
        today = (await client.get(f"/reports/{datetime.now(UTC):%Y-%m-%d}")).json()
        assert (today["totalRequests"], today["uniqueUsers"]) == (1, 1)
        assert (await client.get("/reports")).json() == {"data": [], "next": None}
        assert (await client.get("/reports/2000-01-01")).status_code == 404
    async with api.client() as client:
        assert (await client.get("/usage/verify")).json()["count"] == 0
        wrong = await client.post("/usage/reprice", json={"since": "7d"})
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "since")
        since = {"since": f"{datetime.now(UTC):%Y-%m-%d}"}
        made = (await client.post("/usage/reprice", json={**since, "dryRun": True})).json()
        assert (made["records"], made["refused"], made["isCut"]) == (0, {}, False)


async def test_users_and_their_sessions_are_managed(api: Api):
    users = api.relay.ctx.users
    async with api.client() as client:
        made = await client.post("/users", json={"name": "kim", "password": PASSWORD})
        assert (made.status_code, made.json()["role"]) == (201, "viewer")
        assert PASSWORD not in made.text
        token = await users.open_session(await users.find("kim"), "127.0.0.1", "browser")
        (session,) = (await client.get("/users/kim/sessions")).json()["data"]
        assert (session["agent"], token in json.dumps(session)) == ("browser", False)
        assert (await client.get("/sessions")).json()["data"] == [session]
        assert (await client.delete(f"/users/kim/sessions/{session['id']}")).status_code == 204
        assert await users.session(token) is None
        token = await users.open_session(await users.find("kim"), "127.0.0.1", "browser")
        body = {"role": "operator", "password": "another password"}
        assert (await client.patch("/users/kim", json=body)).json()["role"] == "operator"
        assert await users.session(token) is None
        await users.sign_in("kim", "another password", "", "127.0.0.1")
        assert (await client.delete("/users/kim/second-factor")).status_code == 204
        off = await client.patch("/users/kim", json={"enabled": False})
        assert off.json()["enabled"] is False
        assert (await client.delete("/users/kim")).status_code == 204
        assert [one["name"] for one in (await client.get("/users")).json()["data"]] == ["admin"]


async def test_a_token_makes_another_one_and_its_text_is_told_once(api: Api):
    async with api.client() as client:
        body = {"name": "ci", "role": "viewer", "expiresAt": "2090-01-01T00:00:00Z"}
        made = await client.post("/tokens", json=body)
        assert made.status_code == 201
        text = made.json()["token"]
        assert re.fullmatch(r"sk-relay-admin-\w{43}", text)
        listed = await client.get("/tokens")
        assert text not in listed.text
        assert [one["name"] for one in listed.json()["data"]][-1] == "ci"
        async with api.client("", authorization=f"Bearer {text}") as other:
            assert (await other.get("/status")).status_code == 200
            assert (await other.get("/users")).status_code == 403
        (used,) = (one for one in (await client.get("/tokens")).json()["data"]
                   if one["name"] == "ci")  # fmt: skip
        assert used["usedAt"]
        assert text not in (await client.get("/audit")).text


async def test_a_newer_price_table_is_taken_whole_or_not_at_all(api: Api):
    text = (files("relay.pricing") / "prices.toml").read_text()
    text = text.replace('version = "2026-11-28"', 'version = "2099-01-01"')
    async with api.client() as client:
        refused = await client.put("/prices", json={"table": text})
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "signature")
        wrong = {"table": text.replace('output = "50"', 'output = "-50"'), "unsigned": True}
        refused = await client.put("/prices", json=wrong)
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "table")
        taken = await client.put("/prices", json={"table": text, "unsigned": True})
        assert taken.json() == {
            "version": "2099-01-01", "before": "2026-11-28", "isSigned": False, "priced": {},
        }  # fmt: skip
        assert api.relay.ctx.prices.version == "2099-01-01"
        rows = (await client.get("/prices?at=2026-10-06")).json()["data"]
        (sonnet,) = [one for one in rows if one["name"] == "Sonnet 5.5"]
        assert (sonnet["cacheRead"], sonnet["since"]) == ("0.2", "")
        assert (await client.get("/prices?at=monday")).json()["error"]["field"] == "at"


async def test_the_whole_is_told_and_no_secret_among_it(api: Api):
    async with api.client() as client:
        status = (await client.get("/status")).json()
        assert (status["accountsServing"], status["keys"], status["openRequests"]) == (1, 1, 0)
        settings = await client.get("/settings?limit=500")
        by_name = {one["name"]: one for one in settings.json()["data"]}
        assert by_name["JWT_SECRET"]["value"] == "***"
        assert api.relay.ctx.settings.jwt_secret.reveal() not in settings.text
        assert by_name["redis.url"]["where"] == "The environment"
        prices = (await client.get("/prices")).json()["data"]
        assert all(re.fullmatch(r"[\d.E+-]+", one["input"]) for one in prices)
        clients = (await client.get("/clients")).json()["data"]
        assert {"claude_code", "gemini_cli"} <= {one["id"] for one in clients}
        assert (await client.post("/encryption/rotate")).json() == {"secrets": 0}


async def test_the_audit_is_read_verified_and_downloaded(api: Api):
    async with api.client() as client:
        for number in range(3):
            await client.patch("/keys/alice", json={"note": f"{number}"})
        part = (await client.get("/audit?limit=2")).json()
        assert [one["after"]["note"] for one in part["data"]] == ["2", "1"]
        rest = (await client.get("/audit", params={"limit": 2, "after": part["next"]})).json()
        assert rest["data"][0]["after"]["note"] == "0"
        verdict = (await client.get("/audit/verify")).json()
        lines = (await client.get("/audit/download")).text.splitlines()
        assert (verdict["fault"], verdict["entries"]) == (None, len(lines))
        assert json.loads(lines[0])["action"] == "key.edit"


async def test_webhooks_are_tested_and_what_they_did_not_get_is_sent_again(
    redis_url: str, tmp_path: Path
):
    webhook = Webhook(
        id="hook", name="ops", url=Secret("http://127.0.0.1:9/x?token=hidden"),
        shown="http://127.0.0.1:9", allow_private=True,
    )  # fmt: skip
    async with (
        api_running(redis_url, tmp_path, webhooks=(webhook,)) as api,
        api.client() as client,
    ):
        (told,) = (await client.get("/webhooks")).json()["data"]
        assert (told["name"], told["signed"], told["dead"]) == ("ops", False, 0)
        tested = (await client.post("/webhooks/ops/test")).json()
        assert (tested["ok"], bool(tested["error"])) == (False, True)
        log = await client.get("/webhooks/ops/deliveries")
        assert [one["event"] for one in log.json()["data"]] == ["test"]
        assert "hidden" not in log.text + (await client.get("/webhooks")).text
        assert (await client.get("/webhooks/hook/dead")).json()["data"] == []
        assert (await client.post("/webhooks/ops/retry")).json() == {"count": 0}


@pytest.mark.slow
async def test_a_backup_is_made_tried_out_and_listed(own_redis, tmp_path: Path):
    async with api_running(own_redis.url, tmp_path / "home") as api, api.client() as client:
        refused = await client.post("/backups")
        assert refused.status_code == 409
        backup.make_identities(api.relay.ctx.settings)
        made = await client.post("/backups")
        assert (made.status_code, made.json()["keys"]) == (201, 1)
        drilled = (await client.post("/backups/drill")).json()
        assert drilled["file"] == made.json()["file"]
        (listed,) = (await client.get("/backups")).json()["data"]
        assert (listed["file"], listed["keys"]) == (drilled["file"], None)
        assert (await client.get("/audit?limit=1")).json()["data"][0]["action"] == "backup.drill"
