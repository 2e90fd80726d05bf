"""Requests: the newest records, and why each went where it went. Never what was said in them."""

import json

import msgspec
from quart import Response

from relay.usage import Record
from relay.web.visit import Visit

_LOOKED_AT = 2000
_PAGE = 50
_OUTCOMES = ("", "ok", "failed")


async def listing(visit: Visit) -> Response:
    records = await _records(visit)
    start = int(start) if (start := visit.asked("from")).isdigit() else 0
    asked = {name: visit.asked(name) for name in ("q", "outcome")}
    found = [one for one in records if _is_asked(one, asked["q"].lower(), asked["outcome"])]
    return visit.page(
        "requests_rows.html" if visit.is_partial else "requests.html",
        records=found[start : start + _PAGE],
        found=len(found),
        start=start,
        step=_PAGE,
        asked=asked,
        looked_at=_LOOKED_AT,
        is_all=len(records) < _LOOKED_AT,
    )


async def _records(visit: Visit) -> list[Record]:
    rows = await visit.ctx.store.usage.records(_LOOKED_AT)
    return [msgspec.json.decode(row, type=Record) for row in rows]


def _is_asked(record: Record, words: str, outcome: str) -> bool:
    accounts = (one.account_name for one in record.attempts)
    told = " ".join(
        (record.request_id, record.key_name, record.model, record.model_served, record.session,
         str(record.status), record.error, *accounts)
    ).lower()  # fmt: skip
    return words in told and (not outcome or (outcome == "failed") == bool(record.error))


async def show(visit: Visit, request_id: str) -> Response:
    """One request: its record as far as it is among the newest, and its decision."""
    decision = await visit.ctx.store.usage.decision(request_id)
    records = await _records(visit)
    record = next((one for one in records if one.request_id == request_id), None)
    if record is None and decision is None:
        return visit.problem(
            404,
            visit.text("Nothing is kept of this request"),
            visit.text("Decisions live for seven days."),
        )
    why = json.loads(decision) if decision else None
    return visit.page("request.html", record=record, why=why, request_id=request_id)
