"""The page of Anthropic's books, what the overview says of them, and rotation of all secrets."""

import dataclasses
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay import passwords
from relay.accounts import Accounts, kinds
from relay.reconcile import AdminKeys
from relay.rotation import rotate_encryption
from relay.settings import Secret
from relay.users import Users
from relay.vault import Vault

from ..e2e.conftest import relay_running
from ..store.anthropic_books import ADMIN_KEY, AnthropicBooks, anthropic_books
from .conftest import PASSWORD, Console

YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


@pytest.fixture
async def books() -> AsyncIterator[AnthropicBooks]:
    async with anthropic_books() as made:
        yield made


@pytest.fixture
async def console(redis_url: str, tmp_path: Path, books: AnthropicBooks) -> AsyncIterator[Console]:
    changes = {"admin_password": Secret(PASSWORD), "base_url": books.url}
    async with relay_running(redis_url, tmp_path, **changes) as running:
        await running.ctx.accounts.edit("main", base_url=books.url, secret="sk-ant-api03-own")
        yield Console(running)


def result(theirs: int) -> str:
    lines = [
        {
            "workspace": "", "account": "main", "model": "claude-opus-5", "oursMicros": 500,
            "theirsMicros": theirs, "tokenClass": "output", "because": "tokens", "ourTokens": 1,
            "theirTokens": 2,
        }
    ]  # fmt: skip
    lines = lines if theirs != 500 else []
    return json.dumps(
        {"day": YESTERDAY, "ours": 500, "theirs": theirs, "hours": 0, "lines": lines, "at": ""}
    )


@pytest.mark.parametrize(
    ("language", "theirs", "said"),
    [
        ("en", 500, f"acme: equals Anthropic&#39;s books up to {YESTERDAY}."),
        ("ko", 500, f"acme: {YESTERDAY}까지 Anthropic 장부와 일치합니다."),
        ("en", 2_000_500, "acme: differs from Anthropic&#39;s books by $2.00 on 1 days since"),
        (
            "ko",
            2_000_500,
            f"acme: {YESTERDAY}부터 1일 동안 Anthropic 장부와 $2.00 차이가 있습니다.",
        ),
    ],
)
async def test_the_overview_says_whether_the_books_are_equal(
    console: Console, language: str, theirs: int, said: str
):
    key = await console.relay.ctx.admin_keys.add("acme", ADMIN_KEY)
    results = {YESTERDAY: result(theirs)}
    await console.relay.ctx.store.admin_keys.store_results(key.id, results, "")
    async with console.signed_in("viewer") as person:
        for path in ("/web", "/web/books"):
            page = (await person.get(path, **{"accept-language": language})).text
            assert said in page
            assert ADMIN_KEY not in page


async def test_an_admin_key_is_added_linked_compared_and_removed(
    console: Console, books: AnthropicBooks
):
    async with console.signed_in() as person:
        added = await person.post("/web/books", name="acme", secret=ADMIN_KEY)
        assert added.headers["location"] == "/web/books?done=added"
        (key,) = await console.relay.ctx.admin_keys.list()
        base = f"/web/books/{key.id}"
        linked = await person.post(f"{base}/link", account="main", workspace="default")
        assert linked.status_code == 303
        await console.relay.ctx.store.admin_keys.store_results(key.id, {YESTERDAY: result(500)}, "")
        books.use(YESTERDAY, "claude-opus-5", "123456", output_tokens=5)
        compared = await person.post(f"{base}/compare")
        assert compared.headers["location"] == "/web/books?done=compared"
        page = (await person.get("/web/books")).text
        assert ("$1,234.56" in page, "&lt;data" in page) == (True, False)
        wrong = await person.post(f"{base}/remove", confirm="other")
        assert wrong.status_code == 422
        await person.post(f"{base}/remove", confirm="acme")
        assert await console.relay.ctx.admin_keys.list() == []


async def test_hours_stand_among_the_requests_and_in_the_usage(
    console: Console, books: AnthropicBooks, caplog: pytest.LogCaptureFixture
):
    ctx = console.relay.ctx
    key = await ctx.admin_keys.add("acme", ADMIN_KEY)
    await ctx.admin_keys.link("acme", "main", "default")
    await ctx.store.admin_keys.store_results(key.id, {YESTERDAY: result(500)}, "")
    books.cost(YESTERDAY, "1250", cost_type="code_execution")
    await ctx.reconciler.run("acme")
    async with console.signed_in("viewer") as person:
        rows = (await person.get("/web/requests?since=7d")).text
        assert "container-hours" in rows
        (request_id,) = set(re.findall(r"/web/requests/(req_\w+\?at=[\w-]+)", rows))
        assert "container-hours" in (await person.get(f"/web/requests/{request_id}")).text
        usage = (await person.get("/web/usage?since=7d&by=model")).text
        assert ("container-hours" in usage, "$12.50" in usage) == (True, True)
        assert "no price for the model" not in caplog.text
        assert "no price of its own" not in (await person.get("/web")).text


async def test_what_is_no_admin_key_is_refused_with_its_field(console: Console):
    async with console.signed_in() as person:
        refused = await person.post("/web/books", name="acme", secret="sk-ant-api03-x")
        assert refused.status_code == 422
        assert "they begin with sk-ant-admin" in refused.text
        assert "sk-ant-api03-x" not in refused.text


async def test_a_viewer_sees_how_the_books_stand_and_no_form(console: Console):
    await console.relay.ctx.admin_keys.add("acme", ADMIN_KEY)
    async with console.signed_in("viewer") as person:
        page = (await person.get("/web/books")).text
        assert "acme" in page
        assert 'name="secret"' not in page


async def test_a_new_encrypt_key_takes_every_kind_of_secret_with_it(console: Console):
    """The second factor as well: without it nobody could sign in after the rotation."""
    ctx = console.relay.ctx
    key = await ctx.admin_keys.add("acme", ADMIN_KEY)
    secret = passwords.new_totp_secret()
    await ctx.users.set_second_factor("admin", secret, passwords.totp_code(secret))
    old, jwt = ctx.settings.encrypt_key.reveal(), ctx.settings.jwt_secret.reveal()
    both = Vault("n" * 32, jwt, old)
    accounts = Accounts(ctx.store, both, kinds.table(None, ()))

    during = dataclasses.replace(
        ctx,
        accounts=accounts,
        admin_keys=AdminKeys(ctx.store, both, accounts, ""),
        users=Users(ctx.store, both),
    )
    assert [await rotate_encryption(during), await rotate_encryption(during)] == [3, 0]
    (entry,) = await ctx.audit.newest(1)
    assert (entry.action, entry.subject) == ("encryption.rotate", "3 secrets")
    after = Vault("n" * 32, jwt)
    assert await AdminKeys(ctx.store, after, accounts, "").secret(key.id) == ADMIN_KEY
    fields = await ctx.store.users.read("admin")
    assert after.decrypt(fields["totp"], purpose="totp:admin") == secret
