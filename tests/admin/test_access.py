"""Who is let in, by what, from where; and what is told to whoever is not."""

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from relay.admin.document import BASE
from relay.store import name

from ..e2e.conftest import BODY
from .conftest import Api, api_running

FILTER = Path(__file__).parents[2] / "appliance/fail2ban/filter.d/relay.conf"


def counted_by_fail2ban() -> list[str]:
    """The patterns of lines that fail2ban counts, with any address in the place of <HOST>."""
    found = re.findall(r"^(?:failregex =)?\s+(\^.*)$", FILTER.read_text(), re.MULTILINE)
    assert len(found) >= 3
    return [one.replace("<HOST>", r"(?P<host>\S+)") for one in found]


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def test_a_key_of_the_relay_opens_nothing_here_and_a_token_no_model(api: Api):
    async with api.client("", **bearer(api.relay.key)) as client:
        assert (await client.get("/status")).status_code == 401
    for header in ({"x-api-key": api.tokens["admin"]}, bearer(api.tokens["admin"])):
        async with api.relay.client(headers=header) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 401
            assert (await client.get("/api/v1/usage")).status_code == 401
    assert not api.relay.sim.requests


async def test_no_key_may_look_like_a_token(api: Api):
    async with api.client() as client:
        response = await client.post("/keys", json={"name": "x", "keyPrefix": "sk-relay-admin-"})
        assert (response.status_code, response.json()["error"]["field"]) == (400, "keyPrefix")


@pytest.mark.parametrize(
    "header",
    [
        {}, bearer("."), bearer("sk-relay-admin-wrong"), {"authorization": "Basic YTpi"},
        {"x-api-key": "sk-relay-admin-wrong"},
    ],
)  # fmt: skip
async def test_whoever_shows_no_good_token_gets_401(api: Api, header: dict[str, str]):
    async with api.client("", **header) as client:
        response = await client.get("/keys")
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"
        assert response.json()["request_id"] == response.headers["request-id"]


async def test_two_tokens_in_one_request_are_none(api: Api):
    pair = [("authorization", f"Bearer {api.tokens[role]}") for role in ("admin", "viewer")]
    async with httpx.AsyncClient(trust_env=False, headers=pair) as client:
        assert (await client.get(f"{api.relay.url}{BASE}/keys")).status_code == 401


async def test_a_token_ends_when_it_should_and_when_it_is_deleted(api: Api):
    tokens = api.relay.ctx.tokens
    soon = datetime.now(UTC) + timedelta(days=1)
    made, text = await tokens.create("short", "viewer", soon)
    async with api.client("", **bearer(text)) as client:
        assert (await client.get("/status")).status_code == 200
        past = str(int((datetime.now(UTC).timestamp() - 1) * 1000))
        await api.relay.ctx.store._db.call("HSET", name("token", made.id), "expires_at", past)
        response = await client.get("/status")
        assert (response.status_code, "expired" in response.text) == (401, True)
    _, text = await tokens.create("other", "viewer")
    async with api.client("", **bearer(text)) as client:
        assert (await client.get("/status")).status_code == 200
        await tokens.delete("other")
        assert (await client.get("/status")).status_code == 401


async def test_only_a_hash_of_a_token_is_kept(api: Api):
    text = api.tokens["admin"]
    store = api.relay.ctx.store
    for token_id in await store.tokens.ids():
        assert text not in str(await store.tokens.read(token_id))
    made, _ = await api.relay.ctx.keys.create("like it")
    kept = await store.keys.read(made.id)
    assert await store.tokens.id_of_hash(kept["hash"]) is None


async def test_guessing_is_slowed_down_and_told_once_for_each_token(
    api: Api, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "relay.tokens")
    async with api.client("") as client:
        statuses = []
        for number in range(50):
            guess = bearer(f"sk-relay-admin-{number}")
            statuses.append((await client.get("/keys", headers=guess)).status_code)
        assert statuses == [401] * 20 + [429] * 30
        last = await client.get("/keys", headers=bearer("sk-relay-admin-0"))
        assert int(last.headers["retry-after"]) > 0
        # Who has a good one is not locked out by somebody at the same address.
        good = await client.get("/keys", headers=bearer(api.tokens["viewer"]))
        assert good.status_code == 200
    told = [one.getMessage() for one in caplog.records]
    assert told.count("address=127.0.0.1 showed an unknown admin token") == 40
    assert not any("sk-relay-admin" in one for one in told)
    first = caplog.records[0]
    line = f"2027-01-01T00:00:00Z warning {first.name} {first.getMessage()}"
    assert any(re.search(one, line) for one in counted_by_fail2ban())


async def test_a_program_with_one_wrong_token_counts_once(
    api: Api, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "relay.tokens")
    async with api.client("", **bearer("sk-relay-admin-old")) as client:
        for _ in range(30):
            assert (await client.get("/keys")).status_code == 401
    assert len(caplog.records) == 1


async def test_no_token_is_taken_over_a_network_in_clear_text(redis_url: str, tmp_path: Path):
    async with api_running(redis_url, tmp_path, trusted_proxies=("127.0.0.1/32",)) as api:
        far = {"host": "relay.example.com", "x-forwarded-for": "203.0.113.7"}
        async with api.client("admin", **far) as client:
            response = await client.get("/keys")
            assert (response.status_code, "clear text" in response.text) == (403, True)
            tls = {"x-forwarded-proto": "https"}
            response = await client.get("/keys", headers=tls)
            assert response.status_code == 200
            assert "strict-transport-security" in response.headers
            changed = await client.post("/keys", json={"name": "far"}, headers=tls)
            assert changed.status_code == 201
        (entry,) = await api.relay.ctx.audit.newest(1)
        assert (entry.actor, entry.address) == ("token:a-admin", "203.0.113.7")


async def test_the_consoles_session_may_look_and_changes_with_its_token_alone(api: Api):
    users = api.relay.ctx.users
    token = await users.open_session(await users.find("admin"), "127.0.0.1", "test")
    session = await users.session(token)
    assert session
    async with api.client("") as client:
        client.cookies.set("relay", token)
        assert (await client.get("/keys")).status_code == 200
        assert (await client.post("/keys", json={"name": "x"})).status_code == 403
        wrong = await client.post("/keys", json={"name": "x"}, headers={"x-csrf-token": "wrong"})
        assert wrong.status_code == 403
        right = {"x-csrf-token": session.csrf}
        assert (await client.post("/keys", json={"name": "x"}, headers=right)).status_code == 201
        (entry,) = await api.relay.ctx.audit.newest(1)
        assert entry.actor == "user:admin"
        await users.sign_out_everywhere("admin")
        assert (await client.get("/keys")).status_code == 401


# The switches that console and API share.


@pytest.mark.parametrize("forwarded", ["10.8.0.7", "::ffff:10.8.0.7"])
async def test_both_are_open_to_the_addresses_of_the_list(
    redis_url: str, tmp_path: Path, forwarded: str
):
    async with api_running(
        redis_url, tmp_path, trusted_proxies=("127.0.0.1/32",), web_addresses=("10.8.0.0/24",)
    ) as api:
        inside = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https"}
        async with api.client("admin", **inside) as client:
            assert (await client.get("/status")).status_code == 200
            assert (await client.get(f"{api.relay.url}/web/sign-in")).status_code == 200


@pytest.mark.parametrize("forwarded", ["10.8.1.7", "2001:db8::1", "nonsense", ""])
async def test_both_are_closed_to_every_other_address(
    redis_url: str, tmp_path: Path, forwarded: str
):
    async with api_running(
        redis_url, tmp_path, trusted_proxies=("127.0.0.1/32",), web_addresses=("10.8.0.0/24",)
    ) as api:
        outside = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https"}
        async with api.client("admin", **outside) as client:
            for path in ("/web", "/web/sign-in", "/web/my", "/web/static/console.css",
                         f"{BASE}/status", f"{BASE}/openapi.json"):  # fmt: skip
                response = await client.get(api.relay.url + path)
                assert response.status_code == 403, path
                assert "web.allowedAddresses" in response.text
            assert (await client.get(f"{api.relay.url}/health")).status_code == 200
        async with api.relay.client(headers={**api.relay.headers, **outside}) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200


async def test_an_address_that_a_stranger_claims_is_not_believed(redis_url: str, tmp_path: Path):
    claim = {"x-forwarded-for": "10.8.0.7"}
    async with (
        api_running(redis_url, tmp_path, web_addresses=("10.8.0.0/24",)) as api,
        api.client("admin", **claim) as client,
    ):
        assert (await client.get("/status")).status_code == 403


async def test_both_can_be_switched_off(redis_url: str, tmp_path: Path):
    async with api_running(redis_url, tmp_path, web_enabled=False) as api:
        async with api.client() as client:
            for path in ("/web", "/web/sign-in", f"{BASE}/status", "/"):
                assert (await client.get(api.relay.url + path)).status_code == 404, path
        async with api.relay.client() as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200


async def test_a_path_that_only_looks_like_the_consoles_is_not_its_own(api: Api):
    async with api.client() as client:
        for path in ("/website", "/admin/apis", "/%77eb", "//web", "/admin/api"):
            raw = httpx.URL(api.relay.url).copy_with(raw_path=path.encode())
            response = await client.get(raw)
            assert (response.status_code, response.json()["type"]) == (404, "error"), path
