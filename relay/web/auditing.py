"""Who changed what: the newest entries, whether all are still there, and a file of them."""

import dataclasses
import json

from quart import Response

from relay.usage import is_place
from relay.web.files import download
from relay.web.visit import Visit

_PAGE = 50
_MOST_DOWNLOADED = 10_000


async def listing(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, verdict: tuple[int, str] | None = None) -> Response:
    before = visit.asked("before")
    before = before if is_place(before) else ""
    entries = await visit.ctx.audit.newest(_PAGE, before)
    more = entries[-1].id if len(entries) == _PAGE else ""
    return visit.page("audit.html", entries=entries, more=more, before=before, verdict=verdict)


async def verify(visit: Visit) -> Response:
    """Check every entry's seal."""
    return await _page(visit, await visit.ctx.audit.verify())


async def as_json(visit: Visit) -> Response:
    """The newest entries as one JSON list."""
    entries = await visit.ctx.audit.newest(_MOST_DOWNLOADED)
    body = json.dumps([dataclasses.asdict(one) for one in entries], ensure_ascii=False, indent=1)
    return download(body, "application/json", "relay-audit.json")
