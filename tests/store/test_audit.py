"""The audit: every change of keys, accounts and owners, and a fault in it that is found."""

import json

import pytest
import trio

from relay.accounts import Accounts, kinds
from relay.audit import Actor, Audit, acting
from relay.keys import Keys
from relay.owners import Owners
from relay.store import Store, name
from relay.vault import Vault

VAULT = Vault("e" * 32, "j" * 32)


@pytest.fixture
def audit(opened: Store) -> Audit:
    return Audit(opened, VAULT)


async def write(audit: Audit, count: int = 5) -> None:
    for number in range(count):
        await audit.note("key.create", f"key {number}", None, {"name": f"key {number}"})


async def row_ids(store: Store) -> list[bytes]:
    return [row for row, _ in await store._db.call("XRANGE", name("audit"), "-", "+")]


async def test_a_change_is_kept_with_who_made_it_and_what_differs(opened: Store, audit: Audit):
    keys = Keys(opened, VAULT)
    with acting(Actor("cli:kim", "192.0.2.7")):
        _, text = await keys.create("alice", daily=5)
        await keys.edit("alice", daily=7, note="hers")
    edit, create = await audit.newest(10)
    assert (create.action, create.subject, create.number) == ("key.create", "alice", 1)
    assert (edit.actor, edit.address) == ("cli:kim", "192.0.2.7")
    assert edit.before == {"dailyLimit": 5, "note": ""}
    assert edit.after == {"dailyLimit": 7, "note": "hers"}
    assert text not in json.dumps([create.after, edit.after])


async def test_every_change_of_a_key_an_account_and_an_owner_is_kept(opened: Store, audit: Audit):
    keys, owners = Keys(opened, VAULT), Owners(opened, VAULT)
    accounts = Accounts(opened, VAULT, kinds.table(None))
    await keys.create("alice")
    await keys.set_enabled("alice", enabled=False)
    await keys.set_enabled("alice", enabled=True)
    await keys.rotate("alice", 60)
    await keys.delete("alice")
    await owners.set("team", {"daily": "5"})
    await accounts.add("main", base_url="https://example.com", secret="very-secret")
    await accounts.edit("main", priority=7, secret="more-secret", proxy="http://u:hidden@proxy")
    await accounts.set_enabled("main", enabled=False)
    await accounts.set_enabled("main", enabled=True)
    await accounts.reset("main")
    await accounts.remove("main")
    entries = (await audit.newest(50))[::-1]
    assert [one.action for one in entries] == [
        "key.create", "key.disable", "key.enable", "key.rotate", "key.delete", "owner.set",
        "account.add", "account.edit", "account.disable", "account.enable", "account.reset",
        "account.disable", "account.remove",
    ]  # fmt: skip
    assert {one.actor for one in entries} == {"relay"}
    edit = next(one for one in entries if one.action == "account.edit")
    assert edit.after["replaced"] == ["proxy", "secret"]
    kept = json.dumps([[one.before, one.after] for one in entries])
    assert not any(word in kept for word in ("very-secret", "more-secret", "hidden"))


async def test_a_whole_audit_is_sound(audit: Audit):
    assert await audit.verify() == (0, "")
    await write(audit)
    assert await audit.verify() == (5, "")


async def test_writers_at_one_time_leave_no_gap(opened: Store, audit: Audit):
    other = Audit(opened, VAULT)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, (audit, other)[number % 2], 1)
    assert await audit.verify() == (20, "")
    assert [one.number for one in await audit.newest(20)] == list(range(20, 0, -1))


@pytest.mark.parametrize("taken", [0, 2, 4])
async def test_a_line_that_was_taken_out_is_found(opened: Store, audit: Audit, taken: int):
    await write(audit)
    await opened._db.call("XDEL", name("audit"), (await row_ids(opened))[taken])
    sound, fault = await audit.verify()
    assert sound == taken
    assert fault


async def test_a_line_that_was_altered_is_found(opened: Store, audit: Audit):
    await write(audit)
    rows = await opened._db.call("XRANGE", name("audit"), "-", "+")
    await opened._db.call("DEL", name("audit"))
    for number, (row, fields) in enumerate(rows):
        entry = fields[1].replace(b"key 3", b"key X") if number == 3 else fields[1]
        await opened._db.call("XADD", name("audit"), row, "entry", entry, "mark", fields[3])
    assert await audit.verify() == (
        3,
        f"Entry 4 ({json.loads(rows[3][1][1])['time']}, key.create key X) was altered, or one"
        " before it was taken out.",
    )


async def test_without_the_secret_no_line_can_be_added(opened: Store, audit: Audit):
    await write(audit)
    await write(Audit(opened, Vault("e" * 32, "k" * 32)), 1)
    sound, fault = await audit.verify()
    assert (sound, bool(fault)) == (5, True)
