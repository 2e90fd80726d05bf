"""How the ledger compares with Anthropic's books, and the admin keys by which they are read."""

from quart import Response

from relay.reconcile import AdminKeyProblem, ReconcileProblem
from relay.web.visit import Visit


async def page(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, problem: str = "") -> Response:
    return visit.page(
        "books.html",
        422 if problem else 200,
        standings=await visit.ctx.reconciler.standings(),
        accounts=await visit.ctx.accounts.list(),
        fields={"name": visit.given("name")},
        problem=problem,
    )


async def add(visit: Visit) -> Response:
    """Add an admin key; the next minute compares by it."""
    try:
        await visit.ctx.admin_keys.add(visit.given("name"), visit.given("secret"))
    except AdminKeyProblem as problem:
        return await _page(visit, visit.told(problem))
    return visit.redirect("/web/books", "added")


async def compare(visit: Visit, admin_key: str) -> Response:
    """Compare the last week now; the page comes when that is done."""
    try:
        await visit.ctx.reconciler.run(admin_key)
    except ReconcileProblem as problem:
        return await _page(visit, visit.told(problem))
    return visit.redirect("/web/books", "compared")


async def link(visit: Visit, admin_key: str) -> Response:
    """Say where an account stands in the organisation's reports."""
    try:
        await visit.ctx.admin_keys.link(
            admin_key, visit.given("account"), visit.given("workspace"), visit.given("api_key_id")
        )
    except AdminKeyProblem as problem:
        return await _page(visit, visit.told(problem))
    return visit.redirect("/web/books", "saved")


async def remove(visit: Visit, admin_key: str) -> Response:
    """Remove an admin key, once its name was typed."""
    key = await visit.ctx.admin_keys.find(admin_key)
    if visit.given("confirm") != key.name:
        return await _page(visit, visit.text("The name is not right; nothing was removed."))
    await visit.ctx.admin_keys.remove(admin_key)
    return visit.redirect("/web/books", "removed")
