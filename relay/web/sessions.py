"""Sessions: who is signed in and from where, for admins."""

from quart import Response

from relay.web.door import forget_cookie
from relay.web.visit import Visit


async def listing(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, problem: str = "") -> Response:
    sessions = await visit.ctx.users.all_sessions()
    return visit.page("sessions.html", 422 if problem else 200, sessions=sessions, problem=problem)


async def close(visit: Visit) -> Response:
    """Sign one browser of somebody out."""
    await visit.ctx.users.close_session(visit.given("user"), visit.given("session"))
    return visit.redirect("/web/sessions", "signed_out")


async def close_all(visit: Visit) -> Response:
    """Sign everybody out everywhere, this browser as well, once the own name was typed."""
    if visit.given("confirm") != visit.who.user.name:
        return await _page(visit, visit.text("The name is not right; nobody was signed out."))
    await visit.ctx.users.sign_everybody_out()
    response = visit.redirect("/web/sign-in", "everybody_out")
    forget_cookie(visit, response)
    return response
