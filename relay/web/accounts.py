"""Accounts: which of them serve, why others do not, and how one is added."""

from datetime import UTC, datetime
from typing import Any

import trio
from quart import Response

from relay import budgets
from relay.accounts import KIND_NAMES, Account, AccountProblem, TestResult
from relay.upstream import UpstreamError
from relay.usage import Ask, report
from relay.versions import Changed
from relay.web import forms, timeline
from relay.web.switches import switching
from relay.web.visit import Visit

_CHANGES = 50
_REMOVE_PATIENCE_S = 10.0
_TEST_DEADLINE_S = 20.0

enable = switching(lambda ctx: ctx.accounts, "/web/accounts", enabled=True)
disable = switching(lambda ctx: ctx.accounts, "/web/accounts", enabled=False)


async def listing(visit: Visit) -> Response:
    accounts = await visit.ctx.accounts.list()
    open_by_id = {one.id: await visit.ctx.store.accounts.open_leases(one.id) for one in accounts}
    found = await report(visit.ctx.store, Ask(by=("account",)))
    return visit.page(
        "accounts_rows.html" if visit.is_partial else "accounts.html",
        accounts=accounts,
        open_by_id=open_by_id,
        today={row.account_id: row.counters for row in found.rows},
    )


async def new(visit: Visit) -> Response:
    """Which kind, and then its form."""
    kind = visit.asked("kind")
    if kind not in KIND_NAMES:
        return visit.page("account_kinds.html")
    # The kinds for an endpoint of one's own begin without an address.
    base_url = visit.ctx.settings.base_url if kind in ("api_key", "federation") else ""
    return _form(visit, None, kind, forms.account_fields(None, base_url))


def _form(
    visit: Visit,
    account: Account | None,
    kind: str,
    fields: dict[str, object],
    problem: str = "",
) -> Response:
    return visit.page(
        "account_form.html",
        422 if problem else 200,
        account=account,
        kind=kind,
        fields=fields,
        problem=problem,
    )


async def add(visit: Visit) -> Response:
    kind = visit.given("kind")
    if kind not in KIND_NAMES:
        return visit.redirect("/web/accounts/new")
    try:
        account = await visit.ctx.accounts.add(kind=kind, **forms.account_settings(visit, kind))
    except AccountProblem as problem:
        fields = forms.sent(visit, forms.account_fields(None, ""))
        return _form(visit, None, kind, fields, visit.told(problem))
    return visit.redirect(f"/web/accounts/{account.id}", "added")


async def show(visit: Visit, account_id: str) -> Response:
    return await _show(visit, account_id)


async def _show(
    visit: Visit,
    account_id: str,
    problem: str = "",
    tested: TestResult | None = None,
    begun: str = "",
) -> Response:
    account = await visit.ctx.accounts.find(account_id)
    kept = await visit.ctx.store.accounts.state_changes(account.id, _CHANGES)
    changes = [_change(one) for one in kept]
    found = await report(visit.ctx.store, Ask(by=("model",), account_id=account.id))
    return visit.page(
        "account.html",
        422 if problem else 200,
        account=account,
        changes=changes,
        spans=timeline.spans(changes, account.state, datetime.now(UTC)),
        today=found,
        used=await budgets.used(
            visit.ctx.store, visit.ctx.settings, [budgets.of_account(account.id)]
        ),
        open_requests=await visit.ctx.store.accounts.open_leases(account.id),
        problem=problem,
        tested=tested,
        begun=begun,
    )


def _change(change: dict[str, str]) -> dict[str, Any]:
    return {**change, "at": datetime.fromtimestamp(int(change["at"]) / 1000, UTC)}


async def edit_page(visit: Visit, account_id: str) -> Response:
    account = await visit.ctx.accounts.find(account_id)
    return _form(visit, account, account.kind, forms.account_fields(account, ""))


async def edit(visit: Visit, account_id: str) -> Response:
    account = await visit.ctx.accounts.find(account_id)
    try:
        settings = forms.account_changes(visit, account)
        await visit.ctx.accounts.edit(account.id, seen=visit.given("version"), **settings)
    except Changed:
        account = await visit.ctx.accounts.find(account_id)
        fields = forms.account_fields(account, "")
        return _form(visit, account, account.kind, fields, forms.changed_meanwhile(visit))
    except AccountProblem as problem:
        fields = forms.sent(visit, forms.account_fields(account, ""))
        return _form(visit, account, account.kind, fields, visit.told(problem))
    return visit.redirect(f"/web/accounts/{account.id}", "saved")


async def test(visit: Visit, account_id: str) -> Response:
    """Ask the account's own API, and show what it says."""
    try:
        with trio.fail_after(_TEST_DEADLINE_S):
            tested = await visit.ctx.accounts.test(account_id, visit.ctx.upstreams)
    except (UpstreamError, trio.TooSlowError) as error:
        tested = TestResult(
            False, None, visit.told(error) or visit.text("It did not answer in time.")
        )
    return await _show(visit, account_id, tested=tested)


async def reset(visit: Visit, account_id: str) -> Response:
    await visit.ctx.accounts.reset(account_id)
    return visit.redirect(f"/web/accounts/{account_id}", "reset")


async def sign_in(visit: Visit, account_id: str) -> Response:
    """Begin the sign-in of an account of kind oauth; the page shows the address to open."""
    begun = await visit.ctx.signins.begin(account_id)
    return await _show(visit, account_id, begun=begun.url)


async def remove(visit: Visit, account_id: str) -> Response:
    """Remove an account for good, once its name was typed and its requests have ended."""
    account = await visit.ctx.accounts.find(account_id)
    if visit.given("confirm") != account.name:
        told = visit.text("The name is not right; nothing was removed.")
        return await _show(visit, account_id, told)
    try:
        await visit.ctx.accounts.remove(account.id, patience_s=_REMOVE_PATIENCE_S)
    except AccountProblem as problem:
        return await _show(visit, account_id, visit.told(problem))
    return visit.redirect("/web/accounts", "removed")
