"""Owners: people and teams, their budgets over all of their keys, and what is used of these."""

from collections.abc import Mapping, Sequence

from quart import Response

from relay import budgets
from relay.budgets import Budget
from relay.owners import Owner, OwnerProblem
from relay.versions import Changed
from relay.web import forms
from relay.web.visit import Visit


async def listing(visit: Visit) -> Response:
    return await _listing(visit, {"name": ""})


async def _listing(visit: Visit, fields: Mapping[str, str], problem: str = "") -> Response:
    owners, keys = await visit.ctx.owners.list(), await visit.ctx.keys.list()
    counts: dict[str, int] = {owner.name: 0 for owner in owners}
    for key in keys:
        if key.owner:
            counts[key.owner] = counts.get(key.owner, 0) + 1
    used = await _used(visit, [owner.name for owner in owners])
    return visit.page(
        "owners.html",
        422 if problem else 200,
        owners=sorted(counts),
        counts=counts,
        used=used,
        fields={**forms.owner_fields(None), **fields},
        problem=problem,
    )


async def _used(visit: Visit, names: Sequence[str]) -> Mapping[str, list[Budget]]:
    scopes = [budgets.of_owner(name) for name in names]
    found: dict[str, list[Budget]] = {}
    for one in await budgets.used(visit.ctx.store, visit.ctx.settings, scopes):
        found.setdefault(one.id, []).append(one)
    return found


async def save_new(visit: Visit) -> Response:
    """Give budgets to an owner who has none."""
    try:
        amounts, mode = forms.owner_budgets(visit, {})
        owner = await visit.ctx.owners.set(visit.given("name"), amounts, mode, is_new=True)
    except Changed:
        problem = visit.text("This owner has budgets already. Change them on the owner's own page.")
        return await _listing(visit, forms.sent(visit, forms.owner_fields(None)), problem)
    except OwnerProblem as problem:
        return await _listing(
            visit, forms.sent(visit, forms.owner_fields(None)), visit.told(problem)
        )
    return visit.redirect(f"/web/owners/{owner.name}", "saved")


async def show(visit: Visit, name: str) -> Response:
    return await _show(visit, name)


async def _show(
    visit: Visit, name: str, fields: Mapping[str, str] | None = None, problem: str = ""
) -> Response:
    keys = [key for key in await visit.ctx.keys.list() if key.owner == name]
    owner = next((one for one in await visit.ctx.owners.list() if one.name == name), None)
    if owner is None and not keys:
        return visit.problem(
            404,
            visit.text("There is no such owner"),
            visit.text("An owner is made by a key that names one, or by budgets."),
        )
    owner = owner or Owner(name, {})
    return visit.page(
        "owner.html",
        422 if problem else 200,
        owner=owner,
        keys=keys,
        used=(await _used(visit, [name])).get(name, []),
        fields=fields or forms.owner_fields(owner),
        problem=problem,
    )


async def save(visit: Visit, name: str) -> Response:
    owners = await visit.ctx.owners.list()
    before = next((owner.budgets for owner in owners if owner.name == name), {})
    try:
        seen = visit.given("version")
        amounts, mode = forms.owner_budgets(visit, before)
        await visit.ctx.owners.set(name, amounts, mode, seen=seen, is_new=not seen)
    except Changed:
        return await _show(visit, name, problem=forms.changed_meanwhile(visit))
    except OwnerProblem as problem:
        return await _show(
            visit,
            name,
            forms.sent(visit, forms.owner_fields(Owner(name, before))),
            visit.told(problem),
        )
    return visit.redirect(f"/web/owners/{name}", "saved")
