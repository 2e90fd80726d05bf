"""Who acts by a role names no inner address; the machine's own command line may."""

from pathlib import Path

import pytest

from relay import audit
from relay.accounts import AccountProblem
from relay.settings import Secret

from ..e2e.conftest import BODY, relay_running
from .conftest import PASSWORD, Console

INNER = [
    "http://127.0.0.1:9",
    "http://169.254.169.254",
    "http://0x7f.1",
    "http://[::1]",
    "http://localhost",
]


@pytest.mark.parametrize("url", INNER)
async def test_no_role_adds_or_moves_an_account_inside(redis_url: str, tmp_path: Path, url: str):
    async with relay_running(
        redis_url, tmp_path, admin_password=Secret(PASSWORD), inner_networks=()
    ) as running:
        ctx = running.ctx
        _, token = await ctx.tokens.create("house", "admin")
        async with running.client(headers={"authorization": f"Bearer {token}"}) as client:
            body = {"name": "second", "baseUrl": url, "secret": "s"}
            added = await client.post("/admin/api/v1/accounts", json=body)
            assert (added.status_code, added.json()["error"]["field"]) == (400, "baseUrl")
            (main,) = await ctx.accounts.list()
            moved = await client.patch(f"/admin/api/v1/accounts/{main.id}", json=body)
            assert (moved.status_code, moved.json()["error"]["field"]) == (400, "baseUrl")
            proxied = {"name": "third", "secret": "s", "proxy": url}
            refused = await client.post("/admin/api/v1/accounts", json=proxied)
            assert (refused.status_code, refused.json()["error"]["field"]) == (400, "proxy")
        async with Console(running).signed_in("operator") as person:
            page = await person.post("/web/accounts/new", kind="api_key", name="x", base_url=url,
                                     secret="s")  # fmt: skip
            assert page.status_code == 422
            assert "claude.innerNetworks" in page.text
        assert [one.name for one in await ctx.accounts.list()] == ["main"]


async def test_accounts_of_the_command_line_and_from_before_go_on(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, inner_networks=()) as running:
        ctx = running.ctx
        (main,) = await ctx.accounts.list()
        for named_by in ("machine", ""):
            if not named_by:
                await ctx.store._db.call("HDEL", f"{{relay}}:account:{main.id}", "named_by")
                await ctx.accounts.edit(main.id, note="a new version")
            async with running.client(headers={"x-api-key": running.key}) as client:
                assert (await client.post("/v1/messages", json=BODY)).status_code == 200


async def test_what_a_role_named_is_judged_at_each_connection(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, inner_networks=()) as running:
        (main,) = await running.ctx.accounts.list()
        await running.ctx.store.accounts.change(main.id, {"named_by": "role"})
        async with running.client(headers={"x-api-key": running.key}) as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 502
        assert not running.sim.requests


async def test_the_usual_address_is_for_every_role(redis_url: str, tmp_path: Path):
    url = "http://127.0.0.1:9/prefix"
    async with relay_running(redis_url, tmp_path, inner_networks=(), base_url=url) as running:
        with audit.acting(audit.Actor("user:bob")):
            made = await running.ctx.accounts.add("x", base_url="http://127.0.0.1:9", secret="s")
            with pytest.raises(AccountProblem):
                await running.ctx.accounts.add("y", base_url="http://127.0.0.1:8", secret="s")
        assert made.base_url == "http://127.0.0.1:9"


async def test_a_role_sends_no_identity_token_to_a_host_of_its_own(redis_url: str, tmp_path: Path):
    options = {"federation_rule_id": "f", "organization_id": "o",
               "identity_token_file": str(tmp_path / "t")}  # fmt: skip
    async with relay_running(redis_url, tmp_path) as running:
        add = running.ctx.accounts.add
        with audit.acting(audit.Actor("token:house")):
            with pytest.raises(AccountProblem, match="identity token goes to Anthropic"):
                await add("x", kind="federation", base_url="https://evil.example", options=options)
            await add("y", kind="federation", base_url="https://api.anthropic.com", options=options)
        with audit.acting(audit.Actor("cli:root")):
            await add("z", kind="federation", base_url="https://own.example", options=options)
