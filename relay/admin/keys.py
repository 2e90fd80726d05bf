"""Keys and owners."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay import budgets, errors
from relay.admin.fields import (
    Budgets,
    Count,
    Globs,
    Line,
    Mode,
    Moment,
    Name,
    Words,
    amounts,
    must_exist,
    wrong_fields,
)
from relay.admin.routing import Call, In, Out, Page, PageQuery, given, page
from relay.keys import Key as KeyValue
from relay.keys import KeyProblem
from relay.owners import Owner as OwnerValue
from relay.selfservice import limits_used

_MOST_GRACE_S = 30 * 24 * 3600
# Settings of a key by the names that relay.keys has for them.
_NAMES = {
    "groups": "account_groups",
    "shows_account": "show_account",
    "daily": "daily_limit",
    "monthly": "monthly_limit",
    "wait": "concurrency_wait",
    "clients": "client_restrictions",
    "networks": "allowed_ips",
    "rate": "rate_limit_override",
    "prefix": "key_prefix",
}
_OF = {sent: known for known, sent in _NAMES.items()}
Networks = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=100)]


class Rate(In):
    """Requests in a sliding window; `windowMs` is of whole seconds."""

    window_ms: Annotated[int, Meta(ge=1000, le=86_400_000, multiple_of=1000)]
    max_requests: Annotated[int, Meta(ge=1, le=999_999_999)]


class RateShown(Out):
    """Requests in a sliding window."""

    window_ms: int
    max_requests: int


class Key(Out):
    """A key. Numbers are 0 and lists empty where there is no limit; `hint` is its start.

    `version` changes with every setting; sent as If-Match, it keeps two editors apart.
    """

    id: str
    name: str
    key_prefix: str
    hint: str
    enabled: bool
    created_at: Moment
    expires_at: Moment | None
    daily_limit: int
    monthly_limit: int
    rate_limit_override: RateShown | None
    tokens_per_minute: int
    concurrency: int
    concurrency_wait: int
    budgets: dict[str, str]
    client_restrictions: list[str]
    allowed_ips: list[str]
    models: list[str]
    account_groups: list[str]
    show_account: bool
    owner: str
    tags: list[str]
    note: str
    version: str


class MadeKey(Key):
    """A key with its secret text, `key`, which is told this once."""

    key: str


class KeyEdit(In):
    """What is to change; what is not sent stays. `budgets` replace those before as a whole."""

    name: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    daily_limit: Count | UnsetType = UNSET
    monthly_limit: Count | UnsetType = UNSET
    rate_limit_override: Rate | UnsetType | None = UNSET
    tokens_per_minute: Count | UnsetType = UNSET
    concurrency: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    concurrency_wait: Annotated[int, Meta(ge=0, le=600)] | UnsetType = UNSET
    budgets: Budgets | UnsetType = UNSET
    budget_mode: Mode | UnsetType = UNSET
    client_restrictions: Words | UnsetType = UNSET
    allowed_ips: Networks | UnsetType = UNSET
    models: Globs | UnsetType = UNSET
    account_groups: Words | UnsetType = UNSET
    show_account: bool | UnsetType = UNSET
    owner: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    tags: Words | UnsetType = UNSET
    note: Line | UnsetType = UNSET


class KeyCreate(KeyEdit):
    """A new key: a unique name, and whatever limits it has."""

    name: Name
    key_prefix: Annotated[str, Meta(max_length=20)] | UnsetType = UNSET


class KeyQuery(PageQuery):
    """Which keys: `q` is looked for in name, id, hint, owner, note and tags."""

    q: str = ""
    owner: str = ""
    tag: str = ""
    enabled: bool | UnsetType = UNSET


class Rotation(In):
    """For how many seconds the key before is still good."""

    grace_seconds: Annotated[int, Meta(ge=0, le=_MOST_GRACE_S)] = 24 * 3600


class LimitUsed(Out):
    """What is used of a limit; `resetsAt` and `windowMs` where it has them."""

    limit: int
    used: int
    window_ms: int | None = None
    resets_at: str | None = None


class BudgetUsed(Out):
    """What is used of a budget, and what is held for requests that run, in micro-dollars.

    `whose` is key, owner, account or relay; `resetsAt` is null for the one that never begins anew.
    """

    whose: str
    period: str
    mode: str
    limit_micros: int
    used_micros: int
    held_micros: int
    resets_at: Moment | None


class KeyUsed(Out):
    """What a key has used of its own limits by name, and of all budgets that hold for it."""

    limits: dict[str, LimitUsed]
    budgets: list[BudgetUsed]


class Owner(Out):
    """A person or team, with budgets over all of their keys and what is used of these."""

    name: str
    budgets: dict[str, str]
    used: list[BudgetUsed]
    version: str


class OwnerSet(In):
    """An owner's budgets, instead of those before."""

    budgets: Budgets = msgspec.field(default_factory=Budgets)
    budget_mode: Mode | UnsetType = UNSET


def _key(key: KeyValue, text: str = "") -> Key:
    told = {**key.to_json(), "version": key.version}
    return msgspec.convert({**told, "key": text}, MadeKey) if text else msgspec.convert(told, Key)


async def _found(call: Call, key: str) -> KeyValue:
    with must_exist():
        return await call.ctx.keys.find(key)


async def listing(call: Call) -> Page[Key]:
    query: KeyQuery = call.query
    found = [
        one
        for one in await call.ctx.keys.list()
        if one.fits(query.q, query.owner, query.tag) and query.enabled in (UNSET, one.enabled)
    ]
    part = page(found, query, lambda one: one.id)
    return Page(data=[_key(one) for one in part.data], next=part.next)


async def show(call: Call, key: str) -> Key:
    return _key(await _found(call, key))


async def used(call: Call, key: str) -> KeyUsed:
    found = await _found(call, key)
    limits = (await limits_used(call.ctx, found.id))["limits"]
    scopes = [budgets.of_key(found.id), *([budgets.of_owner(found.owner)] if found.owner else [])]
    return KeyUsed(
        limits={
            name: LimitUsed(
                limit=one["limit"],
                used=one["used"],
                window_ms=one.get("window_ms"),
                resets_at=one.get("resets_at"),
            )
            for name, one in limits.items()
        },
        budgets=await budgets_used(call, [*scopes, budgets.RELAY]),
    )


async def budgets_used(call: Call, scopes: list[str]) -> list[BudgetUsed]:
    """What is used of the budgets of some scopes; see budgets.used()."""
    found = await budgets.used(call.ctx.store, call.ctx.settings, scopes)
    return [
        BudgetUsed(
            whose=one.whose,
            period=one.period,
            mode=one.mode,
            limit_micros=one.limit_micros,
            used_micros=one.used_micros,
            held_micros=one.held_micros,
            resets_at=one.till,
        )
        for one in found
    ]


def _settings(body: KeyEdit) -> dict[str, Any]:
    """What was sent, by the names that keys know it by."""
    sent = given(body)
    sent.pop("enabled", None)
    if "budgets" in sent or "budget_mode" in sent:
        sent["budgets"], sent["budget_mode"] = amounts(body.budgets, body.budget_mode)
    if "rate_limit_override" in sent:
        rate = sent["rate_limit_override"]
        sent["rate_limit_override"] = (
            f"{rate.max_requests}/{rate.window_ms // 1000}" if rate else ""
        )
    return {_OF.get(name, name): value for name, value in sent.items()}


async def create(call: Call) -> Key:
    body: KeyCreate = call.body
    settings = _settings(body)
    with wrong_fields(_NAMES):
        made, text = await call.ctx.keys.create(**settings)
        if body.enabled is False:
            made = await call.ctx.keys.set_enabled(made.id, enabled=False)
    return _key(made, text)


async def edit(call: Call, key: str) -> Key:
    body: KeyEdit = call.body
    found = await _found(call, key)
    settings = _settings(body)
    with wrong_fields(_NAMES):
        if isinstance(body.enabled, bool) and not settings:
            found = await call.ctx.keys.set_enabled(found.id, enabled=body.enabled, seen=call.seen)
        else:
            if isinstance(body.enabled, bool):
                settings["enabled"] = body.enabled
            found = await call.ctx.keys.edit(found.id, seen=call.seen, **settings)
    return _key(found)


async def rotate(call: Call, key: str) -> Key:
    body: Rotation = call.body
    found = await _found(call, key)
    made, text = await call.ctx.keys.rotate(found.id, body.grace_seconds)
    return _key(made, text)


async def delete(call: Call, key: str) -> None:
    """Delete a key; that there is none is as good."""
    try:
        await call.ctx.keys.delete(key)
    except KeyProblem:
        return


# Owners.


async def _owner(call: Call, owner: OwnerValue) -> Owner:
    return Owner(
        name=owner.name,
        budgets=dict(owner.budgets),
        used=await budgets_used(call, [budgets.of_owner(owner.name)]),
        version=owner.version,
    )


async def owners(call: Call) -> Page[Owner]:
    query: PageQuery = call.query
    found = page(await call.ctx.owners.list(), query, lambda one: one.name)
    return Page(data=[await _owner(call, one) for one in found.data], next=found.next)


async def _owners(call: Call) -> Mapping[str, OwnerValue]:
    return {one.name: one for one in await call.ctx.owners.list()}


async def owner(call: Call, owner: str) -> Owner:
    found = (await _owners(call)).get(owner)
    if found is None:
        raise errors.NotFound(f"There is no owner with budgets named {owner}.")
    return await _owner(call, found)


async def set_owner(call: Call, owner: str) -> Owner:
    body: OwnerSet = call.body
    is_new = owner not in await _owners(call)
    with wrong_fields({"name": "owner"}):
        made = await call.ctx.owners.set(
            owner, *amounts(body.budgets, body.budget_mode), seen="" if is_new else call.seen
        )
    return await _owner(call, made)
