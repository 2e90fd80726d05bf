"""Accounts: the upstreams whose credentials the relay holds. No secret is ever answered."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import trio
from msgspec import UNSET, Meta, UnsetType

from relay import errors, rotation
from relay.accounts import Account as AccountValue
from relay.accounts import AccountProblem, TestResult
from relay.admin.fields import (
    Budgets,
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
from relay.admin.routing import Call, In, Out, Page, PageQuery, camel, given, page
from relay.oauth import code_in
from relay.upstream import UpstreamError

_CHANGES = 50
_TEST_DEADLINE_S = 20.0
_NAMES = {"allowed_models": "models"}
Url = Annotated[str, Meta(min_length=1, max_length=500)]
Secret = Annotated[str, Meta(min_length=1, max_length=4096)]


class Options(In):
    """What accounts of kind federation need beside the rest."""

    federation_rule_id: Line | UnsetType = UNSET
    organization_id: Line | UnsetType = UNSET
    identity_token_file: Line | UnsetType = UNSET
    service_account_id: Line | UnsetType = UNSET
    workspace_id: Line | UnsetType = UNSET


class Account(Out):
    """An account. `state` is ok, or why it does not serve; `advice` says what to do about it.

    `proxy` is without its password. `version` changes with every setting, not with the state; sent
    as If-Match, it keeps two editors apart.
    """

    id: str
    name: str
    kind: str
    base_url: str
    auth: str
    enabled: bool
    state: str
    reason: str
    since: Moment | None
    until: Moment | None
    advice: str
    class_states: dict[str, str]
    email: str
    note: str
    priority: int
    weight: int
    max_concurrency: int
    models: list[str]
    model_map: dict[str, str]
    groups: list[str]
    inference_geo: str
    proxy: str
    options: dict[str, str]
    budgets: dict[str, str]
    headroom: float | None
    organization: str
    workspace: str
    created_at: Moment
    open_requests: int
    version: str


class AccountEdit(In):
    """What is to change; what is not sent stays. A new secret or proxy replaces the one before."""

    name: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    base_url: Url | UnsetType = UNSET
    secret: Secret | UnsetType = UNSET
    auth: Literal["x-api-key", "bearer"] | UnsetType = UNSET
    email: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    note: Line | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    weight: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    max_concurrency: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    models: Globs | UnsetType = UNSET
    model_map: dict[str, str] | UnsetType = UNSET
    groups: Words | UnsetType = UNSET
    inference_geo: Literal["", "us", "global"] | UnsetType = UNSET
    proxy: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    budgets: Budgets | UnsetType = UNSET
    budget_mode: Mode | UnsetType = UNSET


class AccountAdd(AccountEdit):
    """A new account. `baseUrl` is the settings' own for api_key and federation when left out."""

    name: Name
    kind: Literal["api_key", "oauth", "federation", "session_key"] = "api_key"


class Removal(In):
    """How many seconds to wait for the requests that still run on the account."""

    patience: Annotated[int, Meta(ge=0, le=60)] = 10


class Tested(Out):
    """What an account's own API said to a question that costs nothing."""

    ok: bool
    status: int | None
    message: str


class Change(Out):
    """A change of an account's state; `class` is that of the models, or empty for all of it."""

    at: Moment
    model_class: str = msgspec.field(name="class")
    before: str
    state: str
    reason: str


class Begun(Out):
    """A sign-in: the address to open in a browser, and the state to finish it with."""

    url: str
    state: str


class SignInEnd(In):
    """What the browser came back with: the code, or the whole address."""

    code: Annotated[str, Meta(min_length=1, max_length=4096)]


async def _account(call: Call, account: AccountValue) -> Account:
    told = {name: getattr(account, name) for name in account.__slots__}
    told["options"] = {camel(name): text for name, text in account.options.items()}
    told["open_requests"] = await call.ctx.store.accounts.open_leases(account.id)
    told["version"] = account.version
    return msgspec.convert({camel(name): value for name, value in told.items()}, Account)


async def _found(call: Call, account: str) -> AccountValue:
    with must_exist():
        return await call.ctx.accounts.find(account)


async def listing(call: Call) -> Page[Account]:
    query: PageQuery = call.query
    found = page(await call.ctx.accounts.list(), query, lambda one: one.id)
    return Page(data=[await _account(call, one) for one in found.data], next=found.next)


async def show(call: Call, account: str) -> Account:
    return await _account(call, await _found(call, account))


def _settings(body: AccountEdit) -> dict[str, Any]:
    """What was sent, by the names that accounts know it by."""
    sent = given(body)
    sent.pop("enabled", None)
    if "budgets" in sent or "budget_mode" in sent:
        found, mode = amounts(body.budgets, body.budget_mode)
        sent.pop("budget_mode", None)
        sent["budgets"] = {**found, "mode": mode}
    if "models" in sent:
        sent["allowed_models"] = sent.pop("models")
    if isinstance(body.options, Options):
        sent["options"] = given(body.options)
    return sent


async def add(call: Call) -> Account:
    body: AccountAdd = call.body
    settings = _settings(body)
    takes_secret = body.kind in ("api_key", "session_key")
    if "secret" in settings and not takes_secret:
        raise errors.BadField(f"An account of kind {body.kind} takes no secret.", "secret")
    if "base_url" not in settings:
        if body.kind in ("oauth", "session_key"):
            raise errors.BadField(
                f"An account of kind {body.kind} needs an endpoint of your own.", "baseUrl"
            )
        settings["base_url"] = call.ctx.settings.base_url
    with wrong_fields(_NAMES):
        made = await call.ctx.accounts.add(**settings)
        if body.enabled is False:
            made = await call.ctx.accounts.set_enabled(made.id, enabled=False)
    return await _account(call, made)


async def edit(call: Call, account: str) -> Account:
    body: AccountEdit = call.body
    found = await _found(call, account)
    settings = _settings(body)
    enabled = body.enabled if isinstance(body.enabled, bool) else None
    with wrong_fields(_NAMES):
        if enabled is not None and not settings:
            found = await call.ctx.accounts.set_enabled(found.id, enabled=enabled, seen=call.seen)
        else:
            found = await call.ctx.accounts.edit(
                found.id, seen=call.seen, enabled=enabled, **settings
            )
    return await _account(call, found)


async def remove(call: Call, account: str) -> None:
    """Remove an account once its requests have ended; that there is none is as good."""
    query: Removal = call.query
    try:
        found = await call.ctx.accounts.find(account)
    except AccountProblem:
        return
    with wrong_fields(_NAMES):
        await call.ctx.accounts.remove(found.id, patience_s=query.patience)


async def test(call: Call, account: str) -> Tested:
    found = await _found(call, account)
    try:
        with trio.fail_after(_TEST_DEADLINE_S):
            told = await call.ctx.accounts.test(found.id, call.ctx.upstreams)
    except (UpstreamError, trio.TooSlowError) as error:
        told = TestResult(False, None, str(error) or "It did not answer in time.")
    return Tested(ok=told.ok, status=told.status, message=told.message)


async def reset(call: Call, account: str) -> Account:
    found = await _found(call, account)
    return await _account(call, await call.ctx.accounts.reset(found.id))


async def changes(call: Call, account: str) -> Page[Change]:
    found = await _found(call, account)
    rows = await call.ctx.store.accounts.state_changes(found.id, _CHANGES)
    told = [
        Change(
            at=datetime.fromtimestamp(int(one["at"]) / 1000, UTC),
            model_class=one["class"],
            before=one["before"],
            state=one["state"],
            reason=one["reason"],
        )
        for one in rows
    ]
    return Page(data=told, next=None)


async def sign_in(call: Call, account: str) -> Begun:
    found = await _found(call, account)
    with wrong_fields(_NAMES):
        begun = await call.ctx.signins.begin(found.id)
    return Begun(url=begun.url, state=begun.state)


async def finish_sign_in(call: Call, state: str) -> Account:
    body: SignInEnd = call.body
    with wrong_fields(_NAMES):
        done = await call.ctx.signins.finish(state, code_in(body.code, state))
    return await _account(call, done)


async def rotate_encryption(call: Call) -> "Rotated":
    return Rotated(secrets=await rotation.rotate_encryption(call.ctx))


class Rotated(Out):
    """How many secrets were encrypted anew."""

    secrets: int
