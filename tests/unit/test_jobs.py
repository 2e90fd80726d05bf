"""The loop that runs jobs at intervals."""

import logging

import pytest
import trio
import trio.testing

from relay.jobs import Job, run
from relay.store import RedisAway


async def ran_for(seconds: float, *jobs: Job) -> None:
    with trio.move_on_after(seconds):
        await run(jobs)


async def test_each_job_runs_at_its_own_interval(autojump_clock: trio.testing.MockClock):
    runs = {"fast": 0, "slow": 0}

    def job(name: str, every_s: float) -> Job:
        async def count() -> None:
            await trio.lowlevel.checkpoint()
            runs[name] += 1

        return Job(name, every_s, count)

    await ran_for(10.5, job("fast", 1.0), job("slow", 5.0))
    assert runs == {"fast": 11, "slow": 3}


@pytest.mark.parametrize(
    ("error", "is_logged"), [(ValueError("broken"), True), (RedisAway("away"), False)]
)
async def test_a_job_that_fails_runs_again(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    is_logged: bool,
):
    runs = 0

    async def fail() -> None:
        nonlocal runs
        await trio.lowlevel.checkpoint()
        runs += 1
        raise error

    with caplog.at_level(logging.INFO):
        await ran_for(2.5, Job("failing", 1.0, fail))
    assert runs == 3
    assert ("job failing failed" in caplog.text) is is_logged


async def test_a_job_that_hangs_is_given_up_and_runs_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
):
    runs = 0

    async def hang() -> None:
        nonlocal runs
        runs += 1
        await trio.sleep_forever()

    await ran_for(130, Job("hanging", 1.0, hang))
    assert runs == 3
    assert "was given up" in caplog.text
