"""Who changed what: the newest entries, whether all are still there, and a file of them."""

import dataclasses
import json

from quart import Response

from relay.web.visit import Visit

_PAGE = 50
_MOST_DOWNLOADED = 10_000


async def listing(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, verdict: tuple[int, str] | None = None) -> Response:
    before = visit.asked("before")
    # A place in the list as Redis names it, or nothing.
    before = before if before.replace("-", "").isdigit() else ""
    entries = await visit.ctx.audit.newest(_PAGE, before)
    more = entries[-1].id if len(entries) == _PAGE else ""
    return visit.page("audit.html", entries=entries, more=more, before=before, verdict=verdict)


async def verify(visit: Visit) -> Response:
    """Check every entry's seal."""
    return await _page(visit, await visit.ctx.audit.verify())


async def download(visit: Visit) -> Response:
    """The newest entries as one JSON list."""
    entries = await visit.ctx.audit.newest(_MOST_DOWNLOADED)
    body = json.dumps([dataclasses.asdict(one) for one in entries], ensure_ascii=False, indent=1)
    headers = {
        "content-type": "application/json; charset=utf-8",
        "content-disposition": 'attachment; filename="relay-audit.json"',
    }
    return Response(body, 200, headers)
