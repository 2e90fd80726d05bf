"""Requests: the records that are kept, and why each went where it went. Never what was said."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay import errors, usage
from relay.admin.routing import Call, In, Out
from relay.admin.spent import When, moment
from relay.usage import Archive, Record, Search, UsageProblem

# A stream's ids in Redis begin above this, and ends of ranges must be so too.
_FIRST_MS = 1


class RequestQuery(In):
    """Which requests, newest first; whatever is left out is not asked.

    `q` is looked for in names, ids, status and error; `key` and `account` are parts of a name, or
    ids; `since` and `until` are as with usage.
    """

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    after: Annotated[str, Meta(max_length=40)] = ""
    q: Annotated[str, Meta(max_length=200)] = ""
    key: Annotated[str, Meta(max_length=200)] = ""
    account: Annotated[str, Meta(max_length=200)] = ""
    model: Annotated[str, Meta(max_length=200)] = ""
    session: Annotated[str, Meta(max_length=200)] = ""
    status: Annotated[int, Meta(ge=0, le=999)] | UnsetType = UNSET
    failed: bool | UnsetType = UNSET
    since: When = ""
    until: When = ""


class Tokens(Out):
    """What was used; `input` is without cache reads and writes."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    web_searches: int


class Part(Out):
    """A part of an answer that is billed at one model's prices and was served in one way.

    `kind` is `message` for what the answer's own usage counts, `unbilled` for what the upstream
    reports and does not charge, else the type of the iteration that stands beside it.
    """

    model: str
    tokens: Tokens
    kind: str
    is_fast: bool
    is_us: bool
    pass_tokens: int
    unknown_tokens: int
    unknown_uses: int


class Share(Out):
    """What one model used and cost in an attempt; its counters go by it."""

    model: str
    tokens: Tokens
    cost_micros: int


class Attempt(Out):
    """One try at one account; `isEstimated` marks figures that the upstream did not give.

    `parts` says how the answer was billed where its tokens and its model do not say all; `remarks`
    is what the relay did not know of its usage, `unpriced` names models without a row in the price
    table. `shares` is by model, where not all of it counts under the request's own.
    """

    account_id: str
    account_name: str
    outcome: str
    status: int | None
    upstream_request_id: str
    tokens: Tokens
    cost_micros: int
    is_estimated: bool
    first_byte_ms: int | None
    duration_ms: int
    parts: list[Part]
    remarks: list[str]
    unpriced: list[str]
    shares: list[Share]


class Request(Out):
    """One request on the books; its attempts' costs, in micro-dollars, add up to its own.

    `prices` is the version of the price table, empty where an older release booked it. A request of
    the kind `correction` holds what another one costs more or less; `corrects` is that one's place.
    """

    request_id: str
    time: str
    key_id: str
    key_name: str
    session: str
    agent: str
    client: str
    dialect: str
    kind: str
    model: str
    model_served: str
    stream: bool
    status: int | None
    stop_reason: str
    error: str
    affinity: str
    cost_micros: int
    first_byte_ms: int | None
    duration_ms: int
    batch_id: str
    part: int
    results: dict[str, int] | None
    prices: str
    corrects: str
    attempts: list[Attempt]


class Requests(Out):
    """A page of a search; `next` is where it goes on, null when all was looked at.

    A search that takes long stops with what it has and a `next`: `cut` says so. `partly` names days
    that were too long to be looked at to their end.
    """

    data: list[Request]
    next: str | None
    cut: bool
    partly: list[str]


class Decision(Out):
    """Why a request went where it went; `skipped` names accounts that could not serve."""

    candidates: int
    skipped: dict[str, list[str]]
    chosen: str
    reason: str


class RequestShown(Out):
    """A request's record and the decision behind it, as far as each is still kept."""

    request: Request | None
    decision: Decision | None


def _request(record: Record) -> Request:
    return msgspec.convert(record, Request, from_attributes=True)


async def _search(call: Call, wanted: Search, *, after: str = "", most: int) -> usage.Found:
    archive = Archive(call.ctx.settings.usage_folder)
    async with call.shared.searching:
        try:
            return await usage.search(call.ctx.store, archive, wanted, before=after, most=most)
        except UsageProblem as problem:
            raise errors.Conflict(str(problem)) from None


def _time(text: str, field: str, *, is_end: bool = False) -> datetime | None:
    first = datetime.fromtimestamp(_FIRST_MS / 1000, UTC)
    found = moment(text, field, is_end=is_end)
    return max(found, first) if found else None


async def listing(call: Call) -> Requests:
    query: RequestQuery = call.query
    if query.after and (not usage.is_place(query.after) or not query.after.strip("0-")):
        raise errors.BadField("This is not the `next` of a page before.", "after")
    wanted = Search(
        words=query.q,
        key=query.key,
        account=query.account,
        model=query.model,
        session=query.session,
        status=None if isinstance(query.status, UnsetType) else query.status,
        has_failed=None if isinstance(query.failed, UnsetType) else query.failed,
        since=_time(query.since, "since"),
        until=_time(query.until, "until", is_end=True),
    )
    found = await _search(call, wanted, after=query.after, most=query.limit)
    return Requests(
        data=[_request(one) for one in found.records],
        next=found.older or None,
        cut=found.is_cut,
        partly=list(found.partly),
    )


async def show(call: Call, request: str) -> RequestShown:
    kept = await call.ctx.store.usage.decision(request)
    wanted = Search(request_id=request)
    found = await _search(call, wanted, most=1)
    # A search stops now and then; the route's own patience ends this.
    while not found.records and found.older:
        found = await _search(call, wanted, after=found.older, most=1)
    record = _request(found.records[0]) if found.records else None
    decision = _decision(json.loads(kept)) if kept else None
    if record is None and decision is None:
        raise errors.NotFound("Nothing is kept of this request; decisions live seven days.")
    return RequestShown(request=record, decision=decision)


def _decision(told: Mapping[str, Any]) -> Decision:
    names = ("candidates", "skipped", "chosen", "reason")
    return msgspec.convert({name: told[name] for name in names}, Decision)
