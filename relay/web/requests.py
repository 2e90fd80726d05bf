"""Requests: the newest ones live, all that are kept by a search, and why each went where it went.

What was said in them is kept nowhere.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from quart import Response

from relay.usage import Archive, Found, Search, UsageProblem, is_place, moment, search, when
from relay.web.visit import Visit

_PAGE = 50
_FIELDS = ("q", "key", "account", "model", "status", "outcome", "since", "until")
_OUTCOMES = {"ok": False, "failed": True}


async def listing(visit: Visit) -> Response:
    asked = {name: visit.asked(name) for name in _FIELDS}
    before = visit.asked("before") if is_place(visit.asked("before")) else ""
    is_newest = not before and not any(asked.values())
    if visit.asked("live") and not is_newest:
        # Only the newest requests change by themselves; a search is not repeated.
        return Response("", 204)
    try:
        found = await _search(visit, _wanted(asked), before)
    except UsageProblem as problem:
        return _page(visit, asked, Found(()), before, visit.told(problem))
    return _page(visit, asked, found, before)


def _wanted(asked: Mapping[str, str]) -> Search:
    now = datetime.now(UTC)
    if asked["status"] and not (asked["status"].isascii() and asked["status"].isdigit()):
        raise UsageProblem("A status is a number such as 429.")
    return Search(
        words=asked["q"],
        key=asked["key"],
        account=asked["account"],
        model=asked["model"],
        status=int(asked["status"][:4]) if asked["status"] else None,
        has_failed=_OUTCOMES.get(asked["outcome"]),
        since=moment(asked["since"], now) if asked["since"] else None,
        until=moment(asked["until"], now, is_end=True) if asked["until"] else None,
    )


async def _search(visit: Visit, wanted: Search, before: str = "", at: str = "") -> Found:
    archive = Archive(visit.ctx.settings.usage_folder)
    async with visit.shared.searching:
        return await search(visit.ctx.store, archive, wanted, before=before, at=at, most=_PAGE)


def _page(
    visit: Visit, asked: Mapping[str, str], found: Found, before: str, problem: str = ""
) -> Response:
    return visit.page(
        "requests_rows.html" if visit.is_partial else "requests.html",
        422 if problem else 200,
        rows=list(zip(found.records, found.places, strict=True)),
        found=found,
        back_to=when(found.older) if found.older else None,
        asked=asked,
        before=before,
        problem=problem,
    )


async def show(visit: Visit, request_id: str) -> Response:
    """One request: its record, and its decision."""
    decision = await visit.ctx.store.usage.decision(request_id)
    at = visit.asked("at") if is_place(visit.asked("at")) else ""
    found = await _search(visit, Search(request_id=request_id), at=at)
    record = found.records[0] if found.records else None
    if record is None and decision is None:
        return visit.problem(
            404,
            visit.text("Nothing is kept of this request"),
            visit.text("The search took too long; find it in the list.")
            if found.is_cut
            else visit.text("Decisions live for seven days."),
        )
    why = json.loads(decision) if decision else None
    return visit.page("request.html", record=record, why=why, request_id=request_id)
