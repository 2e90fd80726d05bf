"""A release proves that it serves before clients are sent to it, and leaves nothing behind."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import trio

from relay import canary, delivery, settings
from relay.limits import budgets
from relay.redis_link import linked
from relay.settings import Settings

EVERYTHING = (
    "messages, whole", "messages, streamed", "chat completions, whole",
    "chat completions, streamed", "responses, whole", "responses, streamed",
)  # fmt: skip
LAST = 15


@pytest.fixture
def machine(tmp_path: Path, redis_url: str) -> Settings:
    """The settings of a machine whose Redis is in use."""
    return settings.load({"RELAY_HOME": str(tmp_path / "home"), "REDIS_URL": redis_url})


async def command(url: str, *words: str) -> Any:
    async with linked(url) as link:
        return await link.call(*words)


def database(machine: Settings, number: int) -> str:
    return f"{machine.redis_url}?db={number}"


async def sizes(machine: Settings) -> list[int]:
    """How many keys each database holds."""
    return [await command(database(machine, number), "DBSIZE") for number in range(LAST + 1)]


async def test_each_api_is_called_whole_and_streamed(machine: Settings):
    assert await canary.run(machine) == EVERYTHING


async def test_nothing_is_left_in_redis_or_in_the_data_folder(machine: Settings):
    await command(database(machine, 0), "SET", "mine", "1")
    files = sorted(machine.home.rglob("*"))

    await canary.run(machine)

    assert await sizes(machine) == [1] + [0] * LAST
    assert sorted(machine.home.rglob("*")) == files


async def test_a_machine_without_a_redis_proves_with_the_relays_own(machine: Settings):
    assert await canary.run(dataclasses.replace(machine, redis_url=None)) == EVERYTHING


async def test_the_machines_limits_do_not_refuse_the_calls(machine: Settings):
    tight = dataclasses.replace(
        machine, rate_max=1, budgets=(("daily", "0.000001"),), budget_mode="strict",
        max_concurrent=1, max_bodies_bytes=1 << 20, proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert budgets(dict(tight.budgets), tight.budget_mode)

    assert await canary.run(tight) == EVERYTHING


async def test_a_database_that_somebody_uses_is_left_alone(machine: Settings):
    await command(database(machine, LAST), "SET", "theirs", "1")

    await canary.run(machine)

    assert (await sizes(machine))[-2:] == [0, 1]


async def test_what_a_killed_canary_left_is_cleared(machine: Settings):
    left = ("relay:canary", "abc 1000", "{relay}:key:key_1", "1")
    await command(database(machine, LAST), "MSET", *left)

    await canary.run(machine)

    assert await sizes(machine) == [0] * (LAST + 1)


async def test_what_others_wrote_meanwhile_is_left_alone(
    machine: Settings, monkeypatch: pytest.MonkeyPatch
):
    find = canary._find_on_the_books

    async def write_and_find(*args: Any) -> None:
        await command(database(machine, LAST), "SET", "theirs", "1")
        await find(*args)

    monkeypatch.setattr(canary, "_find_on_the_books", write_and_find)
    await canary.run(machine)

    assert (await sizes(machine))[-1] == 1


async def test_a_redis_that_lends_no_database_is_no_reason_to_fail(machine: Settings):
    await command(database(machine, 0), "ACL", "SETUSER", "weak", "on", ">pw", "~*", "+ping")
    try:
        weak = f"unix://weak:pw@{str(machine.redis_url).removeprefix('unix://')}"
        assert await canary.run(dataclasses.replace(machine, redis_url=weak)) == EVERYTHING
    finally:
        with trio.move_on_after(5, shield=True):
            await command(database(machine, 0), "ACL", "DELUSER", "weak")


async def test_a_full_redis_is_no_reason_to_fail(machine: Settings):
    await command(database(machine, 0), "CONFIG", "SET", "maxmemory", "1")
    try:
        assert await canary.run(machine) == EVERYTHING
    finally:
        with trio.move_on_after(5, shield=True):
            await command(database(machine, 0), "CONFIG", "SET", "maxmemory", "0")


async def test_two_at_a_time_do_not_meet(machine: Settings):
    now = (await command(database(machine, LAST), "TIME"))[0].decode()
    await command(database(machine, LAST), "MSET", "relay:canary", f"abc {now}", "other", "1")

    await canary.run(machine)

    assert (await sizes(machine))[-2:] == [0, 2]


@pytest.mark.parametrize("kind", ["raises", "says nothing"])
async def test_a_release_that_fails_its_calls_is_found_out(
    machine: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
):
    async def broken(*_: object) -> None:
        if kind == "raises":
            raise LookupError("a fault of the release")

    monkeypatch.setattr(delivery, "deliver", broken)

    failed = pytest.RaisesExc(canary.CanaryFailed, match=r"^messages, whole: ")
    with pytest.RaisesGroup(failed, flatten_subgroups=True):
        await canary.run(machine)

    assert await sizes(machine) == [0] * (LAST + 1)


async def test_a_release_that_books_nothing_is_found_out(
    machine: Settings, monkeypatch: pytest.MonkeyPatch
):
    async def free(*_: object) -> None:
        return

    monkeypatch.setattr("relay.settlements.Settlements.book", free)
    monkeypatch.setattr(canary, "_DEADLINE_S", 4.0)

    with pytest.raises(canary.CanaryFailed, match=r"not on the books|have not ended"):
        await canary.run(machine)
