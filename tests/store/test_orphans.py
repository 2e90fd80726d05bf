"""What the survivors book for a dead process: everything that is known, at whom it was lost."""

import json

import pytest

from relay.balancer import Verdict
from relay.lease import Lease
from relay.leases import Leases, Step
from relay.pricing import Tokens
from relay.store import Booking, Store, name

from .test_lease import CALL, FakeMeter, Office
from .test_limits import scope

MOVES = Verdict(moves_on=True)
INPUT_MICROS, OUTPUT_MICROS = 5, 25


@pytest.fixture
async def office(opened: Store) -> Office:
    one = Office(opened)
    await one.open()
    await one.accounts.add("second", secret="s", base_url="http://127.0.0.1:1")
    return one


async def begun(process: Leases, office: Office) -> Lease:
    lease = await process._admit("req_1", office.ref, CALL)
    process._open[lease.id] = lease
    return lease


async def lose(process: Leases, lease: Lease, tokens: Tokens | None, chars: int = 0) -> Step:
    """The attempt under way breaks off after so much."""
    lease.was_sent, lease.error = True, "upstream_cut"
    if tokens is not None:
        lease.meter = FakeMeter(tokens, chars, is_complete=False)
    return await process.move_on(lease, MOVES, None)


async def die(office: Office) -> None:
    """No heartbeat any more, for longer than a process may be silent; the others notice."""
    await office.leases.recover()
    await office.store._db.call("ZADD", name("leases"), 1, "req_1")
    await office.leases.recover()
    assert await office.store.leases.count() == 0


async def records(office: Office) -> list[dict]:
    return [json.loads(record) for record in await office.store.usage.records(10)]


async def spent_at_accounts(office: Office) -> dict[str, int]:
    ids = await office.store.accounts.ids()
    return {
        (await office.store.accounts.read(one))["name"]: (
            await scope(office.store, f"account:{one}")
        ).get("total", 0)
        for one in ids
    }


async def test_what_was_lost_at_an_account_before_is_booked_there(office: Office):
    dead = office.another_process()
    lease = await begun(dead, office)
    first = lease.account.account_name
    assert await lose(dead, lease, Tokens(input=8), chars=40) is Step.ELSEWHERE
    second = lease.account.account_name
    lease.was_sent, lease.meter = True, FakeMeter(Tokens(input=8), 400, is_complete=False)
    await dead.beat()
    await die(office)
    lost, last = 8 * INPUT_MICROS + 10 * OUTPUT_MICROS, 8 * INPUT_MICROS + 100 * OUTPUT_MICROS
    assert await spent_at_accounts(office) == {first: lost, second: last}
    (record,) = await records(office)
    assert record["cost_micros"] == (await office.total())["cost_micros"] == lost + last
    assert [one["outcome"] for one in record["attempts"]] == ["upstream_cut", "process_died"]


async def test_a_heartbeat_of_an_attempt_that_is_over_does_not_count_for_the_next(office: Office):
    dead = office.another_process()
    lease = await begun(dead, office)
    lease.was_sent, lease.meter = True, FakeMeter(Tokens(input=8), 4000, is_complete=False)
    await dead.beat()
    before = lease.progress()
    await lose(dead, lease, Tokens(input=8), chars=40)
    await office.store.leases.heartbeat([before])
    await die(office)
    (record,) = await records(office)
    assert record["cost_micros"] == 8 * INPUT_MICROS + 10 * OUTPUT_MICROS
    assert record["attempts"][1]["cost_micros"] == 0


async def test_a_process_that_was_not_dead_leaves_one_record_with_its_own_figures(office: Office):
    alive = office.another_process()
    lease = await begun(alive, office)
    await lose(alive, lease, Tokens(input=8), chars=40)
    await die(office)
    lease.was_sent, lease.status = True, 200
    lease.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
    await alive.settle(lease)
    (record,) = await records(office)
    cost = 8 * INPUT_MICROS + 10 * OUTPUT_MICROS + 10 * INPUT_MICROS + 5 * OUTPUT_MICROS
    total = await office.total()
    assert (record["cost_micros"], record["error"]) == (cost, "")
    assert (total["cost_micros"], total["requests"]) == (cost, 1)
    assert sum((await spent_at_accounts(office)).values()) == cost


async def test_an_admission_that_is_taken_back_after_its_recovery_leaves_no_record(office: Office):
    await begun(office.another_process(), office)
    await die(office)
    assert await office.store.leases.settle(Booking("req_1", "void")) == 2
    assert await records(office) == []
    assert not any((await office.total()).values())


async def test_what_was_lost_at_an_account_stays_held_against_its_budget(office: Office):
    for account_id in await office.store.accounts.ids():
        await office.store.accounts.change(account_id, {"budgets": "total strict 1000000"})
    lease = await begun(office.leases, office)
    first = f"account:{lease.account.account_id}"
    await lose(office.leases, lease, Tokens(input=8), chars=40)
    assert (await scope(office.store, first))["held_most"] == 8 * INPUT_MICROS + 10 * OUTPUT_MICROS
    lease.was_sent = False
    await office.leases.settle(lease)
    for account_id in await office.store.accounts.ids():
        assert (await scope(office.store, f"account:{account_id}"))["held_most"] == 0
    assert (await scope(office.store, first))["total"] == 8 * INPUT_MICROS + 10 * OUTPUT_MICROS
