"""The reports of days that have ended."""

import json

from quart import Response

from relay import usage
from relay.web.files import download
from relay.web.visit import Visit

_PAGE = 50


async def listing(visit: Visit) -> Response:
    kept = await usage.kept_reports(visit.ctx.store)
    return visit.page(
        "reports.html",
        reports=kept[visit.start : visit.start + _PAGE],
        found=len(kept),
        start=visit.start,
        step=_PAGE,
    )


async def as_json(visit: Visit) -> Response:
    """All of them as one JSON list, newest first."""
    kept = await usage.kept_reports(visit.ctx.store)
    text = json.dumps(kept, ensure_ascii=False, indent=1)
    return download(text, "application/json", "relay-reports.json")
