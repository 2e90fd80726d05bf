"""Accounts as they are made, changed, kept and taken away."""

import ipaddress
import json
from pathlib import Path

import pytest
import trio
import trio.testing

from relay.accounts import AccountProblem, Accounts, kinds
from relay.accounts.reach import Reach
from relay.store import Store, name
from relay.vault import Vault

VAULT = Vault("e" * 32, "j" * 32)
URL = "http://127.0.0.1:1"
OWN = "https://claude.corp.example"
FEDERATED = {
    "federation_rule_id": "fdrl_1",
    "organization_id": "org",
    "identity_token_file": "/run/token",
}


@pytest.fixture
def accounts(opened: Store) -> Accounts:
    return Accounts(opened, VAULT, kinds.table(None))


async def header(accounts: Accounts, name: str) -> tuple[bytes, bytes]:
    """The header by which an account's requests are authenticated."""
    found = await accounts.find(name)
    version = (await accounts.fields(found.id))["version"]
    return (await accounts.credential(found.id, version)).header


async def test_an_accounts_secret_is_kept_encrypted_and_shown_nowhere(
    opened: Store, accounts: Accounts
):
    made = await accounts.add(
        "main", secret="top-secret", base_url=URL, proxy="socks5://u:hidden@h:1"
    )
    kept = json.dumps(await opened.accounts.read(made.id))
    assert "top-secret" not in kept + repr(made)
    assert "hidden" not in kept + repr(made)
    assert made.proxy == "socks5://u:***@h:1"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"secret": "s"}, (b"x-api-key", b"s")),
        ({"secret": "s", "auth": "bearer"}, (b"authorization", b"Bearer s")),
        ({"secret": "s", "kind": "session_key", "base_url": OWN}, (b"cookie", b"sessionKey=s")),
    ],
)
async def test_each_kind_is_authenticated_in_its_own_way(
    accounts: Accounts, settings: dict, expected: tuple[bytes, bytes]
):
    await accounts.add("main", **{"base_url": URL, **settings})
    assert await header(accounts, "main") == expected


@pytest.mark.parametrize("host", ["claude.ai", "api.anthropic.com", "CONSOLE.claude.com"])
@pytest.mark.parametrize("kind", ["oauth", "session_key"])
async def test_logins_are_refused_at_anthropics_own_hosts(accounts: Accounts, host: str, kind: str):
    secret = "s" if kind == "session_key" else ""
    with pytest.raises(AccountProblem, match="provider's terms do not allow"):
        await accounts.add("main", kind=kind, secret=secret, base_url=f"https://{host}/v1")
    made = await accounts.add("main", kind=kind, secret=secret, base_url=OWN)
    with pytest.raises(AccountProblem, match="provider's terms do not allow"):
        await accounts.edit(made.name, base_url=f"https://{host}")


@pytest.mark.parametrize("secret", ["sk-ant-oat01-x", "sk-ant-sid01-x", "sk-ant-session-x"])
async def test_a_claude_ai_login_is_no_api_key(accounts: Accounts, secret: str):
    with pytest.raises(AccountProblem, match="provider's terms do not allow"):
        await accounts.add("main", secret=secret, base_url="https://api.anthropic.com")
    await accounts.add("own", secret=secret, base_url=OWN)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"priority": -1}, "priority: '-1' is not a whole number from 0 to 1000"),
        ({"weight": 0}, "weight: '0' is not a whole number from 1 to 1000"),
        ({"inference_geo": "moon"}, "inference_geo: 'moon' is no place to serve at"),
        ({"max_concurrency": "many"}, "max_concurrency: 'many' is not a whole number"),
        ({"email": "nobody"}, "email: 'nobody' is not an email address"),
        ({"groups": ["a b"]}, "groups: 'a b' is not one plain word"),
        ({"allowed_models": ["[a]"]}, "allowed_models: '[a]' is not a model pattern"),
        ({"model_map": {"claude-*": "x"}}, "model_map: A model that is mapped"),
        ({"auth": "cookie"}, "auth: 'cookie' is not a header"),
        ({"base_url": "ftp://h"}, "base_url: 'ftp://h' is not a base URL"),
        ({"base_url": "https://u:p@h"}, "base_url: A base URL has no user"),
        ({"name": "two\nlines"}, "name: A name is one line"),
        ({"proxy": "ftp://h:1"}, "proxy: "),
        ({"secret": "two words"}, "A secret is one line"),
        ({"kind": "magic"}, "There is no kind 'magic'"),
    ],
)
async def test_a_wrong_setting_is_refused_with_its_name(
    accounts: Accounts, settings: dict, words: str
):
    with pytest.raises(AccountProblem) as caught:
        await accounts.add(**{"name": "main", "base_url": URL, "secret": "s", **settings})
    assert words in str(caught.value)
    assert await accounts.list() == []


async def test_an_edit_changes_what_it_names_and_nothing_else(accounts: Accounts):
    before = await accounts.add(
        "main", secret="s", base_url=URL, weight=3, groups=["a", "b"], email="me@corp.example"
    )
    after = await accounts.edit("main", name="first", weight=5, groups=[])
    assert (after.id, after.name, after.weight, after.groups) == (before.id, "first", 5, ())
    assert (after.email, after.base_url) == ("me@corp.example", URL)
    assert await header(accounts, "first") == (b"x-api-key", b"s")


async def test_a_new_secret_is_used_from_the_next_request_on(accounts: Accounts):
    await accounts.add("main", secret="old", base_url=URL)
    assert await header(accounts, "main") == (b"x-api-key", b"old")
    await accounts.edit("main", secret="new")
    assert await header(accounts, "main") == (b"x-api-key", b"new")


async def test_two_accounts_cannot_have_one_name(accounts: Accounts):
    await accounts.add("main", secret="s", base_url=URL)
    await accounts.add("second", secret="s", base_url=URL)
    with pytest.raises(AccountProblem, match="named main already"):
        await accounts.edit("second", name="main")


async def test_mapped_models_stand_in_the_allow_list(opened: Store, accounts: Accounts):
    made = await accounts.add("main", secret="s", base_url=URL, model_map={"opus": "vendor-opus"})
    assert (await opened.accounts.read(made.id))["models"] == ""
    await accounts.edit("main", allowed_models=["claude-haiku-*"])
    assert (await opened.accounts.read(made.id))["models"] == "claude-haiku-*\nopus"
    assert (await accounts.find("main")).models == ("claude-haiku-*",)


@pytest.mark.parametrize("missing", list(FEDERATED))
async def test_a_federation_needs_its_ids_and_its_file(accounts: Accounts, missing: str):
    options = {key: value for key, value in FEDERATED.items() if key != missing}
    with pytest.raises(AccountProblem, match=missing):
        await accounts.add("main", kind="federation", base_url=OWN, options=options)


async def test_an_identity_token_never_goes_over_plain_http(accounts: Accounts):
    with pytest.raises(AccountProblem, match="https"):
        await accounts.add(
            "main", kind="federation", base_url="http://api.example", options=FEDERATED
        )


@pytest.mark.parametrize(
    ("url", "named_by", "networks", "doubts"),
    [
        ("http://10.0.0.5", "machine", "", [False]),
        ("http://10.0.0.5", "", "", [True]),
        ("http://10.0.0.5", "role", "", [True]),
        ("http://[::ffff:10.0.0.5]", "", "", [True]),
        ("http://169.254.169.254", "", "", [True]),
        ("http://10.0.0.5", "", "10.0.0.0/8", []),
        ("https://192.0.9.1", "", "", []),
        (URL, "", "", []),
    ],
)
async def test_accounts_that_lead_inside_are_listed(
    opened: Store, url: str, named_by: str, networks: str, doubts: list[bool]
):
    """Somebody has to look at those that an earlier release let anybody with a role set."""
    allowed = [ipaddress.ip_network(networks)] if networks else []
    accounts = Accounts(opened, VAULT, kinds.table(None), reach=Reach(URL, allowed))
    made = await accounts.add("main", base_url=url, secret="s")
    await opened.accounts.change(made.id, {"named_by": named_by})
    assert [needs_look for _, needs_look in await accounts.doubts(made.id)] == doubts


@pytest.mark.parametrize(
    ("folders", "file", "fits"),
    [
        ([], "/run/token", False),
        (["/run"], "/run/token", True),
        (["/run/tokens"], "/run/token", False),
        (["/run"], "/run/../etc/passwd", False),
        (["/run"], "/run/\0", False),
    ],
)
async def test_federations_whose_token_no_folder_holds_are_listed(
    opened: Store, folders: list[str], file: str, fits: bool
):
    table = kinds.table(None, [Path(folder) for folder in folders])
    accounts = Accounts(opened, VAULT, table, reach=Reach(OWN))
    made = await accounts.add("main", kind="federation", base_url=OWN, options=FEDERATED)
    options = json.dumps({**FEDERATED, "identity_token_file": file})
    await opened.accounts.change(made.id, {"options": options})
    assert bool(await accounts.doubts(made.id)) is not fits


async def test_an_account_that_must_sign_in_first_is_expired_until_then(accounts: Accounts):
    made = await accounts.add("main", kind="oauth", base_url=OWN)
    assert (made.state, made.reason) == ("expired", "not signed in yet")
    assert made.advice == "Sign in: `relay oauth login main`."


async def test_the_proxy_of_the_settings_serves_accounts_that_name_none(opened: Store):
    accounts = Accounts(opened, VAULT, kinds.table(None), "http://usual:1")
    for label, proxy in (("none", ""), ("own", "http://own:1"), ("direct", "direct")):
        await accounts.add(label, secret="s", base_url=URL, proxy=proxy)
    used = {}
    for account in await accounts.list():
        used[account.name] = (await accounts.credential(account.id, "1")).proxy
    assert used == {"none": "http://usual:1", "own": "http://own:1", "direct": None}


async def test_a_removal_waits_for_the_requests_that_run(opened: Store, accounts: Accounts):
    made = await accounts.add("main", secret="s", base_url=URL)
    key = name("inflight_account", made.id)
    await opened._db.call("ZADD", key, 1, "req_1")
    with pytest.raises(AccountProblem, match="still serves 1 requests"):
        await accounts.remove("main")
    assert not (await accounts.find("main")).enabled
    async with trio.open_nursery() as nursery:

        async def remove() -> None:
            await accounts.remove("main", patience_s=10)

        nursery.start_soon(remove)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(await accounts.list()) == 1
        await opened._db.call("ZREM", key, "req_1")
    assert await accounts.list() == []


NEW = Vault("n" * 32, "j" * 32, previous_encrypt_key="e" * 32)
NEW_ALONE = Vault("n" * 32, "j" * 32)


async def test_a_rotation_encrypts_everything_anew(opened: Store, accounts: Accounts):
    for label in ("one", "two"):
        await accounts.add(label, secret=f"s-{label}", base_url=URL, proxy="http://u:p@h:1")
    assert await Accounts(opened, NEW, kinds.table(None)).rotate() == 4
    assert await Accounts(opened, NEW, kinds.table(None)).rotate() == 0
    rotated = Accounts(opened, NEW_ALONE, kinds.table(None))
    assert await header(rotated, "one") == (b"x-api-key", b"s-one")
    assert (await rotated.find("two")).proxy == "http://u:***@h:1"


async def test_a_rotation_that_was_interrupted_is_finished_by_the_next(
    opened: Store, accounts: Accounts
):
    for number in range(20):
        await accounts.add(f"account-{number}", secret=f"s{number}", base_url=URL)
    rotating = Accounts(opened, NEW, kinds.table(None))
    change, count = opened.accounts.change, 0

    with trio.CancelScope() as scope:

        async def change_some(*args: object, **only_if: str) -> bool:
            nonlocal count
            count += 1
            if count == 8:
                scope.cancel()
            return await change(*args, **only_if)

        opened.accounts.change = change_some
        await rotating.rotate()
    assert scope.cancelled_caught
    opened.accounts.change = change
    for number in range(20):
        assert await header(rotating, f"account-{number}") == (b"x-api-key", b"s%d" % number)
    assert 12 <= await rotating.rotate() <= 13
    assert await header(Accounts(opened, NEW_ALONE, kinds.table(None)), "account-19") == (
        b"x-api-key",
        b"s19",
    )


async def test_a_rotation_does_not_undo_a_change_made_meanwhile(opened: Store, accounts: Accounts):
    made = await accounts.add("main", secret="old", base_url=URL)
    rotating = Accounts(opened, NEW, kinds.table(None))
    read = opened.accounts.read

    async def read_then_change(account_id: str) -> dict[str, str]:
        fields = await read(account_id)
        opened.accounts.read = read
        await accounts.edit("main", secret="new")
        return fields

    opened.accounts.read = read_then_change
    assert await rotating.rotate() == 1
    assert await header(Accounts(opened, NEW_ALONE, kinds.table(None)), made.name) == (
        b"x-api-key",
        b"new",
    )
