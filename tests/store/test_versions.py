"""Whoever changes what somebody else changes at that moment is told, and undoes nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from relay.accounts import Accounts, kinds
from relay.keys import Keys
from relay.owners import Owners
from relay.store import Store
from relay.store.records import Records
from relay.vault import Vault
from relay.versions import Changed

VAULT = Vault("e" * 32, "h" * 32)
Act = Callable[[], Awaitable[object]]


def meanwhile(table: Records, act: Act) -> None:
    """Let somebody act right after the next read of a record by the writer."""
    read = table.read

    async def read_then_act(record_id: str) -> dict[str, str]:
        fields = await read(record_id)
        table.read = read  # type: ignore[method-assign]
        await act()
        return fields

    table.read = read_then_act  # type: ignore[method-assign]


async def test_a_key_changed_between_the_look_and_the_write_stays_so(opened: Store):
    keys = Keys(opened, VAULT)
    made, _ = await keys.create("alice")
    found = keys.find

    async def find(name: str) -> object:
        key = await found(name)
        keys.find = found  # type: ignore[method-assign]
        meanwhile(opened.keys, lambda: keys.edit(made.id, note="of the other"))
        return key

    keys.find = find  # type: ignore[method-assign, assignment]
    with pytest.raises(Changed):
        await keys.edit(made.id, seen=made.version, note="mine", tags=["mine"])
    assert (await keys.find("alice")).note == "of the other"


async def test_an_owner_changed_between_the_look_and_the_write_stays_so(opened: Store):
    owners = Owners(opened, VAULT)
    seen = await owners.set("team", {"daily": "1"})
    meanwhile(opened.owners, lambda: owners.set("team", {"daily": "2"}))
    with pytest.raises(Changed):
        await owners.set("team", {"daily": "3"}, seen=seen.version)
    (kept,) = await owners.list()
    assert kept.version == (await owners.set("team", {"daily": "2"})).version


async def test_an_account_that_is_removed_meanwhile_does_not_come_back(opened: Store):
    accounts = Accounts(opened, VAULT, kinds.table(None))
    made = await accounts.add("main", secret="s", base_url="http://127.0.0.1:1")
    await opened.accounts.remove(made.id)
    assert not await opened.accounts.change(made.id, {"enabled": "1"})
    assert await opened.accounts.read(made.id) == {}


async def test_of_two_rotations_at_one_time_one_key_is_shown_and_works(opened: Store):
    keys = Keys(opened, VAULT)
    await keys.create("alice")
    shown: list[str] = []
    refused: list[Changed] = []

    async def rotate() -> None:
        try:
            shown.append((await keys.rotate("alice", 0))[1])
        except Changed as problem:
            refused.append(problem)

    # Neither writes before both have looked.
    swap, looked, both = opened.keys.rotate, [], trio.Event()

    async def rotate_after_both_looked(*args: Any) -> bool:
        looked.append(args)
        if len(looked) == 2:
            both.set()
        await both.wait()
        return await swap(*args)

    opened.keys.rotate = rotate_after_both_looked  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotate)
        nursery.start_soon(rotate)
    assert len(shown) == len(refused) == 1
    ref = await keys.authenticate([(b"x-api-key", shown[0].encode())])
    assert (await keys.check(ref)).name == "alice"
