"""What runs at intervals: a table of jobs and the loop that runs them. Their logic is elsewhere."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from relay import usage
from relay.context import Context
from relay.leases import HEARTBEAT_EVERY_S
from relay.settlements import WRITE_WAITING_EVERY_S
from relay.store import RedisAway

log = logging.getLogger("relay.jobs")

_JOB_DEADLINE_S = 60.0
HOUR_S = 3600.0
RENEW_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often. A run that takes a minute is given up."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[None]]


def table(ctx: Context) -> tuple[Job, ...]:
    """The jobs of a relay process."""
    return (
        Job("heartbeat", HEARTBEAT_EVERY_S, ctx.leases.beat),
        Job("settle", WRITE_WAITING_EVERY_S, ctx.leases.settlements.write_waiting),
        Job("recover", HEARTBEAT_EVERY_S, ctx.leases.recover),
        Job("renew", RENEW_EVERY_S, ctx.signins.renew_due),
        Job("check", ctx.settings.check_interval_s, ctx.checks.check_all),
        Job("prune", 10.0, ctx.upstreams.prune),
        Job("trim", HOUR_S, partial(usage.trim, ctx.store, ctx.settings.usage_retention_days)),
    )


async def run(jobs: Sequence[Job]) -> None:
    """Run each job at its interval until cancelled. A job that fails runs again next time."""
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(_repeat, job)


async def _repeat(job: Job) -> None:
    while True:
        try:
            with trio.move_on_after(_JOB_DEADLINE_S) as scope:
                await job.run()
            if scope.cancelled_caught:
                log.error("job %s took over %.0f s and was given up", job.name, _JOB_DEADLINE_S)
        except* RedisAway as error:
            log.debug("job %s: %s", job.name, error.exceptions[0])
        except* Exception:
            log.exception("job %s failed", job.name)
        await trio.sleep(job.every_s)
