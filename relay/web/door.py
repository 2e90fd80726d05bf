"""Coming in and going out: sign-in, sign-out, and the files that every page needs."""

from quart import Response
from werkzeug.exceptions import NotFound

from relay.users import SignInRefused
from relay.web.access import local_path
from relay.web.visit import Visit

_FILE_LIFE = "public, max-age=31536000, immutable"


async def static_file(visit: Visit, name: str) -> Response:
    """A style sheet, a script or a picture; its address changes with what it holds."""
    file = visit.shared.files.get(name)
    if file is None:
        raise NotFound("There is no such file.")
    headers = {"content-type": file.type, "cache-control": _FILE_LIFE, "vary": "accept-encoding"}
    if "gzip" in visit.request.headers.get("Accept-Encoding", ""):
        return Response(file.packed, 200, {**headers, "content-encoding": "gzip"})
    return Response(file.plain, 200, headers)


async def sign_in_page(visit: Visit) -> Response:
    if visit.session is not None:
        return visit.redirect(visit.asked("next") or "/web")
    return _page(visit)


def _page(visit: Visit, status: int = 200, problem: str = "") -> Response:
    following = local_path(visit.given("next") or visit.asked("next") or "/web")
    return visit.page(
        "sign_in.html", status, problem=problem, next=following, name=visit.given("name")
    )


async def sign_in(visit: Visit) -> Response:
    """Let a person in who knows the password, and the code where one is asked for."""
    if not visit.way.may_have_session:
        return _page(visit, 403)
    users = visit.ctx.users
    # As it was typed: a password may begin with a space.
    password = visit.form.get("password", "")
    try:
        user = await users.sign_in(
            visit.given("name"), password, visit.given("code"), visit.way.address
        )
    except SignInRefused as refused:
        if not refused.wait_s:
            return _page(visit, 401, visit.text("The name, the password or the code is not right."))
        told = visit.text(
            "Too many attempts. Try again in {seconds} seconds.", seconds=refused.wait_s
        )
        response = _page(visit, 429, told)
        response.headers["retry-after"] = str(refused.wait_s)
        return response
    # A token that somebody else may know must not become this person's.
    if visit.session is not None:
        await users.sign_out(visit.session)
    agent = visit.request.headers.get("User-Agent", "")
    token = await users.open_session(user, visit.way.address, agent)
    response = visit.redirect(visit.given("next") or "/web")
    give_cookie(visit, response, token)
    return response


async def sign_out(visit: Visit) -> Response:
    """End this session."""
    await visit.ctx.users.sign_out(visit.who)
    response = visit.redirect("/web/sign-in", "signed_out")
    forget_cookie(visit, response)
    return response


def give_cookie(visit: Visit, response: Response, token: str) -> None:
    """Have the browser keep its session's token."""
    response.set_cookie(
        visit.way.cookie, token, path="/", httponly=True, secure=visit.way.is_secure,
        samesite="Strict",
    )  # fmt: skip


def forget_cookie(visit: Visit, response: Response) -> None:
    """Have the browser drop its session's cookie."""
    response.delete_cookie(
        visit.way.cookie, path="/", httponly=True, secure=visit.way.is_secure, samesite="Strict"
    )
