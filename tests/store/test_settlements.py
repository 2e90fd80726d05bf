"""Bookings reach Redis once, whatever Redis does meanwhile."""

import shutil
from pathlib import Path

import pytest
import trio

from relay.pricing import Tokens
from relay.settlements import Settlements
from relay.store import Booking, ReplyError, name

from .conftest import RedisProcess
from .test_lease import CALL, FakeMeter, Office, office_at

FILES = "appendonlydir"


async def until_back(office: Office) -> None:
    """Wait for the next connection."""
    before = office.store.connections
    with trio.fail_after(10):
        while office.store.connections == before:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_what_a_killed_redis_forgot_after_it_had_acknowledged_it_is_booked_again(
    own_redis: RedisProcess, tmp_path: Path
):
    """A Redis whose disk is slow loses its last writes when it is killed."""
    async with office_at(own_redis.url) as office:
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            one.was_sent, one.status = True, 200
            one.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
            before = tmp_path / "before"
            shutil.copytree(own_redis.folder / FILES, before)
        assert (await office.total())["requests"] == 1
        own_redis.kill()
        shutil.rmtree(own_redis.folder / FILES)
        before.rename(own_redis.folder / FILES)
        own_redis.start()
        await until_back(office)
        assert (await office.total())["requests"] == 0
        await office.leases.settlements.write_waiting()
        assert await office.store.leases.count() == 0
        total = await office.total()
        assert (total["requests"], total["estimated"], total["cost_micros"]) == (1, 0, 175)


async def test_a_request_whose_admission_a_killed_redis_forgot_is_booked_all_the_same(
    own_redis: RedisProcess, tmp_path: Path
):
    async with office_at(own_redis.url) as office:
        before = tmp_path / "before"
        shutil.copytree(own_redis.folder / FILES, before)
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            one.was_sent, one.status = True, 200
            one.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
            own_redis.kill()
            shutil.rmtree(own_redis.folder / FILES)
            before.rename(own_redis.folder / FILES)
            own_redis.start()
            await until_back(office)
        for _ in range(2):
            await office.store.leases.settle(office.leases._booking(one))
        assert (await office.total())["requests"] == 1
        assert (await office.total())["cost_micros"] == 175
        assert await office.store.leases.count() == 0


async def test_what_redis_kept_is_not_booked_twice_after_a_lost_connection(
    own_redis: RedisProcess,
):
    async with office_at(own_redis.url) as office:
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            one.was_sent, one.status = True, 200
        own_redis.kill()
        own_redis.start()
        await until_back(office)
        await office.leases.settlements.write_waiting()
        assert (await office.total())["requests"] == 1
        assert len(await office.store.usage.records(10)) == 1


async def test_a_booking_that_redis_calls_wrong_does_not_hold_up_the_others(
    own_redis: RedisProcess, caplog: pytest.LogCaptureFixture
):
    async with office_at(own_redis.url) as office:
        settlements = Settlements(office.store)
        await office.leases._admit("req_1", office.ref, CALL)
        await office.store._db.call("SET", name("lease", "req_0"), "no hash")
        with pytest.raises(ReplyError, match="WRONGTYPE"):
            await office.store.leases.settle(Booking("req_0", "settled"))
        settlements.keep(Booking("req_0", "settled"))
        settlements.keep(Booking("req_1", "settled"))
        await settlements.write_waiting()
        assert settlements.waiting_count == await office.store.leases.count() == 0
        assert "request=req_0 cannot be booked" in caplog.text
