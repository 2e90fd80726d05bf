"""Usage of any period by any of its dimensions: a chart, a table, and both as files."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from quart import Response

from relay.store import COUNTERS
from relay.usage import (
    BY,
    Archive,
    Ask,
    Report,
    UsageProblem,
    moment,
    report,
    saved_by_cache,
    spreadsheet,
)
from relay.web.files import download
from relay.web.visit import Visit

_USUAL_SINCE, _USUAL_BY = "today", "key"
_MOST_SHOWN = 500
# Longer periods are drawn by day.
_HOURS_UP_TO = timedelta(days=3)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A part of a chart: what it stands for, and two figures with their heights up to 100."""

    label: str
    requests: int
    cost_micros: int
    requests_high: float
    cost_high: float


async def page(visit: Visit) -> Response:
    try:
        found, bars = await _found(visit), await _bars_asked(visit)
        saved = await _saved(visit)
    except UsageProblem as problem:
        return _page(visit, None, (), problem=str(problem))
    return _page(visit, found, bars, saved)


async def _saved(visit: Visit) -> int:
    """Micro-dollars that the cache saved in the period."""
    asked = _asked(visit)
    since, until = _period(asked)
    by_model = Ask(since, until, ("model",), model=asked["model"])
    found = await report(visit.ctx.store, by_model, Archive(visit.ctx.settings.usage_folder))
    return saved_by_cache(found, visit.ctx.prices)


def _page(
    visit: Visit, found: Report | None, bars: Sequence[Bar], saved: int = 0, problem: str = ""
) -> Response:
    named = spreadsheet.fields(found) if found else []
    return visit.page(
        "usage.html",
        422 if problem else 200,
        found=found,
        fields=[name for name in named if not name.endswith("_id")],
        rows=found.rows[:_MOST_SHOWN] if found else (),
        bars=bars,
        saved_micros=saved,
        asked=_asked(visit),
        problem=problem,
    )


def _asked(visit: Visit) -> dict[str, str]:
    asked = {name: visit.asked(name) for name in ("since", "until", "by", "and", "model")}
    asked["since"] = asked["since"] or _USUAL_SINCE
    asked["by"] = asked["by"] if asked["by"] in BY else _USUAL_BY
    asked["and"] = asked["and"] if asked["and"] in BY and asked["and"] != asked["by"] else ""
    return asked


def _period(asked: dict[str, str]) -> tuple[datetime, datetime | None]:
    now = datetime.now(UTC)
    since = moment(asked["since"], now)
    return since, moment(asked["until"], now, is_end=True) if asked["until"] else None


async def _found(visit: Visit) -> Report:
    asked = _asked(visit)
    since, until = _period(asked)
    by = (asked["by"], asked["and"]) if asked["and"] else (asked["by"],)
    ask = Ask(since, until, by, model=asked["model"])
    return await report(visit.ctx.store, ask, Archive(visit.ctx.settings.usage_folder))


async def _bars_asked(visit: Visit) -> Sequence[Bar]:
    asked = _asked(visit)
    since, until = _period(asked)
    return await _bars(visit, since, until, asked["model"])


async def last_day(visit: Visit) -> Sequence[Bar]:
    """The last 24 hours by hour."""
    now = datetime.now(UTC)
    return await _bars(visit, now.replace(minute=0, second=0, microsecond=0) - 23 * _HOUR, None)


async def _bars(
    visit: Visit, since: datetime, until: datetime | None, model: str = ""
) -> Sequence[Bar]:
    """The sums over time, those of hours or days without any request among them."""
    end = until or datetime.now(UTC)
    is_by_hour = end - since <= _HOURS_UP_TO
    by, step, form = ("hour", _HOUR, "%Y-%m-%dT%H") if is_by_hour else ("day", _DAY, "%Y-%m-%d")
    archive = Archive(visit.ctx.settings.usage_folder)
    found = await report(visit.ctx.store, Ask(since, until, (by,), model=model), archive)
    figures = {getattr(row, by): row.counters for row in found.rows}
    labels = []
    at = found.since
    while at < found.until:
        labels.append(f"{at:{form}}")
        at += step
    none = dict.fromkeys(COUNTERS, 0)
    told = [(label, figures.get(label, none)) for label in labels]
    most_requests = max((one["requests"] for _, one in told), default=0) or 1
    most_cost = max((one["cost_micros"] for _, one in told), default=0) or 1
    return [
        Bar(
            label.replace("T", " ") + (":00" if is_by_hour else ""),
            one["requests"],
            one["cost_micros"],
            round(100 * one["requests"] / most_requests, 1),
            round(100 * one["cost_micros"] / most_cost, 1),
        )
        for label, one in told
    ]


async def as_csv(visit: Visit) -> Response:
    """The table, whole, for a spreadsheet."""
    try:
        text = spreadsheet.as_csv(await _found(visit))
    except UsageProblem as problem:
        return _page(visit, None, (), problem=str(problem))
    return download(text, "text/csv", "relay-usage.csv")


async def as_json(visit: Visit) -> Response:
    """The table, whole, for a program."""
    try:
        told = spreadsheet.as_json(await _found(visit))
    except UsageProblem as problem:
        return _page(visit, None, (), problem=str(problem))
    text = json.dumps(told, indent=1, ensure_ascii=False, default=str)
    return download(text, "application/json", "relay-usage.json")
