"""Pages that tell how the relay fares: the overview, searches, webhooks, backups, settings."""

import dataclasses
import html
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from relay import backup, usage
from relay.settings import Secret
from relay.store import name
from relay.web import charts, shown
from relay.web.language import load
from relay.web.overview_data import Live

from ..e2e.conftest import BODY, relay_running
from .conftest import PASSWORD, Console
from .test_pages import used


async def test_an_owner_gets_budgets_which_are_shown_with_what_is_used(console: Console):
    await console.relay.ctx.keys.edit("alice", owner="team-a")
    async with console.signed_in("operator") as person:
        assert "/web/owners/team-a" in (await person.get("/web/owners")).text
        await used(person, console, console.relay.key)
        saved = await person.post("/web/owners/team-a", budget_daily="2.5", budget_mode="strict")
        assert saved.headers["location"] == "/web/owners/team-a?done=saved"
        (owner,) = await console.relay.ctx.owners.list()
        assert owner.budgets == {"daily": "2.5 strict"}
        cost = (await console.relay.report()).total["cost_micros"]
        page = (await person.get("/web/owners/team-a")).text
        assert f'value="{cost / 1_000_000:.6f}"' in page
        assert 'value="2.500000"' in page
        assert ">alice</a>" in page
        refused = await person.post("/web/owners/team-a", budget_daily="much")
        assert (refused.status_code, 'role="alert"' in refused.text) == (422, True)
        made = await person.post("/web/owners", name="team-b", budget_total="9")
        assert made.status_code == 303
        assert (await person.post("/web/owners", name="two words")).status_code == 422
        assert (await person.get("/web/owners/nobody")).status_code == 404


async def test_a_webhook_is_tested_and_its_deliveries_and_dead_letters_are_shown(
    redis_url: str, tmp_path: Path
):
    (tmp_path / "relay.toml").write_text(
        "[[webhooks]]\nname = 'ops'\nurl = 'http://127.0.0.1:9/hidden-word'\nallowPrivate = true\n"
    )
    async with (
        relay_running(redis_url, tmp_path, admin_password=Secret(PASSWORD)) as running,
        Console(running).signed_in() as person,
    ):
        (hook,) = running.ctx.settings.webhooks
        listed = (await person.get("/web/webhooks")).text
        assert f"/web/webhooks/{hook.id}" in listed
        tested = (await person.post(f"/web/webhooks/{hook.id}/test")).text
        assert "hidden-word" not in listed + tested
        assert "note bad" in tested
        assert "Relay: a test" in tested.partition("Deliveries")[2]
        await running.ctx.store.alerts._db.call(
            "RPUSH", name("webhook_dead", hook.id), json.dumps(dead_letter("1-1"))
        )
        page = (await person.get(f"/web/webhooks/{hook.id}")).text
        assert "A report &lt;b&gt;" in page
        revived = await person.post(f"/web/webhooks/{hook.id}/retry", alert="1-1")
        assert revived.headers["location"].endswith("?done=revived")
        (standing,) = await running.ctx.alerts.standings()
        assert (standing.dead, standing.waiting) == (0, 1)
        assert (await person.get("/web/webhooks/wh_none")).status_code == 400


def dead_letter(alert_id: str) -> dict[str, str]:
    """An alert that was given up, as lua/webhook.lua keeps it."""
    alert = {"event": "report", "title": "A report <b>", "text": "", "at": "1700000000000"}
    return {
        "id": alert_id, "alert": json.dumps(alert), "tries": "7", "error": "no answer",
        "at": "1700000000001",
    }  # fmt: skip


async def test_a_backup_is_made_tried_out_and_listed(console: Console):
    async with console.signed_in() as person:
        refused = await person.post("/web/backups/make")
        assert (refused.status_code, "relay backup --init" in refused.text) == (422, True)
        backup.make_identities(console.relay.ctx.settings)
        made = await person.post("/web/backups/make")
        assert "was made and read back. 1 keys, 1 accounts." in made.text
        assert ".tar.age" in made.text
        drilled = await person.post("/web/backups/drill")
        assert "can be restored" in drilled.text
        assert [one.action for one in await console.relay.ctx.audit.newest(2)] == [
            "backup.drill", "backup.make",
        ]  # fmt: skip
        assert "Last backup" in (await person.get("/web")).text


async def test_a_machines_backups_which_root_makes_are_listed(console: Console, tmp_path: Path):
    ctx = console.relay.ctx
    roots = dataclasses.replace(ctx.settings, backup_folder=tmp_path / "roots")
    backup.make_identities(roots)
    made = await backup.Backups(roots, ctx.store, ctx.audit, ctx.alerts).make()
    async with console.signed_in() as person:
        page = (await person.get("/web/backups")).text
        assert made.file.name in page
        assert str(tmp_path / "roots") in page
        assert "Make one now" not in page


async def test_daily_reports_are_listed_and_downloaded(console: Console):
    report = {
        "date": "2026-01-02", "totalRequests": 1234, "totalTokens": 9, "uniqueUsers": 3,
        "errorRate": 1.5, "cost": 2.25, "topModels": [{"model": "m", "cost": 2.25}],
    }  # fmt: skip
    await console.relay.ctx.store.usage.keep_report("2026-01-02", json.dumps(report), {})
    async with console.signed_in("viewer") as person:
        page = (await person.get("/web/reports")).text
        assert ">2026-01-02</a>" in page
        assert ">1,234</td>" in page
        assert (await person.get("/web/reports.json")).json() == [report]


async def test_a_model_without_a_price_stands_on_the_overview_and_in_the_reports(console: Console):
    ctx, new = console.relay.ctx, "claude-opus-9"
    await ctx.store.prices.note_unpriced({new: "2026-11-20"}, 9)
    made = await usage.daily(ctx.store, ctx.prices, datetime.now(UTC).date())
    await ctx.store.usage.keep_report(made["date"], json.dumps(made), {})
    async with console.signed_in() as person:
        page = (await person.get("/web")).text
        assert f"The model {new} has no price of its own since 2026-11-20" in page
        assert f"{new} has no price of its own" in (await person.get("/web/reports")).text
        assert f"Table {ctx.prices.version}." in (await person.get("/web/prices")).text


async def test_a_model_that_retires_soon_stands_on_the_overview_with_its_keys(console: Console):
    ctx = console.relay.ctx
    soon = datetime.now(UTC) + timedelta(days=9)
    [account] = await ctx.accounts.list()
    entry = {"id": "claude-opus-5", "retires_at": soon.isoformat()}
    await ctx.models.learn(account.id, json.dumps({"data": [entry]}).encode())
    body = {
        "model": "claude-opus-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    }
    async with console.relay.client() as client:
        assert (await client.post("/v1/messages", json=body)).status_code == 200
    async with console.signed_in() as person:
        page = (await person.get("/web")).text
    told = f"The model claude-opus-5 retires on {soon:%Y-%m-%d}. In the last 7 days it was used by"
    assert f"{told} alice." in page
    assert "All is well." not in page


async def test_an_admin_sees_every_session_and_ends_one_or_all(console: Console):
    async with console.signed_in() as admin, console.signed_in("viewer") as other:
        page = (await admin.get("/web/sessions")).text
        (session,) = await console.relay.ctx.users.sessions("viewer")
        assert session.id in page
        await admin.post("/web/sessions/close", user="viewer", session=session.id)
        assert (await other.get("/web")).status_code == 303
        assert (await admin.get("/web")).status_code == 200
        out = await admin.post("/web/sessions/close-all", confirm="admin")
        assert out.headers["location"] == "/web/sign-in?done=everybody_out"
        assert await console.relay.ctx.users.all_sessions() == []


async def test_an_account_is_told_with_what_it_cost_and_how_well_it_served(console: Console):
    await console.relay.ctx.accounts.edit("main", budgets={"daily": "3"})
    async with console.signed_in("viewer") as person:
        await used(person, console, console.relay.key)
        cost = (await console.relay.report()).total["cost_micros"]
        page = (await person.get("/web/accounts")).text
        assert "100.0 %" in page
        assert f'value="{cost / 1_000_000:.6f}"' in page
        (account,) = await console.relay.ctx.accounts.list()
        page = (await person.get(f"/web/accounts/{account.id}")).text
        assert "100.0 % of its requests were served well" in page
        assert 'value="3.000000"' in page
        assert 'class="states"' in page


async def test_the_overview_tells_speed_savings_and_budgets_of_everybody(
    redis_url: str, tmp_path: Path
):
    budgets = (("daily", "0.001"),)
    async with relay_running(
        redis_url, tmp_path, admin_password=Secret(PASSWORD), budgets=budgets
    ) as running:
        console = Console(running)
        await running.ctx.keys.edit("alice", owner="team-a", budgets={"daily": "0.001"})
        await running.ctx.owners.set("team-a", {"daily": "0.001"})
        await running.ctx.accounts.edit("main", budgets={"daily": "0.001"})
        async with running.client() as client:
            while (await client.post("/v1/messages", json=BODY)).status_code == 200:
                pass
        await running.settled()
        async with console.signed_in("viewer") as person:
            page = (await person.get("/web")).text
            near = page.partition("Budgets close to their end")[2].partition("</section>")[0]
            assert "The whole relay" in near
            for whose in ("keys/", "owners/team-a", "accounts/"):
                assert f"/web/{whose}" in near
            assert re.search(r"First byte.*?</dt><dd>\d+", page, re.DOTALL)
            assert "Saved by the cache today" in page
            assert ">claude-opus-5" in re.sub(r"\s+", "", page.partition("By model")[2])


async def test_the_overview_tells_what_the_monitor_found_where_there_is_one(console: Console):
    async with console.signed_in("viewer") as person:
        assert "Last monitor run" not in (await person.get("/web")).text
    run = {
        "level": "critical", "time": "2026-01-02T03:04:05+00:00", "started": [],
        "findings": [
            {"check": "disk", "subject": "/", "level": "critical", "text": "The disk is full.",
             "mend": "`df -h`"},
            {"check": "certificate", "subject": "relay.example.com", "level": "ok",
             "text": "It is good until March."},
        ],
    }  # fmt: skip
    await console.relay.ctx.store.upkeep.note_monitor("{}", json.dumps(run))
    page = await rendered(console)
    assert "The disk is full. What mends it: <code>df -h</code>" in page
    assert "It is good until March." in page
    await console.relay.ctx.store.upkeep.note_monitor("{}", "[broken")
    assert "Last monitor run" not in await rendered(console)


async def rendered(console: Console) -> str:
    """The overview as it is once everything was read anew."""
    live = Live(console.relay.ctx)
    drawn = await charts.of_last_day(SimpleNamespace(ctx=console.relay.ctx))
    environment = shown.environment()
    environment.globals["static"] = str
    template = environment.get_template("overview_now.html")
    visit = SimpleNamespace(may=lambda role: True, way=SimpleNamespace(is_secure=False))
    texts = load()["en"].text
    return template.render(
        t=texts, visit=visit, version="1", now=await live.snapshot(), drawn=drawn
    )


async def test_older_requests_are_found_in_the_files_page_by_page(console: Console):
    ctx = console.relay.ctx
    async with console.relay.client() as client:
        for number in range(60):
            headers = {"x-claude-code-session-id": f"session-{number}"}
            await client.post("/v1/messages", json=BODY, headers=headers)
    await console.relay.settled()
    archive = usage.Archive(ctx.settings.usage_folder)
    await usage.tidy(ctx.store, archive, retention_days=90, most_bytes=1)
    assert (await ctx.store.usage.size())[1] < 60
    async with console.signed_in("viewer") as person:
        first = (await person.get("/web/requests")).text
        assert first.count("/web/requests/req_") == 50
        (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
        second = (await person.get(html.unescape(older))).text
        assert second.count("/web/requests/req_") == 10
        found = (await person.get("/web/requests?q=session-3&outcome=ok")).text
        assert found.count("/web/requests/req_") == 11
        (path,) = set(re.findall(r"/web/requests/req_[^\"]+", (
            await person.get("/web/requests?q=session-59&status=200&since=today")
        ).text))  # fmt: skip
        assert "main was chosen of 1" in (await person.get(path)).text
        assert "session-59" in (await person.get(path.partition("?")[0])).text
        assert (await person.get("/web/requests?status=soon")).status_code == 422
        live = {"hx-request": "true"}
        assert (await person.get("/web/requests?live=1", **live)).status_code == 200
        assert (await person.get("/web/requests?live=1&q=x", **live)).status_code == 204


async def test_settings_are_shown_with_where_they_stand_and_secrets_are_not(
    redis_url: str, tmp_path: Path
):
    given = "[server]\nkeepAliveTimeout = 70000\n[pricing]\nmultiplier = 2\n"
    (tmp_path / "relay.toml").write_text(given)
    async with (
        relay_running(redis_url, tmp_path, admin_password=Secret(PASSWORD)) as running,
        Console(running).signed_in() as person,
    ):
        page = (await person.get("/web/settings")).text
        settings = running.ctx.settings
        for secret in (settings.jwt_secret, settings.encrypt_key, settings.admin_password):
            assert secret
            assert secret.reveal() not in page
        assert str(settings.redis_url) not in page
        row = r"<code>{}</code>.*?</th><td[^>]*>{}</td><td>.*?{}.*?</td>"
        for name, value, where in (
            ("server.keepAliveTimeout", "70000", ">relay.toml, line 2"),
            ("server.drainTimeout", "1000", "default"),
            ("redis.url", r"\*\*\*", "environment"),
            ("JWT_SECRET", r"\*\*\*", "secrets.env, line 1"),
        ):
            assert re.search(row.format(name, value, where), page, re.DOTALL), name
        assert '<td class="right">10</td>' in (await person.get("/web/prices")).text
