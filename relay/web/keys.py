"""Keys: found, made, changed, and what each has used of its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from quart import Response

from relay import usage
from relay.keys import USUAL_PREFIX, Key, KeyProblem
from relay.selfservice import limits_used
from relay.versions import Changed
from relay.web import forms
from relay.web.switches import switching
from relay.web.visit import Visit, whole

_PAGE = 100
_GRACE_H = (0, 1, 24, 168)

enable = switching(lambda ctx: ctx.keys, "/web/keys", enabled=True)
disable = switching(lambda ctx: ctx.keys, "/web/keys", enabled=False)


async def listing(visit: Visit) -> Response:
    keys = await visit.ctx.keys.list()
    owners = sorted({key.owner for key in keys if key.owner})
    tags = sorted({tag for key in keys for tag in key.tags})
    found = [key for key in reversed(keys) if _is_asked(visit, key)]
    start = visit.start
    usage_today = await _today_by_key(visit)
    return visit.page(
        "keys_rows.html" if visit.is_partial else "keys.html",
        keys=found[start : start + _PAGE],
        found=len(found),
        start=start,
        step=_PAGE,
        total=len(keys),
        today=usage_today,
        owners=[(one, one) for one in owners],
        tags=[(one, one) for one in tags],
        asked={name: visit.asked(name) for name in ("q", "owner", "tag", "state")},
    )


async def _today_by_key(visit: Visit) -> Mapping[str, Mapping[str, int]]:
    found = await usage.report(visit.ctx.store, usage.Ask(by=("key",)))
    return {row.key_id: row.counters for row in found.rows}


def _is_asked(visit: Visit, key: Key) -> bool:
    words, state = visit.asked("q"), visit.asked("state")
    is_in_state = not state or key.enabled == (state == "enabled")
    return is_in_state and key.fits(words, visit.asked("owner"), visit.asked("tag"))


async def new(visit: Visit) -> Response:
    return _form(visit, None, forms.key_fields(None))


def _form(visit: Visit, key: Key | None, fields: dict[str, Any], problem: str = "") -> Response:
    return visit.page(
        "key_form.html",
        422 if problem else 200,
        key=key,
        fields=fields,
        clients=visit.ctx.clients.ids,
        unknown=[one for one in fields["clients"] if one not in visit.ctx.clients.ids],
        problem=problem,
    )


async def create(visit: Visit) -> Response:
    """A new key; its text is on the page that answers, and nowhere else ever."""
    try:
        given = forms.key_settings(visit)
        prefix = visit.given("prefix") or USUAL_PREFIX
        key, text = await visit.ctx.keys.create(prefix=prefix, **given)
    except KeyProblem as problem:
        return _form(visit, None, forms.sent(visit, forms.key_fields(None)), visit.told(problem))
    return _shown_once(visit, key, text)


def _shown_once(visit: Visit, key: Key, text: str, grace_h: float | None = None) -> Response:
    scheme = "https" if visit.way.is_secure else "http"
    here = f"{scheme}://{visit.request.host}"
    return visit.page("key_made.html", 200, key=key, text=text, here=here, grace_h=grace_h)


async def show(visit: Visit, key_id: str) -> Response:
    return await _show(visit, key_id)


async def _show(visit: Visit, key_id: str, problem: str = "") -> Response:
    key = await visit.ctx.keys.find(key_id)
    return visit.page(
        "key.html",
        422 if problem else 200,
        key=key,
        used=await limits_used(visit.ctx, key.id),
        today=await today_of(visit, key.id),
        graces=_GRACE_H,
        problem=problem,
    )


async def today_of(visit: Visit, key_id: str) -> Sequence[usage.Row]:
    """A key's figures of today (UTC), one row a model."""
    rows = (await usage.report(visit.ctx.store)).rows
    return [row for row in rows if row.key_id == key_id]


async def edit_page(visit: Visit, key_id: str) -> Response:
    key = await visit.ctx.keys.find(key_id)
    return _form(visit, key, forms.key_fields(key))


async def edit(visit: Visit, key_id: str) -> Response:
    key = await visit.ctx.keys.find(key_id)
    try:
        seen, changes = visit.given("version"), forms.key_changes(visit, key)
        await visit.ctx.keys.edit(key.id, seen=seen, **changes)
    except Changed:
        key = await visit.ctx.keys.find(key_id)
        return _form(visit, key, forms.key_fields(key), forms.changed_meanwhile(visit))
    except KeyProblem as problem:
        return _form(visit, key, forms.sent(visit, forms.key_fields(key)), visit.told(problem))
    return visit.redirect(f"/web/keys/{key.id}", "saved")


async def rotate(visit: Visit, key_id: str) -> Response:
    """A new text for a key; the one before works for as many more hours as were chosen."""
    grace_h = whole(visit.given("grace"), max(_GRACE_H))
    key, text = await visit.ctx.keys.rotate(key_id, min(grace_h, max(_GRACE_H)) * 3600)
    return _shown_once(visit, key, text, grace_h)


async def delete(visit: Visit, key_id: str) -> Response:
    """Delete a key for good, once its name was typed."""
    key = await visit.ctx.keys.find(key_id)
    if visit.given("confirm") != key.name:
        return await _show(visit, key_id, visit.text("The name is not right; nothing was deleted."))
    await visit.ctx.keys.delete(key.id)
    return visit.redirect("/web/keys", "removed")
