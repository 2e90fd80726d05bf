"""The memory for bodies: granted whole, in order, and never all of it to one owner."""

import pytest
import trio
import trio.testing

from relay import errors
from relay.bodies import SMALL_BYTES, BodyBudget, Hold

MIB = 1024 * 1024
PATIENCE_S = 60.0


class Line:
    """Who has been granted what, in order."""

    def __init__(self, nursery: trio.Nursery, budget: BodyBudget) -> None:
        self._nursery = nursery
        self.budget = budget
        self.holds: list[Hold] = []

    async def ask(self, size: int, owner: str) -> None:
        async def take() -> None:
            self.holds.append(await self.budget.take(size, owner, PATIENCE_S))

        self._nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()

    async def end(self, owner: str) -> None:
        hold = next(hold for hold in self.holds if hold.owner == owner)
        self.holds.remove(hold)
        self.budget.give_back(hold)
        await trio.testing.wait_all_tasks_blocked()

    @property
    def owners(self) -> list[str]:
        return [hold.owner for hold in self.holds]


async def test_bodies_beyond_the_budget_wait_and_are_taken_in_order():
    async with trio.open_nursery() as nursery:
        line = Line(nursery, BodyBudget(128 * MIB))
        for owner in "abcdef":
            await line.ask(32 * MIB, owner)
        assert line.owners == ["a", "b", "c"]
        await line.end("b")
        await line.end("a")
        assert line.owners == ["c", "d", "e"]
        for owner in "cdef":
            await line.end(owner)
        assert line.budget.held_bytes == 0


async def test_one_owner_holds_no_more_than_a_half_and_lets_others_pass():
    async with trio.open_nursery() as nursery:
        line = Line(nursery, BodyBudget(128 * MIB))
        for _ in range(4):
            await line.ask(24 * MIB, "hungry")
        await line.ask(32 * MIB, "modest")
        assert line.owners == ["hungry", "hungry", "modest"]
        nursery.cancel_scope.cancel()


async def test_large_bodies_leave_room_for_small_ones():
    async with trio.open_nursery() as nursery:
        line = Line(nursery, BodyBudget(128 * MIB))
        for owner in "abcdefgh":
            await line.ask(32 * MIB, owner)
        for _ in range(30):
            await line.ask(SMALL_BYTES, "usual")
        assert line.owners.count("usual") == 30
        nursery.cancel_scope.cancel()


async def test_twenty_large_bodies_of_one_owner_are_all_taken_in_turn():
    budget, served = BodyBudget(128 * MIB), []

    async def one(number: int) -> None:
        hold = await budget.take(32 * MIB, "alice", PATIENCE_S)
        assert budget.held_bytes <= 128 * MIB
        await trio.sleep(0.01)
        budget.give_back(hold)
        served.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert sorted(served) == list(range(20))
    assert budget.held_bytes == 0


async def test_who_waits_too_long_is_refused(autojump_clock: trio.testing.MockClock):
    budget = BodyBudget(128 * MIB)
    await budget.take(96 * MIB, "a", PATIENCE_S)
    with pytest.raises(errors.Overloaded):
        await budget.take(32 * MIB, "b", 5.0)
    assert trio.current_time() >= 5
    assert budget.held_bytes == 96 * MIB


async def test_who_leaves_the_line_lets_the_next_one_go_on():
    async with trio.open_nursery() as nursery:
        line = Line(nursery, BodyBudget(128 * MIB))
        await line.ask(80 * MIB, "a")
        with trio.CancelScope() as leaves:
            async with trio.open_nursery() as impatient:
                impatient.start_soon(line.budget.take, 64 * MIB, "b", PATIENCE_S)
                await trio.testing.wait_all_tasks_blocked()
                await line.ask(16 * MIB, "c")
                assert line.owners == ["a"]
                leaves.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert line.owners == ["a", "c"]


async def test_what_can_never_fit_is_refused_at_once():
    with pytest.raises(errors.Overloaded):
        await BodyBudget(10 * MIB).take(11 * MIB, "a", PATIENCE_S)


async def test_a_body_that_turns_out_small_frees_the_rest():
    async with trio.open_nursery() as nursery:
        line = Line(nursery, BodyBudget(128 * MIB))
        await line.ask(96 * MIB, "a")
        await line.ask(32 * MIB, "b")
        line.budget.shrink(line.holds[0], 2 * MIB)
        await trio.testing.wait_all_tasks_blocked()
        assert line.owners == ["a", "b"]


@pytest.mark.parametrize("size", [1000, 200_000, SMALL_BYTES])
async def test_many_small_bodies_of_one_owner_leave_room_for_others(size: int):
    budget = BodyBudget(1000 * size)
    with trio.move_on_after(0):
        while True:
            await budget.take(size, "slow", PATIENCE_S)
    assert budget.held_bytes == 750 * size
    with trio.fail_after(PATIENCE_S):
        await budget.take(size, "modest", PATIENCE_S)


async def test_one_owner_takes_no_more_than_a_quarter_of_the_places_in_line():
    async with trio.open_nursery() as nursery:
        budget = BodyBudget(1000)
        await budget.take(700, "slow", PATIENCE_S)
        for _ in range(250):
            nursery.start_soon(budget.take, 100, "slow", PATIENCE_S)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(errors.Overloaded):
            await budget.take(100, "slow", PATIENCE_S)
        await budget.take(100, "modest", PATIENCE_S)
        nursery.cancel_scope.cancel()
