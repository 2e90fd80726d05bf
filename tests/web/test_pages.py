"""Every page as a person without JavaScript sees it: it opens, says what to do, and does it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from relay.settings import Secret

from ..e2e.conftest import BODY, SOON_S, relay_running
from ..store.conftest import RedisProcess
from .conftest import PASSWORD, Console, Person

PAGES = (
    "/web", "/web/keys", "/web/keys/new", "/web/accounts", "/web/accounts/new",
    "/web/accounts/new?kind=api_key", "/web/accounts/new?kind=oauth",
    "/web/accounts/new?kind=federation", "/web/accounts/new?kind=session_key", "/web/requests",
    "/web/audit", "/web/users", "/web/users/admin", "/web/settings", "/web/own", "/web/my",
    "/web/audit.json",
    "/web/owners", "/web/reports", "/web/reports.json", "/web/sessions", "/web/prices",
    "/web/clients", "/web/webhooks", "/web/backups", "/web/books",
    "/web/usage", "/web/usage?since=90d&by=account&and=day", "/web/usage?by=client",
)  # fmt: skip


def key_in(page: str) -> str:
    found = re.search(r'<pre id="key"[^>]*>(sk-relay-\w+)</pre>', page)
    assert found, page
    return found[1]


async def ids(console: Console) -> tuple[str, str]:
    (account,), (key,) = (
        await console.relay.ctx.accounts.list(),
        await console.relay.ctx.keys.list(),
    )
    return account.id, key.id


async def test_every_page_opens_in_every_language(console: Console):
    account, key = await ids(console)
    async with console.signed_in() as admin:
        for path in (
            *PAGES, f"/web/keys/{key}", f"/web/keys/{key}/edit", f"/web/accounts/{account}",
            f"/web/accounts/{account}/edit",
        ):  # fmt: skip
            for language in ("en", "ko"):
                response = await admin.get(path, **{"accept-language": language})
                assert response.status_code == 200, (path, response.text)
                if not path.endswith(".json"):
                    assert f'<html lang="{language}">' in response.text
                    assert response.text.rstrip().endswith("</html>")


async def used(person: Person, console: Console, key: str) -> None:
    async with console.relay.client(headers={"x-api-key": key}) as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200
    await console.relay.settled()


async def test_a_key_is_made_used_seen_changed_rotated_and_deleted(console: Console):
    async with console.signed_in("operator") as person:
        made = await person.post(
            "/web/keys/new", name="bob", rate_count="10", rate_seconds="60", daily="5",
            budget_daily="2.50", tags="red, blue", models="claude-*", owner="team",
            expires="2090-01-31T12:00", concurrency="3",
        )  # fmt: skip
        text = key_in(made.text)
        url = console.relay.url
        for line in (
            f"ANTHROPIC_BASE_URL={url}/api", f"apiBase: {url}/api/v1\n  apiKey: {text}",
            f"{url}/openai/claude/v1/", f"curl {url}/api/v1/messages",
        ):  # fmt: skip
            assert line in made.text
        await used(person, console, text)
        key = await console.relay.ctx.keys.find("bob")
        assert (key.limits.rate, key.limits.daily, key.limits.budgets) == (
            "10/60", 5, {"daily": "2.5 soft"},
        )  # fmt: skip
        assert (key.tags, key.owner, f"{key.expires_at:%Y-%m-%d %H:%M}") == (
            ("red", "blue"), "team", "2090-01-31 12:00",
        )  # fmt: skip
        shown = await person.get(f"/web/keys/{key.id}")
        assert text not in shown.text
        assert "claude-opus-5" in shown.text
        assert "bob" in (await person.get("/web/requests")).text
        form = await person.get(f"/web/keys/{key.id}/edit")
        assert 'value="2090-01-31T12:00"' in form.text
        await person.post(f"/web/keys/{key.id}/edit", name="rob", monthly="7", daily="", tags="")
        changed = await console.relay.ctx.keys.find("rob")
        assert (changed.limits.monthly, changed.limits.daily, changed.tags) == (7, 0, ())
        rotated = key_in((await person.post(f"/web/keys/{key.id}/rotate", grace="0")).text)
        await used(person, console, rotated)
        await person.post(f"/web/keys/{key.id}/disable")
        async with console.relay.client(headers={"x-api-key": rotated}) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 401
        await person.post(f"/web/keys/{key.id}/enable")
        wrong = await person.post(f"/web/keys/{key.id}/delete", confirm="bob")
        assert wrong.status_code == 422
        await person.post(f"/web/keys/{key.id}/delete", confirm="rob")
        assert [one.name for one in await console.relay.ctx.keys.list()] == ["alice"]


async def test_what_went_wrong_is_told_in_the_persons_language(console: Console):
    async with console.signed_in("operator") as person:
        person.client.headers["accept-language"] = "ko"
        taken = await person.post("/web/keys/new", name="alice")
        assert "name: There" not in taken.text
        assert "alice 이름의 키가 이미 있습니다." in taken.text
        wrong = await person.post("/web/keys/new", name="bob", daily="many")
        assert "daily: &#39;many&#39;은(는) 0에서 1000000000 사이의 정수가 아닙니다." in wrong.text


async def test_a_form_that_was_opened_before_somebody_elses_change_undoes_nothing(
    console: Console,
):
    ctx = console.relay.ctx
    ((key,), (account,)) = (await ctx.keys.list(), await ctx.accounts.list())
    owner = await ctx.owners.set("team", {"daily": "1"})
    forms = {
        f"/web/keys/{key.id}/edit": {"name": "alice", "note": "mine", "version": key.version},
        f"/web/accounts/{account.id}/edit": {
            "name": "main", "kind": "api_key", "base_url": account.base_url, "auth": "x-api-key",
            "note": "mine", "version": account.version,
        },
        "/web/owners/team": {"budget_daily": "5", "version": owner.version},
    }  # fmt: skip
    await ctx.keys.edit(key.id, note="theirs")
    await ctx.accounts.edit(account.id, note="theirs")
    await ctx.owners.set("team", {"daily": "2"})
    async with console.signed_in("operator") as person:
        for path, fields in forms.items():
            page = await person.post(path, **fields)
            assert page.status_code == 422, path
            assert "Somebody has changed this since you opened it" in page.text
            newest = re.search(r'name="version" value="(\w+)"', page.text)
            assert newest
            again = await person.post(path, **{**fields, "version": newest[1]})
            assert again.status_code == 303, again.text
    assert (await ctx.keys.find("alice")).note == "mine"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"name": "alice"}, "already"),
        ({"name": ""}, "name"),
        ({"name": "x", "budget_daily": "much"}, "budgets"),
        ({"name": "x", "rate_count": "x"}, "rate"),
        ({"name": "x", "expires": "soon"}, "expires"),
        ({"name": "x", "networks": "here"}, "networks"),
        ({"name": "x", "prefix": "sk-ant-"}, "prefix"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_and_the_form_keeps_what_was_typed(
    console: Console, fields: dict[str, str], word: str
):
    async with console.signed_in() as person:
        refused = await person.post("/web/keys/new", note="remember me", **fields)
        assert refused.status_code == 422
        assert 'role="alert"' in refused.text
        assert word in refused.text
        assert 'value="remember me"' in refused.text


async def test_keys_are_found_by_words_tags_owners_and_states(console: Console):
    keys = console.relay.ctx.keys
    await keys.create("bob", tags=["red"], owner="team")
    await keys.create("carol", tags=["red", "blue"])
    await keys.set_enabled("carol", enabled=False)
    async with console.signed_in("viewer") as person:

        async def found(query: str) -> set[str]:
            page = (await person.get(f"/web/keys?{query}")).text
            return {name for name in ("alice", "bob", "carol") if f">{name}</a>" in page}

        assert await found("") == {"alice", "bob", "carol"}
        assert await found("q=TEAM") == {"bob"}
        assert await found("tag=red") == {"bob", "carol"}
        assert await found("owner=team") == {"bob"}
        assert await found("state=disabled") == {"carol"}
        assert await found("q=nobody") == set()
        part = (await person.get("/web/keys?q=team", **{"hx-request": "true"})).text
        assert "<html" not in part


async def test_a_number_in_an_address_that_is_none_is_passed_over(console: Console):
    async with console.signed_in() as person:
        for query in ("from=²", "from=-1", f"from={'9' * 5000}", "before=²-1", "before=1", "at=x"):
            for page in ("keys", "requests", "reports", "audit"):
                assert (await person.get(f"/web/{page}?{query}")).status_code == 200, (page, query)
        (key,) = await console.relay.ctx.keys.list()
        assert (await person.post(f"/web/keys/{key.id}/rotate", grace="²")).status_code == 200


async def test_an_account_is_added_tested_changed_and_removed(console: Console):
    async with console.signed_in("operator") as person:
        added = await person.post(
            "/web/accounts/new", kind="api_key", name="second", secret="second-secret",
            base_url=console.relay.sim.base_url, priority="60", groups="a, b",
            model_map="claude-x=claude-opus-5", budget_monthly="9", proxy="direct",
        )  # fmt: skip
        assert added.status_code == 303, added.text
        path = added.headers["location"].partition("?")[0]
        account = await console.relay.ctx.accounts.find("second")
        assert (account.priority, account.groups, account.model_map, account.budgets) == (
            60, ("a", "b"), {"claude-x": "claude-opus-5"}, {"monthly": "9 soft"},
        )  # fmt: skip
        assert "accepts this account" in (await person.post(f"{path}/test")).text
        page = await person.get(f"{path}/edit")
        assert "second-secret" not in page.text
        await person.post(f"{path}/edit", name="other", base_url=account.base_url, secret="wrong")
        assert "refuses this account" in (await person.post(f"{path}/test")).text
        await person.post(f"{path}/edit", name="other", base_url=account.base_url)
        assert "refuses this account" in (await person.post(f"{path}/test")).text
        await person.post(f"{path}/disable")
        assert (await console.relay.ctx.accounts.find("other")).state == "disabled"
        await person.post(f"{path}/enable")
        await person.post(f"{path}/reset")
        assert (await person.post(f"{path}/remove", confirm="second")).status_code == 422
        assert (await person.post(f"{path}/remove", confirm="other")).status_code == 303
        assert [one.name for one in await console.relay.ctx.accounts.list()] == ["main"]


async def test_an_account_of_a_forbidden_kind_is_refused_with_the_reason(console: Console):
    async with console.signed_in() as person:
        for kind, secret in (("session_key", "sk-ant-sid01-x"), ("api_key", "sk-ant-oat01-x")):
            refused = await person.post(
                "/web/accounts/new", kind=kind, name="x", secret=secret,
                base_url="https://api.anthropic.com",
            )  # fmt: skip
            assert refused.status_code == 422
            assert "terms do not allow" in refused.text
            assert secret not in refused.text


async def test_an_oauth_account_without_a_provider_says_what_to_set(console: Console):
    async with console.signed_in() as person:
        added = await person.post(
            "/web/accounts/new", kind="oauth", name="o", base_url="https://llm.example.com"
        )
        path = added.headers["location"].partition("?")[0]
        begun = await person.post(f"{path}/sign-in")
        assert "CLAUDE_OAUTH_CLIENT_ID" in begun.text


async def test_a_request_is_told_with_the_decision_behind_it(console: Console):
    async with console.signed_in("viewer") as person:
        assert "No request has come yet" in (await person.get("/web/requests")).text
        await used(person, console, console.relay.key)
        rows = await person.get("/web/requests")
        (request_id,) = set(re.findall(r"/web/requests/(req_\w+)", rows.text))
        page = (await person.get(f"/web/requests/{request_id}")).text
        assert "main was chosen of 1" in page
        assert "hello" not in page
        assert (await person.get("/web/requests/req_none")).status_code == 404
        assert "No request is like that" in (await person.get("/web/requests?q=zzz")).text
        assert request_id in (await person.get("/web/requests?q=ALICE&outcome=ok")).text
        assert request_id not in (await person.get("/web/requests?outcome=failed")).text


async def test_the_overview_says_what_is_wrong_and_what_to_do_next(console: Console):
    ctx = console.relay.ctx
    async with console.signed_in() as person:
        assert "All is well" in (await person.get("/web")).text
        await ctx.accounts.set_enabled("main", enabled=False)
        while "No account serves" not in (page := (await person.get("/web")).text):
            pass
        assert "Enable on its page lets it serve again." in page
        await ctx.accounts.remove("main")
        while "There is no account yet" not in (page := (await person.get("/web")).text):
            pass
        assert "/web/accounts/new" in page


async def test_the_audit_names_the_person_and_their_address(console: Console):
    async with console.signed_in() as person:
        await person.post("/web/keys/new", name="bob")
        page = (await person.get("/web/audit")).text
        assert "user:admin" in page
        assert "127.0.0.1" in page
        assert "key.create" in page
        assert "none altered and none missing" in (await person.post("/web/audit/verify")).text
        listed = (await person.get("/web/audit.json")).json()
        assert (listed[0]["action"], listed[0]["actor"]) == ("key.create", "user:admin")


async def test_an_admin_manages_users(console: Console):
    async with console.signed_in() as person:
        added = await person.post("/web/users", name="lee", role="viewer", password="0123456789")
        assert added.headers["location"] == "/web/users/lee?done=added"
        await person.post("/web/users/lee/role", role="operator")
        await person.post("/web/users/lee/password", password="another password")
        await person.post("/web/users/lee/disable")
        lee = await console.relay.ctx.users.find("lee")
        assert (lee.role, lee.enabled) == ("operator", False)
        await person.post("/web/users/lee/enable")
        async with console.person() as other:
            await other.sign_in("lee", "another password")
            await person.post("/web/users/lee/sign-out")
            assert (await other.get("/web")).status_code == 303
        assert "last admin" in (await person.post("/web/users/admin/role", role="viewer")).text
        assert "last admin" in (await person.post("/web/users/admin/disable")).text
        assert (await person.post("/web/users/lee/remove", confirm="le")).status_code == 422
        assert (await person.post("/web/users/lee/remove", confirm="lee")).status_code == 303
        assert [one.name for one in await console.relay.ctx.users.list()] == ["admin"]


async def test_a_keys_holder_sees_its_own_usage_and_no_other(console: Console):
    await console.relay.ctx.keys.create("bob", note="of somebody else")
    await console.relay.ctx.keys.edit("alice", daily=10, budgets={"daily": "5"})
    async with console.person() as person:
        await used(person, console, console.relay.key)
        page = await person.post("/web/my", key=console.relay.key)
        assert page.status_code == 200
        assert "alice" in page.text
        assert "claude-opus-5" in page.text
        assert "bob" not in page.text
        assert console.relay.key not in page.text
        wrong = await person.post("/web/my", key="sk-relay-wrong")
        assert (wrong.status_code, "sk-relay-wrong" in wrong.text) == (401, False)
        assert (await person.post("/web/my", key="키")).status_code == 401


async def test_the_front_door_leads_to_the_console(console: Console):
    async with console.person() as person:
        response = await person.get("/")
        assert (response.status_code, response.headers["location"]) == (303, "/web")


async def test_usage_is_told_by_what_is_asked_for_and_as_files(console: Console):
    async with console.signed_in("viewer") as person:
        assert "Nothing was used then" in (await person.get("/web/usage")).text
        await used(person, console, console.relay.key)
        await used(person, console, console.relay.key)
        cost = (await console.relay.report()).total["cost_micros"]
        page = (await person.get("/web/usage?by=account&and=model")).text
        assert re.search(r">main</th><td>claude-opus-5</td><td[^>]*>2</td>", page)
        assert f'value="{cost / 1_000_000:.6f}"' in page
        assert page.count("<g>") == 2 * (datetime.now(UTC).hour + 1)
        by_day = (await person.get("/web/usage?since=30d&by=day")).text
        assert by_day.count("<g>") in (60, 62)
        listed = await person.get("/web/usage.csv?by=key")
        assert listed.headers["content-type"] == "text/csv; charset=utf-8"
        head, line = (row.split(",") for row in listed.text.split())
        assert dict(zip(head, line, strict=True))["key_name"] == "alice"
        assert dict(zip(head, line, strict=True))["requests"] == "2"
        told = (await person.get("/web/usage.json?by=key&model=claude-haiku*")).json()
        assert told["rows"] == []
        for wrong in ("since=soon", "since=7d&until=2020-01-01"):
            refused = await person.get(f"/web/usage?{wrong}")
            assert (refused.status_code, 'role="alert"' in refused.text) == (422, True)
            assert (await person.get(f"/web/usage.csv?{wrong}")).status_code == 422


async def test_the_overview_streams_what_changes_and_ends_with_the_relay(console: Console):
    async with console.signed_in("viewer") as person:
        with trio.fail_after(SOON_S):
            async with person.client.stream("GET", "/web/live") as response:
                assert response.headers["content-type"] == "text/event-stream"
                pieces = response.aiter_text()
                text = ""
                while "All is well" not in text:
                    text += await anext(pieces)
                await console.relay.ctx.accounts.set_enabled("main", enabled=False)
                while "No account serves" not in text:
                    text += await anext(pieces)
                # A page that somebody left open must not hold the relay's end up.
                console.relay.stop.set()
                async for _ in pieces:
                    pass


async def test_a_page_says_so_when_redis_is_away(tmp_path: Path, own_redis: RedisProcess):
    admin = Secret(PASSWORD)
    async with (
        relay_running(own_redis.url, tmp_path / "home", admin_password=admin) as running,
        Console(running).signed_in() as person,
    ):
        own_redis.kill()
        page = await person.get("/web/keys")
        assert (page.status_code, "Redis does not answer" in page.text) == (503, True)
        own_redis.start()


async def test_the_console_shows_where_an_account_belongs(console: Console):
    account, _ = await ids(console)
    async with console.signed_in() as admin:
        await used(admin, console, console.relay.key)
        (found,) = await console.relay.ctx.accounts.list()
        assert found.organization
        assert found.workspace
        for path in ("/web/accounts", f"/web/accounts/{account}"):
            page = (await admin.get(path)).text
            assert found.organization in page
            assert found.workspace in page
