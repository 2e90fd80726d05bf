"""How often a process asks whose turn it is: at once when a slot of its own is free, else less
and less often; and not at all when nobody waits."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.store import NO_LIMITS, RedisAway, RelayLimits, Store
from relay.waiting import WaitingRoom

FOR_EVER = 1e9


class Line:
    """A store whose `wait` answers what a test sets, and notes when it was asked."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        self.asked: list[float] = []
        self.left: list[str] = []
        self.is_away = False

    async def wait(
        self, waiting: Mapping[str, str], left: Mapping[str, str], limits: RelayLimits
    ) -> set[str]:
        self.asked.append(trio.current_time())
        self.left += left
        if self.is_away:
            raise RedisAway("away")
        return self.ready & set(waiting)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def room(line: Line) -> WaitingRoom:
    return WaitingRoom(cast("Store", SimpleNamespace(leases=line)), NO_LIMITS)


async def wait_for_ever(room: WaitingRoom, lease: str = "a") -> None:
    while await room.turn(lease, "key", "accounts", FOR_EVER):
        pass


async def test_a_long_wait_asks_less_than_ten_times_a_second(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        nursery.start_soon(wait_for_ever, room)
        await trio.sleep(10)
        in_last_second = [at for at in line.asked if at > trio.current_time() - 1]
        assert 2 <= len(in_last_second) <= 10
        assert len(line.asked) < 110
        nursery.cancel_scope.cancel()


async def test_a_slot_that_this_process_frees_is_asked_for_at_once(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        nursery.start_soon(wait_for_ever, room)
        await trio.sleep(1.5)
        line.ready = {"a"}
        began = trio.current_time()
        room.slot_is_free()
        while line.asked[-1] < began:  # noqa: ASYNC110
            await trio.sleep(0.001)
        assert line.asked[-1] - began < 0.03
        nursery.cancel_scope.cancel()


async def test_nobody_is_asked_for_when_nobody_waits(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        room.slot_is_free()
        await trio.sleep(10)
        assert not line.asked
        nursery.cancel_scope.cancel()


async def test_whose_time_is_over_leaves_the_line(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        assert not await room.turn("a", "key", "accounts", trio.current_time() + 1)
        await trio.sleep(0.1)
        assert line.left == ["a"]
        count = len(line.asked)
        await trio.sleep(10)
        assert len(line.asked) == count
        nursery.cancel_scope.cancel()


async def test_a_call_that_waits_again_has_not_left(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    assert not await room.turn("a", "key", "accounts", trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_ever, room)
        await wait_all_tasks_blocked()
        nursery.start_soon(room.call_up)
        await trio.sleep(1)
        assert not line.left
        nursery.cancel_scope.cancel()


async def test_everybody_asks_while_redis_is_away(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    line.is_away = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        assert await room.turn("a", "key", "accounts", FOR_EVER)
        nursery.cancel_scope.cancel()


async def test_each_asks_for_itself_now_and_then(
    autojump_clock: MockClock, room: WaitingRoom, line: Line
):
    """Its key may be disabled meanwhile, or an account be back that it did not wait for."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.call_up)
        began = trio.current_time()
        assert await room.turn("a", "key", "accounts", FOR_EVER)
        assert trio.current_time() - began < 3
        nursery.cancel_scope.cancel()
