"""A key's own page: its holder pastes the key, and sees its limits and what it has used.

The key comes in the body of a request, never in an address, and is not kept in the page.
"""

from quart import Response

from relay import errors
from relay.selfservice import limits_used
from relay.web.keys import today_of
from relay.web.visit import Visit


async def ask(visit: Visit) -> Response:
    return visit.page("my.html", key=None, problem="")


async def show(visit: Visit) -> Response:
    """The usage of the key that was sent."""
    text = visit.given("key")
    if not visit.way.may_have_session:
        return visit.page("my.html", 403, key=None, problem="")
    try:
        presented = text.encode("ascii")
        ref = await visit.ctx.keys.authenticate([(b"x-api-key", presented)])
        key = await visit.ctx.keys.check(ref)
    except (errors.Unauthorized, UnicodeEncodeError) as error:
        told = str(error) if isinstance(error, errors.Unauthorized) else ""
        return visit.page("my.html", 401, key=None, problem=told or visit.text("That is no key."))
    used = await limits_used(visit.ctx, key.id)
    today = await today_of(visit, key.id)
    return visit.page("my.html", key=key, used=used, today=today, problem="")
