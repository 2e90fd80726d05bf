"""Anthropic's admin keys, and how the ledger compares with Anthropic's books."""

from datetime import date
from typing import Annotated

import msgspec
from msgspec import Meta

from relay import errors
from relay.admin.fields import Moment, Name, Word, day, must_exist, wrong_fields
from relay.admin.routing import Call, In, Out, Page, PageQuery, page
from relay.reconcile import AdminKey as AdminKeyValue
from relay.reconcile import AdminKeyProblem, ReconcileProblem, Result
from relay.reconcile import Standing as StandingValue

Id = Annotated[str, Meta(max_length=500)]


class BooksLink(Out):
    """Where an account stands in the reports; `workspace` is null where that is not known."""

    workspace: str | None
    api_key_id: str


class AdminKey(Out):
    """An admin key of an organisation; `hint` is its beginning. `links` are set by hand, `found`
    by the last comparisons, both by the accounts' ids."""

    id: str
    name: str
    base_url: str
    hint: str
    organization_id: str
    organization_name: str
    links: dict[str, BooksLink]
    found: dict[str, BooksLink]
    created_at: Moment
    checked_at: Moment | None
    error: str


class AdminKeyAdd(In):
    """A new admin key; `secret` is sk-ant-admin… and is never shown again."""

    name: Word
    secret: Id


class LinkSet(In):
    """Where an account stands: `workspace` is wrkspc_… or `default`, empty takes the link away."""

    account: Name
    workspace: Id
    api_key_id: Id = ""


class DriftLine(Out):
    """A model that differs, in micro-dollars, and the class of tokens that differs most.

    `because` is tokens, price (the tokens are equal) or sum (no model alone differs enough).
    """

    workspace: str
    account: str
    model: str
    ours_micros: int
    theirs_micros: int
    token_class: str
    because: str
    our_tokens: int
    their_tokens: int


class ComparedDay(Out):
    """A day by both books, in micro-dollars, without hours; `lines` are those that differ."""

    day: str
    differs: bool
    ours_micros: int
    theirs_micros: int
    hours_micros: int
    lines: list[DriftLine]
    compared_at: str


class Standing(Out):
    """How an organisation's books compare; `error` says why they could not be compared last."""

    name: str
    equal_until: str | None
    difference_micros: int
    checked_at: Moment | None
    error: str
    days: list[ComparedDay]


class Compare(In):
    """Which days (UTC, YYYY-MM-DD) are compared; the last week when they are left out."""

    since: str | None = None
    until: str | None = None


def _key(key: AdminKeyValue) -> AdminKey:
    return msgspec.convert(key.to_json(), AdminKey)


def _day(result: Result) -> ComparedDay:
    return ComparedDay(
        day=result.day,
        differs=result.differs,
        ours_micros=result.ours,
        theirs_micros=result.theirs,
        hours_micros=result.hours,
        lines=[msgspec.convert(line, DriftLine) for line in result.lines],
        compared_at=result.at,
    )


def _standing(standing: StandingValue) -> Standing:
    return Standing(
        name=standing.key.name,
        equal_until=standing.equal_until or None,
        difference_micros=standing.difference,
        checked_at=standing.key.checked_at,
        error=standing.key.error,
        days=[_day(result) for result in standing.results],
    )


async def keys(call: Call) -> Page[AdminKey]:
    query: PageQuery = call.query
    return page([_key(key) for key in await call.ctx.admin_keys.list()], query, lambda key: key.id)


async def add(call: Call) -> AdminKey:
    body: AdminKeyAdd = call.body
    with wrong_fields({}):
        return _key(await call.ctx.admin_keys.add(body.name, body.secret))


async def link(call: Call, admin_key: str) -> AdminKey:
    body: LinkSet = call.body
    with must_exist():
        found = await call.ctx.admin_keys.find(admin_key)
    with wrong_fields({}):
        return _key(
            await call.ctx.admin_keys.link(found.id, body.account, body.workspace, body.api_key_id)
        )


async def remove(call: Call, admin_key: str) -> None:
    """Remove an admin key; that there is none is as good."""
    try:
        await call.ctx.admin_keys.remove(admin_key)
    except AdminKeyProblem:
        return


async def standings(call: Call) -> Page[Standing]:
    query: PageQuery = call.query
    found = [_standing(one) for one in await call.ctx.reconciler.standings()]
    return page(found, query, lambda one: one.name)


async def compare(call: Call, admin_key: str) -> Standing:
    body: Compare = call.body
    since, until = _bound(body.since, "since"), _bound(body.until, "until")
    with must_exist():
        found = await call.ctx.admin_keys.find(admin_key)
    try:
        await call.ctx.reconciler.run(found.id, since, until)
    except (ReconcileProblem, AdminKeyProblem) as problem:
        raise errors.Conflict(str(problem)) from None
    return _standing(await call.ctx.reconciler.standing(found.id))


def _bound(text: str | None, field: str) -> date | None:
    return None if text is None else day(text, field)
