"""What runs at intervals: a table of jobs and the loop that runs them. Their logic is elsewhere."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from relay import (
    batches,
    known_models,
    own_errors,
    reconcile,
    refusals,
    remarks,
    retirements,
    systemd,
    tariff,
    usage,
)
from relay.context import Context
from relay.leases import HEARTBEAT_EVERY_S
from relay.settlements import WRITE_WAITING_EVERY_S
from relay.store import RedisAway

log = logging.getLogger("relay.jobs")

_JOB_DEADLINE_S = 60.0
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
RENEW_EVERY_S = 15.0
BATCHES_EVERY_S = 10.0
MARKS_EVERY_S = 5.0
# A burst must not fill what is left of the memory in between.
MEMORY_EVERY_S = 1.0
DELIVER_EVERY_S = 1.0
CONFIRM_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do every so often. A run that takes longer than its deadline is given up."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[None]]
    deadline_s: float = _JOB_DEADLINE_S


def table(ctx: Context) -> tuple[Job, ...]:
    """The jobs of a relay process."""
    return (
        Job("confirm", CONFIRM_EVERY_S, ctx.store.confirm),
        Job("heartbeat", HEARTBEAT_EVERY_S, ctx.leases.beat),
        Job("settle", WRITE_WAITING_EVERY_S, ctx.leases.settlements.write_waiting),
        Job("refusals", refusals.WRITE_EVERY_S, ctx.leases.refusals.write),
        Job("own errors", own_errors.WRITE_EVERY_S, ctx.own_errors.write),
        Job("remarks", remarks.REPORT_EVERY_S, partial(_report_remarks, ctx)),
        Job("prices", tariff.FOLLOW_EVERY_S, ctx.tariff.follow),
        Job("models", known_models.FOLLOW_EVERY_S, ctx.models.follow),
        Job("recover", HEARTBEAT_EVERY_S, ctx.leases.recover),
        Job("renew", RENEW_EVERY_S, ctx.signins.renew_due),
        Job("check", ctx.settings.check_interval_s, ctx.checks.check_all),
        Job("batches", BATCHES_EVERY_S, partial(batches.poll, ctx), batches.RUN_DEADLINE_S),
        Job("prune", 10.0, ctx.upstreams.prune),
        Job("archive", MINUTE_S, partial(_archive, ctx)),
        Job("memory", MEMORY_EVERY_S, partial(_relieve, ctx)),
        Job("report", MINUTE_S, partial(usage.save_due, ctx.store, ctx.prices)),
        Job("reconcile", MINUTE_S, ctx.reconciler.run_due, reconcile.RUN_DEADLINE_S),
        Job("forget", DAY_S, partial(usage.prune, ctx.store)),
        Job("marks", MARKS_EVERY_S, ctx.alerts.tell_marks),
        Job("expiring", HOUR_S, ctx.alerts.tell_expiring),
        Job(
            "retirements",
            retirements.REPORT_EVERY_S,
            partial(retirements.report, ctx.store, ctx.models, ctx.alerts),
        ),
        *(
            Job(f"webhook {one.name}", DELIVER_EVERY_S, partial(ctx.alerts.deliver, one))
            for one in ctx.alerts.webhooks
        ),
        *_watchdog(ctx),
    )


async def _archive(ctx: Context, part: float = 1.0) -> None:
    settings = ctx.settings
    await usage.tidy(
        ctx.store,
        usage.Archive(settings.usage_folder),
        retention_days=settings.usage_retention_days,
        most_bytes=settings.usage_max_memory,
        part=part,
    )


async def _relieve(ctx: Context) -> None:
    """Make room as soon as Redis is short of memory; what is dropped or moved is the oldest."""
    for part in (1.0, 0.5, 0.25):
        if not await usage.is_short(ctx.store):
            return
        await _archive(ctx, part)


async def _report_remarks(ctx: Context) -> None:
    """Hand what booking found remarkable to the webhooks, each once a month."""
    waiting = ctx.leases.remarks.take()
    try:
        noted = [one.subject for one in waiting if one.event == "price_unknown"]
        await usage.note_unpriced(ctx.store, ctx.prices, noted)
        while waiting:
            remark = waiting[0]
            once = f"{remark.event}:{remark.subject}"
            await ctx.alerts.add(
                remark.event,
                remark.title,
                remark.text,
                once=once,
                once_for_s=remarks.ONCE_FOR_S,
                subject=remark.subject,
            )
            waiting.pop(0)
    finally:
        ctx.leases.remarks.put_back(waiting)


def _watchdog(ctx: Context) -> tuple[Job, ...]:
    """The sign of life that systemd waits for, three times as often as it must come."""
    settings = ctx.settings
    if not settings.watchdog_s:
        return ()

    async def tell() -> None:
        # That Redis is away is no reason to start anew, and cuts no stream that runs. A link that
        # neither answers nor gives up would be: then nothing is told.
        with contextlib.suppress(RedisAway):
            await ctx.store.ping()
        systemd.notify(settings.notify_socket, systemd.ALIVE)

    return (Job("watchdog", settings.watchdog_s / 3, tell),)


async def run(jobs: Sequence[Job]) -> None:
    """Run each job at its interval until cancelled. A job that fails runs again next time."""
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(_repeat, job)


async def _repeat(job: Job) -> None:
    while True:
        try:
            with trio.move_on_after(job.deadline_s) as scope:
                await job.run()
            if scope.cancelled_caught:
                log.error("job %s took over %.0f s and was given up", job.name, job.deadline_s)
        except* RedisAway as error:
            log.debug("job %s: %s", job.name, error.exceptions[0])
        except* Exception:
            log.exception("job %s failed", job.name)
        await trio.sleep(job.every_s)
