"""Usage of any period, and the reports of days."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay import errors, usage
from relay.admin.fields import Moment, day, must_exist
from relay.admin.routing import CSV, Call, File, In, Out, Page, PageQuery, camel, page
from relay.keys import KeyProblem
from relay.usage import Archive, Ask, Report, UsageProblem, spreadsheet

By = Literal["key", "owner", "account", "model", "client", "hour", "day", "month"]
_USUAL_BY = ("key", "model")
When = Annotated[str, Meta(max_length=40)]


class PeriodQuery(In):
    """From when to when: 2026-11-23, 2026-11, 2026-11-23T14:00, 7d, 12h, yesterday (UTC).

    A day or month that ends a period is taken whole; today until now when left out.
    """

    since: When = ""
    until: When = ""


class UsageQuery(PeriodQuery):
    """Which period by what; `key` and `account` are names or ids, `model` may have * and ?.

    By key and model when `by` is left out.
    """

    by: Annotated[list[By], Meta(max_length=8)] = []  # noqa: RUF012  # msgspec copies it
    key: str = ""
    account: str = ""
    model: str = ""


class Row(Out):
    """A line: what it is told by, its counters, and refusals by reason. Costs are micro-dollars."""

    counters: dict[str, int]
    refusals: dict[str, int]
    month: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    hour: str | UnsetType = UNSET
    key_id: str | UnsetType = UNSET
    key_name: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET
    account_name: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    client: str | UnsetType = UNSET


class Usage(Out):
    """Usage from `since` to `until`: in time's order, then dearest first."""

    since: Moment
    until: Moment
    by: list[str]
    rows: list[Row]
    total: dict[str, int]


class Difference(Out):
    """A counter that is not what the records add up to."""

    period: str
    key_id: str
    account_id: str
    model: str
    counter: str
    stored: int
    of_records: int


class Verdict(Out):
    """Whether the counters agree with the records: they do when `count` is 0."""

    since: Moment
    until: Moment
    records: int
    count: int
    differences: list[Difference]


class TopModel(Out):
    """A model's figures of a day; `cost` is US dollars."""

    model: str
    requests: int
    tokens: int
    cost: float


class UnpricedModel(Out):
    """A model without a row in the price table; `cost` is US dollars of that day."""

    model: str
    booked_as: str
    cost: float


class DayReport(Out):
    """The report of a day; `errorRate` is percent, `cost` US dollars."""

    date: str
    total_requests: int
    total_tokens: int
    unique_users: int
    error_rate: float
    cost: float
    top_models: list[TopModel]
    unpriced_models: list[UnpricedModel] = []  # noqa: RUF012  # msgspec copies it


def counters(amounts: Mapping[str, int]) -> dict[str, int]:
    """Counters by the names that JSON has."""
    return {camel(name): amount for name, amount in amounts.items()}


def moment(text: str, field: str, *, is_end: bool = False) -> datetime | None:
    """A time as people write it; BadField for anything else."""
    try:
        return usage.moment(text, datetime.now(UTC), is_end=is_end) if text else None
    except UsageProblem as problem:
        raise errors.BadField(str(problem), field) from None


def _archive(call: Call) -> Archive:
    return Archive(call.ctx.settings.usage_folder)


async def _report(call: Call) -> Report:
    query: UsageQuery = call.query
    ask = Ask(
        since=moment(query.since, "since"),
        until=moment(query.until, "until", is_end=True),
        by=tuple(dict.fromkeys(query.by)) or _USUAL_BY,
        key_id=await _key_id(call, query.key) if query.key else "",
        account_id=await _account_id(call, query.account) if query.account else "",
        model=query.model,
    )
    async with call.shared.searching:
        try:
            return await usage.report(call.ctx.store, ask, _archive(call))
        except UsageProblem as problem:
            raise errors.BadField(str(problem), "since") from None


async def _key_id(call: Call, name_or_id: str) -> str:
    """A key's id; that of one that was deleted is taken as it is."""
    if name_or_id.startswith("key_"):
        return name_or_id
    try:
        return (await call.ctx.keys.find(name_or_id)).id
    except KeyProblem as problem:
        raise errors.NotFound(str(problem)) from None


async def _account_id(call: Call, name_or_id: str) -> str:
    if name_or_id.startswith("acc_"):
        return name_or_id
    with must_exist():
        return (await call.ctx.accounts.find(name_or_id)).id


async def figures(call: Call) -> Usage:
    found = await _report(call)
    named = spreadsheet.fields(found)
    return Usage(
        since=found.since,
        until=found.until,
        by=list(found.by),
        rows=[
            Row(
                **{name: getattr(row, name) for name in named},
                counters=counters(row.counters),
                refusals=counters(row.refusals),
            )
            for row in found.rows
        ],
        total=counters(found.total),
    )


async def as_csv(call: Call) -> File:
    return File(CSV, spreadsheet.as_csv(await _report(call)).encode(), "relay-usage.csv")


async def verify(call: Call) -> Verdict:
    """Rebuild the counters from the records and compare."""
    query: PeriodQuery = call.query
    since = moment(query.since, "since")
    until = moment(query.until, "until", is_end=True)
    async with call.shared.searching:
        try:
            found = await usage.verify(call.ctx.store, _archive(call), since, until)
        except UsageProblem as problem:
            raise errors.BadField(str(problem), "since") from None
    told = [
        Difference(**{name: getattr(one, name) for name in one.__slots__})
        for one in found.differences
    ]
    return Verdict(
        since=found.since,
        until=found.until,
        records=found.records,
        count=found.count,
        differences=told,
    )


def _day(told: Mapping[str, object]) -> DayReport:
    return msgspec.convert(told, DayReport)


async def reports(call: Call) -> Page[DayReport]:
    query: PageQuery = call.query
    kept = await usage.kept_reports(call.ctx.store)
    return page([_day(one) for one in kept], query, lambda one: one.date)


async def report(call: Call, date: str) -> DayReport:
    chosen = day(date, "date")
    try:
        return _day(await usage.daily(call.ctx.store, call.ctx.prices, chosen))
    except UsageProblem as problem:
        raise errors.NotFound(str(problem)) from None
