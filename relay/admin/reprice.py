"""Days booked anew once a model has a row in the price table."""

import msgspec

from relay import errors
from relay.admin.fields import day
from relay.admin.routing import Call, In, Out
from relay.repricing import Repricing
from relay.usage import Archive, UsageProblem


class Reprice(In):
    """From which day (UTC, YYYY-MM-DD) on. `older` also takes what was booked by another price
    table, not only what had no row in it; `dryRun` only says what would change."""

    since: str
    older: bool = False
    dry_run: bool = False


class RepricedLine(Out):
    """What changes for a day, key and model."""

    day: str
    key_id: str
    key_name: str
    model: str
    records: int
    before_micros: int
    after_micros: int


class Repriced(Out):
    """What was booked anew by the price table `version`, or would be.

    `refused` are days that cannot be, and why; `skipped` records by reason; `isCut` says that there
    is more than one run does.
    """

    version: str
    records: int
    before_micros: int
    after_micros: int
    lines: list[RepricedLine]
    refused: dict[str, str]
    skipped: dict[str, int]
    is_cut: bool


async def reprice(call: Call) -> Repriced:
    body: Reprice = call.body
    ctx = call.ctx
    since = day(body.since, "since")
    repricing = Repricing(ctx.store, Archive(ctx.settings.usage_folder), ctx.prices, ctx.audit)
    async with call.shared.searching:
        try:
            made = await repricing.run(since, older=body.older, dry_run=body.dry_run)
        except UsageProblem as problem:
            raise errors.Conflict(str(problem)) from None
    return Repriced(
        version=made.version,
        records=len(made.corrections),
        before_micros=made.before_micros,
        after_micros=made.after_micros,
        lines=[msgspec.convert(one, RepricedLine, from_attributes=True) for one in made.lines],
        refused=dict(made.refused),
        skipped=dict(made.skipped),
        is_cut=made.is_cut,
    )
