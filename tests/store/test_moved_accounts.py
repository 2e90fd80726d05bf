"""An account's credential goes where it was given for, unless whoever moves it gives it anew."""

from pathlib import Path

import pytest

from relay.accounts import Account, AccountProblem, Accounts, kinds
from relay.store import Store
from relay.vault import Vault
from relay.versions import Changed

VAULT = Vault("e" * 32, "h" * 32)
URL = "https://api.example.com/v1"
SECRET = "upstream-secret"


@pytest.fixture
def accounts(opened: Store) -> Accounts:
    return Accounts(opened, VAULT, kinds.table(None))


async def secret_of(accounts: Accounts, account: Account) -> str:
    return accounts.kept(account.id, await accounts.fields(account.id)).secret


MOVES = [
    {"base_url": "https://evil.example/v1"},
    {"base_url": "http://api.example.com/v1"},
    {"base_url": "https://api.example.com:8443/v1"},
    {"base_url": "https://api.example.com.evil.example/v1"},
    {"base_url": "https://127.0.0.1"},
    {"proxy": "http://evil.example:3128"},
    {"proxy": "socks5://evil.example"},
]


@pytest.mark.parametrize("kind", ["api_key", "session_key"])
@pytest.mark.parametrize("move", MOVES, ids=str)
async def test_a_move_without_the_secret_is_refused(
    accounts: Accounts, kind: str, move: dict[str, str]
):
    made = await accounts.add("main", kind=kind, secret=SECRET, base_url=URL)
    before = await accounts.fields(made.id)
    for more in ({}, {"note": "x"}, {"enabled": True}):
        with pytest.raises(AccountProblem, match="needs the account's secret anew") as problem:
            await accounts.edit(made.id, **move, **more)
        assert problem.value.field == "secret"
    assert await accounts.fields(made.id) == before


@pytest.mark.parametrize("move", MOVES, ids=str)
async def test_a_move_with_a_secret_has_that_one(accounts: Accounts, move: dict[str, str]):
    made = await accounts.add("main", secret=SECRET, base_url=URL)
    await accounts.edit(made.id, secret="another", **move)
    assert await secret_of(accounts, made) == "another"


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "https://api.example.com/other"},
        {"base_url": "https://API.example.com:443/v1/"},
        {"base_url": "https://api.example.com./v1"},
        {"proxy": ""},
        {"note": "x"},
        {"auth": "bearer"},
    ],
    ids=str,
)
async def test_what_stays_at_its_host_keeps_its_secret(accounts: Accounts, change: dict[str, str]):
    made = await accounts.add("main", secret=SECRET, base_url=URL)
    await accounts.edit(made.id, **change)
    assert await secret_of(accounts, made) == SECRET


@pytest.mark.parametrize("proxy", ["", "direct", "http://other.example:1"])
async def test_a_proxy_that_is_taken_away_or_replaced_is_a_move(opened: Store, proxy: str):
    accounts = Accounts(opened, VAULT, kinds.table(None), "http://of-the-settings.example:1")
    made = await accounts.add("main", secret=SECRET, base_url=URL, proxy="http://own.example:1")
    with pytest.raises(AccountProblem, match="secret anew"):
        await accounts.edit(made.id, proxy=proxy)


async def test_tokens_of_a_sign_in_do_not_move_with_the_account(opened: Store, accounts: Accounts):
    made = await accounts.add("main", kind="oauth", base_url=URL)
    held = accounts.sealed(made.id, {"token": "access", "secret": "refresh"})
    await opened.accounts.change(made.id, {**held, "token_until": "9" * 13, "state": "ok"})
    moved = await accounts.edit(made.id, base_url="https://evil.example")
    kept = accounts.kept(made.id, await accounts.fields(made.id))
    assert (kept.token, kept.secret, moved.state) == ("", "", "expired")


async def test_a_federations_token_does_not_move_and_its_file_is_named_anew(
    opened: Store, accounts: Accounts, tmp_path: Path
):
    options = {"federation_rule_id": "f", "organization_id": "o",
               "identity_token_file": str(tmp_path / "token")}  # fmt: skip
    made = await accounts.add("main", kind="federation", base_url=URL, options=options)
    await opened.accounts.change(made.id, accounts.sealed(made.id, {"token": "access"}))
    with pytest.raises(AccountProblem, match="identity_token_file anew"):
        await accounts.edit(made.id, base_url="https://evil.example")
    named = {"identity_token_file": options["identity_token_file"]}
    await accounts.edit(made.id, base_url="https://evil.example", options=named)
    assert accounts.kept(made.id, await accounts.fields(made.id)).token == ""


async def test_a_secret_does_not_follow_an_address_that_was_written_meanwhile(
    opened: Store, accounts: Accounts
):
    """Of two edits at one time one moves the account, and the other one brings its secret."""
    made = await accounts.add("main", secret=SECRET, base_url=URL)
    read, state = opened.accounts.read, {"left": 2}

    async def read_then_move(record_id: str) -> dict[str, str]:
        fields = await read(record_id)
        state["left"] -= 1
        if state["left"] == 0:
            opened.accounts.read = read  # type: ignore[method-assign]
            await accounts.edit(made.id, base_url="https://evil.example", secret="theirs")
        return fields

    opened.accounts.read = read_then_move  # type: ignore[method-assign]
    with pytest.raises(Changed):
        await accounts.edit(made.id, secret="the-real-one")
    assert await secret_of(accounts, made) == "theirs"
