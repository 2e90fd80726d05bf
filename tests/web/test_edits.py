"""An edit changes what was changed on the form, and nothing that the form cannot show."""

import json
import random
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from relay.store import name

from .conftest import Console, Person

RECORDS = 12
PERIODS = ("daily", "weekly", "monthly", "total")


class Form(HTMLParser):
    """The fields of a page's last form with a name field, as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self._select = ""
        self._options: list[tuple[str, bool]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "input" and told.get("name"):
            is_box = told.get("type") == "checkbox"
            if not is_box or "checked" in told:
                self.fields.append(
                    (str(told["name"]), told.get("value") or ("on" if is_box else ""))
                )
        elif tag == "select" and told.get("name"):
            self._select, self._options = str(told["name"]), []
        elif tag == "option" and self._select:
            self._options.append((told.get("value") or "", "selected" in told))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._select:
            chosen = [value for value, is_chosen in self._options if is_chosen]
            self.fields.append((self._select, (chosen or [self._options[0][0]])[0]))
            self._select = ""


def budgets(chance: random.Random) -> str:
    return "\n".join(
        f"{period} {chance.choice(('strict', 'soft'))} {chance.randrange(1, 10**9)}"
        for period in PERIODS
        if chance.random() < 0.7
    )


def odd_key(chance: random.Random) -> dict[str, str]:
    """Stored values of a key of which the form can show only a part."""
    window_ms = chance.choice((60_000, 1500))
    return {
        "clients": chance.choice(("gone", "claude_code\ngone", "gone\nlost", "claude_code")),
        "budgets": budgets(chance),
        "expires_at": str(chance.randrange(2_000_000_000_000, 4_000_000_000_000)),
        "models": chance.choice(("claude-*", "a,b", "claude-*\nodd, one", " led")),
        "tags": chance.choice(("", "red\nblue")),
        "groups": chance.choice(("", "red")),
        "networks_given": "10.0.0.0/8",
        "networks": "0" * 32 + "/104",
        "rate_max": "5",
        "rate_ms": str(window_ms),
        "concurrency": "3",
        "concurrency_wait": chance.choice(("0", "1500", "20000")),
        "daily_limit": chance.choice(("0", "7")),
        "note": chance.choice(("", " spaces around ", "plain")),
        "owner": chance.choice(("", "team")),
        "shows_account": chance.choice(("", "1")),
        "later_setting": "of a later release",
    }


def odd_account(chance: random.Random) -> dict[str, str]:
    """Stored values of an account of which the form can show only a part."""
    return {
        "budgets": budgets(chance),
        "allowed_models": chance.choice(("", "claude-*", "a,b")),
        "model_map": json.dumps({"a": chance.choice(("b", "b=c", "b,c"))}),
        "models": "kept\nas it is",
        "groups": chance.choice(("", "red\nblue")),
        "note": chance.choice(("", " spaces around ")),
        "email": chance.choice(("", "a@example.com")),
        "auth": chance.choice(("x-api-key", "bearer")),
        "priority": "7",
        "weight": "3",
        "options": json.dumps({"later_option": "x"}),
        "later_setting": "of a later release",
    }


async def raw(console: Console, kind: str, record_id: str) -> dict[str, str]:
    fields = await console.relay.ctx.store._db.hash(name(kind, record_id))
    return {field: value for field, value in fields.items() if field != "version"}


async def write(console: Console, kind: str, record_id: str, fields: Mapping[str, str]) -> None:
    flat = [part for pair in fields.items() for part in pair]
    await console.relay.ctx.store._db.call("HSET", name(kind, record_id), *flat)


async def submit(person: Person, path: str, **changes: str) -> None:
    """Open a form, change fields, and send all of it as a browser does."""
    page = await person.get(path)
    assert page.status_code == 200
    sent: dict[str, Any] = {}
    for field, value in Form(page.text).fields:
        sent.setdefault(field, []).append(value)
    response = await person.client.post(path, data={**sent, **changes})
    assert response.status_code == 303, response.text


Odd = Callable[[random.Random], dict[str, str]]


@pytest.mark.parametrize(
    ("kind", "odd", "field", "stored"),
    [
        ("key", odd_key, "note", {"note"}),
        ("key", odd_key, "tags", {"tags"}),
        ("key", odd_key, "monthly", {"monthly_limit"}),
        ("key", odd_key, "rate_count", {"rate_max", "rate_ms"}),
        ("account", odd_account, "note", {"note"}),
        ("account", odd_account, "priority", {"priority"}),
        ("account", odd_account, "groups", {"groups"}),
    ],
)
async def test_a_form_changes_its_one_field_and_nothing_else(
    console: Console, kind: str, odd: Odd, field: str, stored: set[str]
):
    ctx = console.relay.ctx
    (record,) = await (ctx.keys if kind == "key" else ctx.accounts).list()  # type: ignore[attr-defined]
    async with console.signed_in() as person:
        for seed in range(RECORDS):
            await write(console, kind, record.id, odd(random.Random(seed)))
            before = await raw(console, kind, record.id)
            await submit(person, f"/web/{kind}s/{record.id}/edit", **{field: f"{seed + 10}"})
            after = await raw(console, kind, record.id)
            changed = {one for one in before | after if before.get(one) != after.get(one)}
            assert changed <= stored, (seed, before, after)
            assert changed


async def test_a_form_sent_back_as_it_came_changes_nothing(console: Console):
    (key,), (account,) = (
        await console.relay.ctx.keys.list(),
        await console.relay.ctx.accounts.list(),
    )
    async with console.signed_in() as person:
        for seed in range(RECORDS):
            for kind, record_id, odd in (
                ("key", key.id, odd_key),
                ("account", account.id, odd_account),
            ):
                await write(console, kind, record_id, odd(random.Random(seed)))
                before = await raw(console, kind, record_id)
                await submit(person, f"/web/{kind}s/{record_id}/edit")
                after = await raw(console, kind, record_id)
                assert after == before


async def test_a_client_that_left_the_settings_still_holds_its_key(console: Console):
    ctx = console.relay.ctx
    (key,) = await ctx.keys.list()
    await write(console, "key", key.id, {"clients": "gone"})
    async with console.signed_in("operator") as person:
        page = await person.get(f"/web/keys/{key.id}/edit")
        assert 'value="gone" checked> gone (unknown)' in page.text
        await submit(person, f"/web/keys/{key.id}/edit", note="changed")
        assert (await ctx.keys.find(key.id)).limits.clients == ("gone",)
        both = ["gone", "claude_code"]
        await submit(person, f"/web/keys/{key.id}/edit", clients=both)  # type: ignore[arg-type]
        assert (await ctx.keys.find(key.id)).limits.clients == tuple(both)
        await submit(person, f"/web/keys/{key.id}/edit", clients=["claude_code"])  # type: ignore[arg-type]
        assert (await ctx.keys.find(key.id)).limits.clients == ("claude_code",)
        version = (await ctx.keys.find(key.id)).version
        refused = await person.post(
            f"/web/keys/{key.id}/edit", boxes="clients", clients="invented", version=version
        )
        assert refused.status_code == 422


async def test_a_budget_keeps_its_mode_while_nobody_chooses_another(console: Console):
    ctx = console.relay.ctx
    (key,) = await ctx.keys.list()
    await ctx.keys.edit(key.id, budgets={"daily": "5 strict", "weekly": "20 soft"})
    path = f"/web/keys/{key.id}/edit"

    async def kept() -> Mapping[str, str]:
        return (await ctx.keys.find(key.id)).limits.budgets

    async with console.signed_in("operator") as person:
        await submit(person, path, budget_daily="6")
        assert await kept() == {"daily": "6 strict", "weekly": "20 soft"}
        await submit(person, path, budget_weekly="", budget_total="100")
        assert await kept() == {"daily": "6 strict", "total": "100 strict"}
        await submit(person, path, budget_monthly="50")
        assert await kept() == {"daily": "6 strict", "monthly": "50 strict", "total": "100 strict"}
        await submit(person, path, budget_mode="soft")
        assert await kept() == {"daily": "6 soft", "monthly": "50 soft", "total": "100 soft"}


async def test_an_owners_budgets_keep_their_modes_and_are_not_made_anew(console: Console):
    ctx = console.relay.ctx
    await ctx.owners.set("team", {"daily": "5 strict", "weekly": "20 soft"})

    async def kept() -> Mapping[str, str]:
        return (await ctx.owners.list())[0].budgets

    async with console.signed_in("operator") as person:
        await submit(person, "/web/owners/team", budget_daily="6")
        assert await kept() == {"daily": "6 strict", "weekly": "20 soft"}
        again = await person.post("/web/owners", name="team", budget_daily="1")
        assert again.status_code == 422
        assert "has budgets already" in again.text
        assert await kept() == {"daily": "6 strict", "weekly": "20 soft"}


@pytest.mark.parametrize("seed", range(6))
async def test_the_rule_below_all_surfaces_changes_what_is_named_only(console: Console, seed: int):
    ctx = console.relay.ctx
    (key,), (account,) = await ctx.keys.list(), await ctx.accounts.list()
    chance = random.Random(seed)
    edits: list[tuple[str, str, Odd, dict[str, Any], set[str]]] = [
        ("key", key.id, odd_key, {"note": "x"}, {"note"}),
        ("key", key.id, odd_key, {"enabled": False}, {"enabled"}),
        ("key", key.id, odd_key, {"daily": 5}, {"daily_limit"}),
        ("key", key.id, odd_key, {"clients": ["claude_code"]}, {"clients"}),
        ("account", account.id, odd_account, {"note": "x"}, {"note"}),
        ("account", account.id, odd_account, {"weight": 9}, {"weight"}),
        ("account", account.id, odd_account, {"options": {"workspace_id": "w"}}, {"options"}),
    ]
    for kind, record_id, odd, changes, stored in edits:
        await write(console, kind, record_id, odd(chance))
        before = await raw(console, kind, record_id)
        register: Any = ctx.keys if kind == "key" else ctx.accounts
        await register.edit(record_id, **changes)
        after = await raw(console, kind, record_id)
        assert {one for one in before | after if before.get(one) != after.get(one)} <= stored
    assert json.loads((await raw(console, "account", account.id))["options"]) == {
        "later_option": "x", "workspace_id": "w",
    }  # fmt: skip


async def test_a_mode_without_budgets_is_refused_and_takes_none_away(console: Console):
    ctx = console.relay.ctx
    (key,), (account,) = await ctx.keys.list(), await ctx.accounts.list()
    await ctx.keys.edit(key.id, budgets={"daily": "5"})
    await ctx.accounts.edit(account.id, budgets={"daily": "5"})
    with pytest.raises(Exception, match="A mode goes with budgets"):
        await ctx.keys.edit(key.id, budget_mode="strict")
    with pytest.raises(Exception, match="A mode goes with budgets"):
        await ctx.accounts.edit(account.id, budgets={"mode": "strict"})
    assert (await ctx.keys.find(key.id)).limits.budgets == {"daily": "5 soft"}
    assert (await ctx.accounts.find(account.id)).budgets == {"daily": "5 soft"}


async def test_no_surface_moves_an_accounts_secret_to_another_host(console: Console):
    ctx = console.relay.ctx
    (account,) = await ctx.accounts.list()
    before = await raw(console, "account", account.id)
    async with console.signed_in("operator") as person:
        path = f"/web/accounts/{account.id}/edit"
        page = await person.get(path)
        sent = {**dict(Form(page.text).fields), "base_url": "http://127.0.0.1:9"}
        refused = await person.client.post(path, data=sent)
        assert refused.status_code == 422
        assert "secret anew" in refused.text
    _, token = await ctx.tokens.create("house", "operator")
    async with console.relay.client(headers={"authorization": f"Bearer {token}"}) as client:
        url = f"/admin/api/v1/accounts/{account.id}"
        for move in ({"baseUrl": "http://127.0.0.1:9"}, {"proxy": "http://127.0.0.1:9"}):
            answer = await client.patch(url, json=move)
            assert answer.status_code == 400
            assert answer.json()["error"]["field"] == "secret"
    assert await raw(console, "account", account.id) == before
