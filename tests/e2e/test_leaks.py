"""What fifty rounds of everything leave behind: nothing."""

import gc
import os

import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, SOON_S, Running
from .test_leaving import leave_after_first_bytes

STREAM = {**BODY, "stream": True}
ROUNDS = 50
# Idle connections of the pools, which come and go.
SLACK = 4


async def one_round(relay: Running) -> None:
    """Good answers, refusals, broken streams and a client that leaves."""
    async with relay.client() as client:
        await client.post("/v1/messages", json=BODY)
        await client.post("/v1/messages", json=STREAM)
        await client.post("/v1/messages", content=b"nonsense")
        await client.get("/v1/models")
        await client.get("/nowhere")
        relay.sim.script.append(Fault(reset_at=0))
        await client.post("/v1/messages", json=BODY)
        relay.sim.script.append(Fault(status=529))
        await client.post("/v1/messages", json=STREAM)
    await relay.ctx.accounts.reset("main")
    await leave_after_first_bytes(relay)
    await relay.settled()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def calm(most_files: int, most_tasks: int) -> tuple[int, int]:
    """Wait until no more than so many are left, if that ever is; what is left then."""
    with trio.move_on_after(SOON_S):
        while open_files() > most_files or tasks() > most_tasks:  # noqa: ASYNC110
            await trio.sleep(0.05)
    return open_files(), tasks()


@pytest.mark.slow
async def test_no_file_task_lease_or_byte_is_left_after_fifty_rounds(relay: Running):
    for _ in range(3):
        await one_round(relay)
    gc.collect()
    files, living = open_files(), tasks()
    for _ in range(ROUNDS):
        await one_round(relay)
    gc.collect()
    files_after, living_after = await calm(files + SLACK, living + SLACK)
    assert files_after <= files + SLACK
    assert living_after <= living + SLACK
    assert relay.ctx.leases.open_count == await relay.ctx.store.leases.count() == 0
    assert relay.ctx.bodies.held_bytes == 0
    assert relay.ctx.upstreams.open_connections == relay.ctx.upstreams.idle_connections <= SLACK
