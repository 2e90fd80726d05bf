"""A person's own password, second factor and sessions."""

import io

import segno
from markupsafe import Markup
from quart import Response

from relay import passwords
from relay.users import ISSUER, SignInRefused, UserProblem
from relay.web.door import forget_cookie, give_cookie
from relay.web.visit import Visit


async def page(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, status: int = 200, problem: str = "") -> Response:
    name = visit.who.user.name
    sessions = await visit.ctx.users.sessions(name)
    left = await visit.ctx.store.users.recovery_count(name)
    return visit.page("own.html", status, sessions=sessions, codes_left=left, problem=problem)


async def _knows_password(visit: Visit) -> bool:
    """Whether the person at the keyboard is still who signed in. Counted like a sign-in."""
    user = visit.who.user
    try:
        await visit.ctx.users.confirm(user.name, visit.form.get("current", ""), visit.way.address)
    except SignInRefused:
        return False
    return True


async def _not_you(visit: Visit) -> Response:
    return await _page(visit, 422, visit.text("Your present password is not right."))


async def password(visit: Visit) -> Response:
    """A new password; this browser stays signed in, all others do not."""
    if not await _knows_password(visit):
        return await _not_you(visit)
    name, users = visit.who.user.name, visit.ctx.users
    try:
        await users.set_password(name, visit.form.get("password", ""))
    except UserProblem as problem:
        return await _page(visit, 422, visit.told(problem))
    token = await users.open_session(visit.who.user, visit.way.address, visit.who.agent)
    response = visit.redirect("/web/own", "password")
    give_cookie(visit, response, token)
    return response


async def second_factor(visit: Visit) -> Response:
    """Show a new secret as a picture for the authenticator app; nothing changes yet."""
    if not await _knows_password(visit):
        return await _not_you(visit)
    secret, offer = visit.ctx.users.offer_second_factor(visit.who)
    return _offer(visit, secret, offer)


def _offer(visit: Visit, secret: str, offer: str, status: int = 200, problem: str = "") -> Response:
    uri = passwords.totp_uri(secret, visit.who.user.name, ISSUER)
    return visit.page(
        "second_factor.html",
        status,
        picture=_picture(uri),
        secret=secret,
        offer=offer,
        problem=problem,
    )


def _picture(uri: str) -> Markup:
    """The QR code as an element of the page; no style in it, which the page's policy forbids."""
    out = io.BytesIO()
    segno.make(uri, error="m").save(
        out, kind="svg", scale=5, xmldecl=False, svgns=False, light="#fff", svgclass="qr",
        lineclass=None,
    )  # fmt: skip
    # segno makes it of numbers alone.
    return Markup(out.getvalue().decode())  # noqa: S704


async def confirm_second_factor(visit: Visit) -> Response:
    """Ask for codes from now on, once the app has shown a right one."""
    offer = visit.given("offer")
    secret = visit.ctx.users.offered_second_factor(visit.who, offer)
    try:
        codes = await visit.ctx.users.set_second_factor(
            visit.who.user.name, secret, visit.given("code")
        )
    except UserProblem as problem:
        return _offer(visit, secret, offer, 422, visit.told(problem))
    return visit.page("recovery_codes.html", codes=codes)


async def drop_second_factor(visit: Visit) -> Response:
    if not await _knows_password(visit):
        return await _not_you(visit)
    await visit.ctx.users.drop_second_factor(visit.who.user.name)
    return visit.redirect("/web/own", "saved")


async def close_session(visit: Visit) -> Response:
    await visit.ctx.users.close_session(visit.who.user.name, visit.given("session"))
    return visit.redirect("/web/own", "signed_out")


async def close_all(visit: Visit) -> Response:
    """Sign this person out everywhere, here as well."""
    await visit.ctx.users.sign_out_everywhere(visit.who.user.name)
    response = visit.redirect("/web/sign-in", "signed_out")
    forget_cookie(visit, response)
    return response
