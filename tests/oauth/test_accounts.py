"""Accounts that sign in, through a whole relay, at an OAuth server that we did not write."""

import base64
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from relay import oauth
from relay.accounts import AccountProblem
from relay.store import name

from ..e2e.conftest import BODY, Running, redis_process, redis_url, relay_running
from ..e2e.test_pool import two_relays
from .conftest import OAuthServer

__all__ = ["redis_process", "redis_url"]

pytestmark = pytest.mark.npm

# Three parts of base64, as every identity token; the server looks no closer.
IDENTITY = ".".join(
    base64.urlsafe_b64encode(part).rstrip(b"=").decode()
    for part in (b'{"alg":"none"}', b'{"sub":"a-workload"}', b"signature")
)


def by(server: OAuthServer) -> dict[str, object]:
    """The settings of a relay that signs in at `server`."""
    return {
        "oauth_client_id": "the-relay",
        "oauth_authorize_url": f"{server.url}/authorize",
        "oauth_token_url": server.token_url,
        "oauth_redirect_uri": "http://127.0.0.1:1/auth/claude/callback",
    }


@pytest.fixture
async def relay(
    redis_url: str, tmp_path: Path, oauth_server: OAuthServer
) -> AsyncIterator[Running]:
    """A relay with one account, `gateway`, that is not signed in yet."""
    async with relay_running(
        redis_url, tmp_path, api_keys=None, identity_token_folders=(tmp_path,), **by(oauth_server)
    ) as running:
        await only_gateway(running)
        yield running


async def only_gateway(relay: Running) -> None:
    await relay.ctx.accounts.remove("main")
    await relay.ctx.accounts.add("gateway", kind="oauth", base_url=relay.sim.base_url)


async def sign_in(relay: Running, server: OAuthServer) -> None:
    begun = await relay.ctx.signins.begin("gateway")
    back = await trio.to_thread.run_sync(server.sent_back, begun.url)
    await relay.ctx.signins.finish(begun.state, oauth.code_in(back, begun.state))


async def ask(relay: Running) -> httpx.Response:
    async with relay.client() as client:
        headers = {"x-claude-code-session-id": uuid.uuid4().hex}
        return await client.post("/v1/messages", json=BODY, headers=headers)


async def fields(relay: Running) -> dict[str, str]:
    account = await relay.ctx.accounts.find("gateway")
    return await relay.ctx.accounts.fields(account.id)


async def token_is_due(relay: Running) -> None:
    account = await relay.ctx.accounts.find("gateway")
    await relay.ctx.store._db.call("HSET", name("account", account.id), "token_renew_at", 1)


def renewals(server: OAuthServer) -> int:
    return sum(one["body"]["grant_type"] == "refresh_token" for one in server.requests())


async def test_an_account_that_is_not_signed_in_serves_nobody(relay: Running):
    answer = await ask(relay)
    assert answer.status_code == 503
    assert "Invalid session key or expired" in answer.json()["error"]["message"]


async def test_a_person_signs_in_in_the_browser(relay: Running, oauth_server: OAuthServer):
    begun = await relay.ctx.signins.begin("gateway")
    back = await trio.to_thread.run_sync(oauth_server.sent_back, begun.url)
    async with relay.client() as browser:
        page = await browser.get(back.replace("http://127.0.0.1:1", relay.url))
        assert (page.status_code, "gateway is ready" in page.text) == (200, True)
        again = await browser.get(back.replace("http://127.0.0.1:1", relay.url))
        assert (again.status_code, "Nobody waits" in again.text) == (400, True)
    assert (await relay.ctx.accounts.find("gateway")).state == "ok"
    assert (await ask(relay)).status_code == 200
    assert str(relay.sim.requests[-1].header("authorization")).startswith("Bearer ey")


async def test_a_code_may_be_pasted_on_a_headless_server(relay: Running, oauth_server: OAuthServer):
    await sign_in(relay, oauth_server)
    assert (await ask(relay)).status_code == 200


@pytest.mark.parametrize(
    "query", ["", "state=x", "state=x&code=y", "state=x&error=<script>alert(1)</script>"]
)
async def test_a_stranger_at_the_callback_gets_a_sentence(relay: Running, query: str):
    async with relay.client() as browser:
        page = await browser.get(f"/auth/claude/callback?{query}")
    assert page.status_code == 400
    assert "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_code_of_another_sign_in_is_refused(relay: Running, oauth_server: OAuthServer):
    begun = await relay.ctx.signins.begin("gateway")
    other = await relay.ctx.signins.begin("gateway")
    back = await trio.to_thread.run_sync(oauth_server.sent_back, begun.url)
    with pytest.raises(oauth.OAuthProblem, match="another sign-in"):
        oauth.code_in(back, other.state)
    with pytest.raises(AccountProblem, match="Nobody waits"):
        await relay.ctx.signins.finish("unknown", "code")


async def test_two_relays_renew_a_token_once(
    redis_url: str, tmp_path: Path, oauth_server: OAuthServer
):
    async with two_relays(redis_url, tmp_path, api_keys=None, **by(oauth_server)) as (one, two):
        await only_gateway(one)
        await sign_in(one, oauth_server)
        before, done = await fields(one), renewals(oauth_server)
        await token_is_due(one)
        async with trio.open_nursery() as nursery:
            for relay in (one, two) * 4:
                nursery.start_soon(relay.ctx.signins.renew_due)
        after = await fields(one)
        assert renewals(oauth_server) == done + 1
        assert after["secret"] != before["secret"]
        for relay in (one, two):
            assert (await ask(relay)).status_code == 200


async def test_a_token_is_renewed_five_minutes_before_its_end(
    relay: Running, oauth_server: OAuthServer
):
    await sign_in(relay, oauth_server)
    kept = await fields(relay)
    assert int(kept["token_until"]) - int(kept["token_renew_at"]) == 300_000


async def test_the_renewed_token_is_used_by_the_next_request(
    relay: Running, oauth_server: OAuthServer
):
    await sign_in(relay, oauth_server)
    await ask(relay)
    await token_is_due(relay)
    body = {"access_token": "the-next-one", "expires_in": 3600}
    await trio.to_thread.run_sync(lambda: oauth_server.change_next(body=body))
    await relay.ctx.signins.renew_due()
    await ask(relay)
    assert relay.sim.requests[-1].header("authorization") == "Bearer the-next-one"


async def test_a_refused_renewal_marks_the_account_and_alerts_once(
    relay: Running, oauth_server: OAuthServer
):
    await sign_in(relay, oauth_server)
    done = renewals(oauth_server)
    await trio.to_thread.run_sync(
        lambda: oauth_server.change_next(status=400, body={"error": "invalid_grant"})
    )
    for _ in range(3):
        await relay.ctx.signins.renew_due()
        await token_is_due(relay) if renewals(oauth_server) == done else None
    account = await relay.ctx.accounts.find("gateway")
    assert (account.state, "invalid_grant" in account.reason) == ("expired", True)
    assert account.advice == "Sign in: `relay oauth login gateway`."
    assert renewals(oauth_server) == done + 1
    alerts = [one["state"] for one in await relay.ctx.store.alerts.newest(10)]
    assert alerts.count("expired") == 1
    await sign_in(relay, oauth_server)
    assert (await ask(relay)).status_code == 200


async def test_a_renewal_that_fails_for_a_moment_is_tried_again(
    relay: Running, oauth_server: OAuthServer
):
    await sign_in(relay, oauth_server)
    await token_is_due(relay)
    await trio.to_thread.run_sync(lambda: oauth_server.change_next(status=500, body={}))
    before = (await fields(relay))["token"]
    await relay.ctx.signins.renew_due()
    kept = await fields(relay)
    assert (kept["token"], kept.get("state")) == (before, None)


async def test_a_federated_account_gets_its_tokens_by_itself(
    relay: Running, oauth_server: OAuthServer, tmp_path: Path
):
    file = tmp_path / "identity-token"
    file.write_text(IDENTITY + "\n")
    await relay.ctx.accounts.add(
        "cloud",
        kind="federation",
        base_url=oauth_server.url,
        options={
            "federation_rule_id": "fdrl_1",
            "organization_id": "org_1",
            "identity_token_file": str(file),
        },
    )
    await relay.ctx.signins.renew_due()
    assert (await relay.ctx.accounts.find("cloud")).state == "ok"
    asked = oauth_server.requests()[-1]
    assert asked["body"]["assertion"] == IDENTITY
    assert asked["body"]["federation_rule_id"] == "fdrl_1"
    # The token comes from the API itself; here API and OAuth server are two.
    found = await relay.ctx.accounts.find("cloud")
    await relay.ctx.store.accounts.change(found.id, {"base_url": relay.sim.base_url})
    async with relay.client() as client:
        answer = await client.post(
            "/v1/messages", json=BODY, headers={"anthropic-beta": "one-thing"}
        )
    assert answer.status_code == 200
    sent = relay.sim.requests[-1]
    assert sent.header("anthropic-beta") == "one-thing,oauth-2025-04-20"
    assert str(sent.header("authorization")).startswith("Bearer ey")


async def test_a_federations_file_that_is_away_is_said_and_tried_again(
    relay: Running, oauth_server: OAuthServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    options = {
        "federation_rule_id": "fdrl_1",
        "organization_id": "org_1",
        "identity_token_file": str(tmp_path / "nothing"),
    }
    await relay.ctx.accounts.add(
        "cloud", kind="federation", base_url=oauth_server.url, options=options
    )
    await relay.ctx.signins.renew_due()
    assert "identity token file cannot be read: No such file" in caplog.text
    (tmp_path / "nothing").write_text(IDENTITY)
    await relay.ctx.signins.renew_due()
    assert (await relay.ctx.accounts.find("cloud")).state == "ok"
