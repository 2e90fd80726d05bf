"""What somebody would try who is not meant to be there."""

import dataclasses
import json
import re
from pathlib import Path

import httpx
import pytest

from relay import passwords, store
from relay.settings import Secret
from relay.web.routes import PUBLIC, ROUTES

from ..e2e.conftest import BODY, relay_running
from .conftest import PASSWORD, Console, Person

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


async def test_pages_have_headers_that_forbid_what_they_do_not_need(console: Console):
    async with console.person() as person:
        for path in ("/web/sign-in", "/web/nothing", "/web", "/web/my"):
            headers = (await person.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "same-origin"


async def test_no_page_holds_a_script_or_a_style_of_its_own(console: Console):
    async with console.signed_in() as person:
        for path in ("/web", "/web/keys", "/web/own", "/web/settings", "/web/requests"):
            page = (await person.get(path)).text
            assert not re.search(
                r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", page
            )


# Cross-site requests.


@pytest.mark.parametrize("token", ["", "wrong", None])
async def test_a_change_without_the_sessions_token_is_refused(console: Console, token: str | None):
    async with console.signed_in() as person:
        data = {"name": "bob"} | ({} if token is None else {"csrf": token})
        response = await person.client.post("/web/keys/new", data=data)
        assert response.status_code == 403
        assert [one.name for one in await console.relay.ctx.keys.list()] == ["alice"]


async def test_no_page_takes_a_form_without_the_sessions_token(console: Console):
    async with console.signed_in() as person:
        for route in ROUTES:
            if route.method == "POST" and route.role != PUBLIC:
                path = re.sub(r"<[^>]+>", "x", route.path)
                response = await person.client.post(path, data={"csrf": "wrong"})
                assert response.status_code == 403, route.name
        assert (await person.get("/web")).status_code == 200


async def test_one_persons_token_is_not_anothers(console: Console):
    async with console.signed_in() as admin, console.signed_in("operator") as other:
        response = await other.client.post("/web/keys/new", data={"name": "b", "csrf": admin.csrf})
        assert response.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_on_another_site_changes_nothing_and_signs_nobody_in(
    console: Console, headers: dict[str, str]
):
    async with console.signed_in() as person:
        data = {"name": "bob", "csrf": person.csrf}
        response = await person.client.post("/web/keys/new", data=data, headers=headers)
        assert response.status_code == 403
    async with console.person() as other:
        data = {"name": "admin", "password": PASSWORD}
        response = await other.client.post("/web/sign-in", data=data, headers=headers)
        assert response.status_code == 403
        assert "set-cookie" not in response.headers


async def test_nothing_is_changed_by_following_a_link(console: Console):
    async with console.signed_in() as person:
        (key,) = await console.relay.ctx.keys.list()
        for act in ("disable", "delete", "rotate"):
            assert (await person.get(f"/web/keys/{key.id}/{act}")).status_code == 405
        assert (await console.relay.ctx.keys.find("alice")).enabled


# Sessions.


async def test_a_session_that_was_given_to_a_person_is_not_the_one_they_get(console: Console):
    async with console.person() as person:
        given = {"cookie": "relay=chosen-by-an-attacker"}
        form = {"name": "admin", "password": PASSWORD}
        response = await person.client.post("/web/sign-in", data=form, headers=given)
        assert "chosen-by-an-attacker" not in response.headers["set-cookie"]
        assert await console.relay.ctx.users.session("chosen-by-an-attacker") is None
        before = dict(person.client.cookies)
        await person.sign_in()
        assert dict(person.client.cookies) != before
        async with httpx.AsyncClient(
            base_url=console.relay.url, cookies=before, trust_env=False
        ) as old:
            assert (await old.get("/web")).status_code == 303


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(console: Console):
    async with console.person() as person:
        response = await person.post("/web/sign-in", name="admin", password=PASSWORD)
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("relay=")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/" in cookie


async def test_behind_tls_the_cookie_is_secure_and_of_this_host_alone(
    redis_url: str, tmp_path: Path
):
    async with relay_running(
        redis_url, tmp_path, admin_password=Secret(PASSWORD), trusted_proxies=("127.0.0.1/32",)
    ) as running:
        headers = {
            "x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7",
            "host": "relay.example.com",
        }  # fmt: skip
        async with Console(running).person(**headers) as person:
            response = await person.post("/web/sign-in", name="admin", password=PASSWORD)
            cookie = response.headers["set-cookie"]
            assert cookie.startswith("__Host-relay=")
            assert "Secure" in cookie
            assert "strict-transport-security" in response.headers
        (session,) = await running.ctx.users.sessions("admin")
        assert session.address == "203.0.113.7"


async def test_nobody_signs_in_over_a_network_in_clear_text(redis_url: str, tmp_path: Path):
    async with relay_running(
        redis_url, tmp_path, admin_password=Secret(PASSWORD), trusted_proxies=("127.0.0.1/32",)
    ) as running:
        for headers in ({"host": "relay.example.com"}, {"x-forwarded-for": "203.0.113.7"}):
            async with Console(running).person(**headers) as person:
                assert 'type="password"' not in (await person.get("/web/sign-in")).text
                response = await person.post("/web/sign-in", name="admin", password=PASSWORD)
                assert (response.status_code, "set-cookie" in response.headers) == (403, False)
                response = await person.post("/web/my", key=running.key)
                assert (response.status_code, "alice" in response.text) == (403, False)


async def test_a_proxy_that_is_not_trusted_is_not_believed_about_tls(console: Console):
    async with console.person(**{"x-forwarded-proto": "https"}) as person:
        response = await person.post("/web/sign-in", name="admin", password=PASSWORD)
        assert response.headers["set-cookie"].startswith("relay=")


async def test_signing_out_ends_the_session_itself(console: Console):
    async with console.signed_in() as person:
        cookies = dict(person.client.cookies)
        await person.post("/web/sign-out")
        async with httpx.AsyncClient(
            base_url=console.relay.url, cookies=cookies, trust_env=False
        ) as old:
            assert (await old.get("/web")).headers["location"].startswith("/web/sign-in")


async def test_signing_out_everywhere_ends_every_session(console: Console):
    async with console.signed_in() as one, console.person() as two:
        await two.sign_in()
        page = await one.get("/web/own")
        assert page.text.count("</tr>") == 3
        await one.post("/web/own/sessions/close-all")
        for person in (one, two):
            assert (await person.get("/web")).status_code == 303


async def test_a_new_password_signs_the_others_out_and_needs_the_present_one(console: Console):
    async with console.signed_in() as one, console.person() as two:
        await two.sign_in()
        wrong = await one.post("/web/own/password", current="wrong", password="another password")
        assert wrong.status_code == 422
        done = await one.post("/web/own/password", current=PASSWORD, password="another password")
        assert done.status_code == 303
        assert (await one.get("/web")).status_code == 200
        assert (await two.get("/web")).status_code == 303


# The second factor.


async def test_a_second_factor_is_set_up_with_a_picture_and_asked_for(console: Console):
    async with console.signed_in() as person:
        assert (await person.post("/web/own/second-factor", current="wrong")).status_code == 422
        page = await person.post("/web/own/second-factor", current=PASSWORD)
        assert "<svg" in page.text
        secret = re.search(r'<code id="secret">(\w+)<', page.text)
        offer = re.search(r'name="offer" value="([^"]+)"', page.text)
        assert secret
        assert offer
        confirm = "/web/own/second-factor/confirm"
        wrong = await person.post(confirm, offer=offer[1], code="000000")
        assert wrong.status_code == 422
        right = passwords.totp_code(secret[1])
        codes = await person.post(confirm, offer=offer[1], code=right)
        listed = re.search(r'<pre id="codes"[^>]*>([^<]+)<', codes.text)
        assert listed
        recovery = listed[1].split()
        assert len(recovery) == 10
    async with console.person() as person:
        alone = await person.post("/web/sign-in", name="admin", password=PASSWORD)
        assert alone.status_code == 401
        await person.sign_in(code=recovery[0])


async def test_a_secret_that_the_relay_did_not_offer_to_this_session_is_refused(console: Console):
    async with console.signed_in("viewer") as other, console.signed_in() as person:
        page = await other.post("/web/own/second-factor", current=PASSWORD)
        offer = re.search(r'name="offer" value="([^"]+)"', page.text)
        secret = re.search(r'<code id="secret">(\w+)<', page.text)
        assert offer
        assert secret
        code = passwords.totp_code(secret[1])
        for given in (offer[1], secret[1], ""):
            refused = await person.post("/web/own/second-factor/confirm", offer=given, code=code)
            assert refused.status_code == 400
        assert not (await console.relay.ctx.users.find("admin")).has_second_factor


# Guessing.


async def test_guessing_is_slowed_and_the_page_says_by_how_much(console: Console):
    async with console.person() as person:
        for _ in range(5):
            wrong = await person.post("/web/sign-in", name="admin", password="wrong password")
            assert wrong.status_code == 401
        locked = await person.post("/web/sign-in", name="admin", password=PASSWORD)
        assert locked.status_code == 429
        assert 0 < int(locked.headers["retry-after"]) <= 30
        assert "Too many attempts" in locked.text


async def test_a_wrong_name_looks_like_a_wrong_password(console: Console):
    async with console.person() as person:

        async def seen(name: str) -> str:
            return (await person.post("/web/sign-in", name=name, password="wrong password")).text

        assert (await seen("admin")).replace("admin", "") == (await seen("nobody")).replace(
            "nobody", ""
        )


async def test_a_password_never_comes_back(console: Console):
    async with console.person() as person:
        for path in ("/web/sign-in", "/web/my"):
            page = await person.post(
                path, name="x", password="my-secret-word", key="my-secret-word"
            )
            assert "my-secret-word" not in page.text


# Redirects.


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/web//evil.example",
        "javascript:alert(1)", "/api/v1/models", "/webevil", "/web\r\nx: y", "\t//evil.example",
        "/web\\@evil.example",
    ],
)  # fmt: skip
async def test_nobody_is_sent_elsewhere(console: Console, target: str):
    async with console.person() as person:
        response = await person.post("/web/sign-in", name="admin", password=PASSWORD, next=target)
        assert response.headers["location"] == "/web"
        again = await person.client.get("/web/sign-in", params={"next": target})
        assert again.headers["location"] == "/web"


async def test_a_person_comes_to_the_page_that_they_wanted(console: Console):
    async with console.person() as person:
        asked = await person.get("/web/keys?q=al&state=enabled")
        page = await person.get(asked.headers["location"])
        wanted = re.search(r'name="next" value="([^"]+)"', page.text)
        assert wanted
        following = wanted[1].replace("&amp;", "&")
        response = await person.post(
            "/web/sign-in", name="admin", password=PASSWORD, next=following
        )
        assert response.headers["location"] == "/web/keys?q=al&state=enabled"


# Markup in whatever is stored.


async def fill_with_markup(console: Console, person: Person) -> None:
    """Markup in every field that takes it, by the console and by what clients send."""
    ctx = console.relay.ctx
    key, text = await ctx.keys.create(f"k {MARKUP}", note=MARKUP, models=["claude*", "<b>*"])
    await ctx.accounts.edit(
        "main", name=f"a {MARKUP}", note=MARKUP, model_map={"<i>x": "<i>y"}, email="<b>@example.com"
    )
    body = {**BODY, "model": "claude-<img src=x>", "metadata": {"user_id": MARKUP}}
    headers = {"x-api-key": text, "user-agent": MARKUP, "x-claude-code-session-id": MARKUP}
    async with console.relay.client(headers=headers) as client:
        await client.post("/v1/messages", json=body)
        await client.post("/v1/messages", json={**BODY, "model": "claude-<b>"})
    await console.relay.settled()
    (hook,) = ctx.settings.webhooks
    await ctx.alerts.add("report", MARKUP, MARKUP)
    await ctx.alerts.test(hook.id)
    dead = {"id": "1-1", "alert": json.dumps({"event": "report", "title": MARKUP, "at": "1"}),
            "tries": "7", "error": MARKUP, "at": "1"}  # fmt: skip
    await ctx.store.alerts._db.call("RPUSH", store.name("webhook_dead", hook.id), json.dumps(dead))
    finding = {"check": "certificate", "subject": MARKUP, "level": "critical", "text": MARKUP,
               "mend": f"`{MARKUP}`"}  # fmt: skip
    run = {"level": "critical", "time": "2026-01-02T03:04:05+00:00", "findings": [finding]}
    await ctx.store.upkeep.note_monitor("{}", json.dumps(run))
    report = {"date": "2026-01-02", "totalRequests": 1, "totalTokens": 9, "uniqueUsers": 3,
              "errorRate": 1, "cost": 2, "topModels": [{"model": MARKUP, "cost": 2}]}  # fmt: skip
    await ctx.store.usage.keep_report("2026-01-02", json.dumps(report), {})
    await ctx.accounts.set_enabled(f"a {MARKUP}", enabled=False)
    await ctx.accounts.set_enabled(f"a {MARKUP}", enabled=True)
    await person.post("/web/keys/new", name=f"2 {MARKUP}", note=MARKUP, owner=MARKUP)
    await person.post(f"/web/keys/{key.id}/edit", name=key.name, note=MARKUP, tags="x")


async def test_markup_in_stored_fields_stays_text_on_every_page(redis_url: str, tmp_path: Path):
    (tmp_path / "relay.toml").write_text(
        "[[webhooks]]\nname = 'ops'\nurl = 'http://127.0.0.1:9/x'\nallowPrivate = true\n"
        "[clients]\nown = '<b>|<img src=x>'\n"
    )
    async with relay_running(redis_url, tmp_path, admin_password=Secret(PASSWORD)) as running:
        await look_for_markup(Console(running))


async def look_for_markup(console: Console) -> None:
    async with console.person(**{"user-agent": MARKUP}) as person:
        await person.sign_in()
        await fill_with_markup(console, person)
        ctx = console.relay.ctx
        keys, accounts = await ctx.keys.list(), await ctx.accounts.list()
        rows = (await person.get("/web/requests")).text
        requests = re.findall(r"/web/requests/req_\w+", rows)
        assert requests
        paths = [
            "/web", "/web/keys", "/web/accounts", "/web/requests", "/web/audit", "/web/users",
            "/web/users/admin", "/web/own", "/web/settings", "/web/nothing<script>",
            f"/web/keys?q={MARKUP}", f"/web/requests?q={MARKUP}", f"/web/keys?tag={MARKUP}",
            f"/web/sign-in?next={MARKUP}", f"/web/users/{MARKUP}", f"/web/keys/{MARKUP}",
            "/web/owners", "/web/reports", "/web/sessions", "/web/clients", "/web/webhooks",
            f"/web/webhooks/{ctx.settings.webhooks[0].id}", f"/web/owners/{MARKUP}",
            f"/web/requests?key={MARKUP}&since={MARKUP}", f"/web/requests?account={MARKUP}",
            f"/web?done={MARKUP}", f"/web?language={MARKUP}", f"/web/audit?before={MARKUP}",
            *requests, *(f"/web/keys/{one.id}{tail}" for one in keys for tail in ("", "/edit")),
            *(f"/web/accounts/{one.id}{tail}" for one in accounts for tail in ("", "/edit")),
        ]  # fmt: skip
        seen = 0
        for path in paths:
            page = (await person.get(path)).text
            assert not re.search(r"<(?:img|b|i)\b|<script>|\sonerror=(?!alert\(1\)&)", page), path
            seen += "&lt;script&gt;" in page
        assert seen > 15
        refused = await person.post("/web/keys/new", name="alice", note=MARKUP, owner=MARKUP)
        assert "<img" not in refused.text
        assert "&lt;img" in refused.text
        async with console.person() as holder:
            (found,) = [one for one in keys if one.note == MARKUP]
            _, text = await ctx.keys.rotate(found.id, 0)
            mine = (await holder.post("/web/my", key=text)).text
            assert "&lt;script&gt;" in mine
            assert "<img" not in mine


async def test_a_name_with_markup_cannot_be_a_users(console: Console):
    async with console.signed_in() as person:
        refused = await person.post("/web/users", name=MARKUP, role="admin", password=PASSWORD)
        assert refused.status_code == 422
        assert "<img" not in refused.text


# What is too much.


async def test_a_form_that_is_too_large_is_refused(console: Console):
    async with console.signed_in() as person:
        response = await person.post("/web/keys/new", name="x", note="x" * 200_000)
        assert response.status_code == 413


async def test_no_file_outside_of_the_consoles_own_is_sent(console: Console):
    async with console.person() as person:
        for name in ("../app.py", "..%2fapp.py", "vendor/../../app.py", "/etc/passwd", "vendor"):
            assert (await person.get(f"/web/static/{name}")).status_code == 404


async def test_a_secret_of_an_account_is_on_no_page(console: Console):
    (account,) = await console.relay.ctx.accounts.list()
    await console.relay.ctx.accounts.edit(
        account.id, secret="upstream-secret", proxy="http://user:hidden-word@127.0.0.1:1"
    )
    async with console.signed_in() as person:
        for path in ("", "/edit"):
            page = (await person.get(f"/web/accounts/{account.id}{path}")).text
            assert "hidden-word" not in page
            assert "upstream-secret" not in page
        assert "hidden-word" not in (await person.get("/web/audit")).text


def test_the_session_has_no_repr_that_would_be_logged_with_its_token():
    from relay.users import Session

    assert "token" not in {field.name for field in dataclasses.fields(Session)}
