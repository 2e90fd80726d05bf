"""Usage of any period by any of its dimensions: a chart, a table, and both as files."""

import json
from datetime import UTC, datetime

from quart import Response

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
from relay.web import charts
from relay.web.charts import Charts
from relay.web.files import download
from relay.web.visit import Visit

_USUAL_SINCE, _USUAL_BY = "today", "key"
_MOST_SHOWN = 500


async def page(visit: Visit) -> Response:
    try:
        found, drawn = await _found(visit), await _drawn(visit)
        saved = await _saved(visit)
    except UsageProblem as problem:
        return _page(visit, None, None, problem=visit.told(problem))
    return _page(visit, found, drawn, saved)


async def _saved(visit: Visit) -> int:
    """Micro-dollars that the cache saved in the period."""
    asked = _asked(visit)
    since, until = _period(asked)
    by_model = Ask(since, until, ("model",), model=asked["model"])
    found = await report(visit.ctx.store, by_model, Archive(visit.ctx.settings.usage_folder))
    return saved_by_cache(found, visit.ctx.prices)


def _page(
    visit: Visit, found: Report | None, drawn: Charts | None, saved: int = 0, problem: str = ""
) -> Response:
    named = spreadsheet.fields(found) if found else []
    return visit.page(
        "usage.html",
        422 if problem else 200,
        found=found,
        fields=[name for name in named if not name.endswith("_id")],
        rows=found.rows[:_MOST_SHOWN] if found else (),
        drawn=drawn,
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


async def _drawn(visit: Visit) -> Charts:
    asked = _asked(visit)
    since, until = _period(asked)
    return await charts.of_period(visit, since, until, asked["model"])


async def as_csv(visit: Visit) -> Response:
    """The table, whole, for a spreadsheet."""
    try:
        text = spreadsheet.as_csv(await _found(visit))
    except UsageProblem as problem:
        return _page(visit, None, None, problem=visit.told(problem))
    return download(text, "text/csv", "relay-usage.csv")


async def as_json(visit: Visit) -> Response:
    """The table, whole, for a program."""
    try:
        told = spreadsheet.as_json(await _found(visit))
    except UsageProblem as problem:
        return _page(visit, None, None, problem=visit.told(problem))
    text = json.dumps(told, indent=1, ensure_ascii=False, default=str)
    return download(text, "application/json", "relay-usage.json")
