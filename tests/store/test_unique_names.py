"""A name belongs to one key, account, token, owner and user, however many ask for it at once."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from relay import rules
from relay.accounts import Accounts, kinds
from relay.audit import Audit, Entry
from relay.keys import Keys
from relay.monitor import doctor
from relay.owners import Owners
from relay.store import Store, name
from relay.tokens import Tokens
from relay.users import Users
from relay.vault import Vault

VAULT = Vault("e" * 32, "h" * 32)
AT_ONCE = 12

Make = Callable[[str], Awaitable[object]]
Rename = Callable[[str, str], Awaitable[object]]


def makers(store: Store) -> dict[str, Make]:
    accounts = Accounts(store, VAULT, kinds.table(None))
    return {
        "key": Keys(store, VAULT).create,
        "account": lambda name: accounts.add(name, secret="s", base_url="https://api.example.com"),
        "token": lambda name: Tokens(store, VAULT).create(name, "viewer"),
        "user": lambda name: Users(store, VAULT).add(name, "a long enough password", "viewer"),
    }


def renamers(store: Store) -> dict[str, Rename]:
    keys, accounts = Keys(store, VAULT), Accounts(store, VAULT, kinds.table(None))
    return {
        "key": lambda which, new: keys.edit(which, name=new),
        "account": lambda which, new: accounts.edit(which, name=new),
    }


async def at_once(*acts: Callable[[], Awaitable[object]]) -> tuple[int, list[rules.Problem]]:
    """How many of the acts succeeded, and why the others did not."""
    done: list[object] = []
    problems: list[rules.Problem] = []

    async def act(one: Callable[[], Awaitable[object]]) -> None:
        try:
            done.append(await one())
        except rules.Problem as problem:
            problems.append(problem)

    async with trio.open_nursery() as nursery:
        for one in acts:
            nursery.start_soon(act, one)
    return len(done), problems


@pytest.mark.parametrize("kind", ["key", "account", "token", "user"])
async def test_of_parallel_creations_of_one_name_one_succeeds(opened: Store, kind: str):
    make = makers(opened)[kind]
    done, problems = await at_once(*[lambda: make("twin")] * AT_ONCE)
    assert (done, len(problems)) == (1, AT_ONCE - 1)
    assert {problem.field for problem in problems} == {"name"}
    assert all("twin" in str(problem) for problem in problems)


@pytest.mark.parametrize("kind", ["key", "account"])
async def test_of_parallel_renames_to_one_name_one_succeeds(opened: Store, kind: str):
    make, rename = makers(opened)[kind], renamers(opened)[kind]
    for number in range(AT_ONCE):
        await make(f"n{number}")
    names = [f"n{number}" for number in range(AT_ONCE)]
    done, problems = await at_once(*(partial(rename, one, "twin") for one in names))
    assert (done, len(problems)) == (1, AT_ONCE - 1)
    assert {problem.field for problem in problems} == {"name"}


@pytest.mark.parametrize("kind", ["key", "account"])
async def test_of_a_creation_and_a_rename_to_one_name_one_succeeds(opened: Store, kind: str):
    make, rename = makers(opened)[kind], renamers(opened)[kind]
    await make("before")
    done, problems = await at_once(lambda: rename("before", "twin"), lambda: make("twin"))
    assert (done, len(problems)) == (1, 1)


async def test_a_refused_creation_leaves_nothing_behind(opened: Store):
    keys = Keys(opened, VAULT)
    await at_once(*[lambda: keys.create("twin")] * AT_ONCE)
    (kept,) = await keys.list()
    assert [entry.action for entry in await _audit(opened)] == ["key.create"]
    assert await opened.keys.ids() == [kept.id]


async def _audit(store: Store) -> list[Entry]:
    return list(await Audit(store, VAULT).newest(100))


async def test_the_id_of_a_record_is_no_other_ones_name(opened: Store):
    keys = Keys(opened, VAULT)
    alice, _ = await keys.create("alice")
    with pytest.raises(rules.Problem, match="already"):
        await keys.create(alice.id)
    assert (await keys.edit(alice.id, name=alice.id)).name == alice.id


async def test_parallel_settings_of_one_owner_leave_one_owner(opened: Store):
    owners = Owners(opened, VAULT)
    done, _ = await at_once(*[lambda: owners.set("team", {"daily": "1"})] * AT_ONCE)
    assert done == AT_ONCE
    assert [owner.name for owner in await owners.list()] == ["team"]


async def twins(store: Store) -> list[str]:
    """Two keys of one name, as an earlier release stored them; their ids."""
    keys = Keys(store, VAULT)
    made = [(await keys.create(word))[0].id for word in ("twin", "other")]
    await store._db.call("HSET", name("key", made[1]), "name", "twin")
    return made


async def test_keys_of_one_name_from_an_earlier_release_stay_as_they_are(opened: Store):
    keys = Keys(opened, VAULT)
    _, second = await twins(opened)
    edited = await keys.edit(second, note="changed", name="twin")
    assert (edited.note, edited.name) == ("changed", "twin")
    assert await opened.keys.twins() == ["twin"]
    await keys.edit(second, name="free again")
    assert await opened.keys.twins() == []


async def test_a_name_that_several_keys_have_changes_none_of_them(opened: Store):
    keys = Keys(opened, VAULT)
    ids = await twins(opened)
    with pytest.raises(rules.Problem, match="There are 2 keys named twin; use an id") as problem:
        await keys.set_enabled("twin", enabled=False)
    assert all(one in str(problem.value) for one in ids)
    assert all(key.enabled for key in await keys.list())


async def test_doctor_names_what_several_records_are_called(opened: Store):
    (finding,) = await doctor.shared_names(opened)
    assert finding.level == "ok"
    await twins(opened)
    (finding,) = await doctor.shared_names(opened)
    assert (finding.level, finding.subject) == ("warning", "twin")
    assert "relay key list --json" in finding.mend
