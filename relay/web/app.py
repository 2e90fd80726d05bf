"""The console's application: it lets nobody at a page but by the rule of its route."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import trio
from quart import Request, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from relay import audit, oauth
from relay.accounts import AccountProblem
from relay.alerts import WebhookProblem
from relay.backup import BackupProblem
from relay.context import Context
from relay.keys import KeyProblem
from relay.owners import OwnerProblem
from relay.reconcile import AdminKeyProblem
from relay.store import DatabaseLost, RedisAway
from relay.usage import UsageProblem
from relay.users import UserProblem
from relay.vault import VaultError, same_secret
from relay.web import language, shown, static_files
from relay.web.access import is_from_elsewhere, way_of
from relay.web.overview_data import Live
from relay.web.routes import PUBLIC, ROUTES, Route
from relay.web.visit import Shared, Visit

_MOST_FORM_BYTES = 64 * 1024
_FORM_PATIENCE_S = 20
_ANSWER_PATIENCE_S = 60
# Each reads files for seconds, beside the requests that are served.
_SEARCHES_AT_ONCE = 2
_SAFE = ("GET", "HEAD")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _CSP,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_HSTS = "max-age=31536000"
_LANGUAGE_COOKIE, _LANGUAGE_LIFE_S = "relay-language", 365 * 24 * 3600
_PROBLEMS = (
    AccountProblem, AdminKeyProblem, BackupProblem, KeyProblem, OwnerProblem, UsageProblem,
    UserProblem, VaultError, WebhookProblem, oauth.OAuthProblem,
)  # fmt: skip

# What the first page is made of, compiled at the start; the rest is when it is asked for.
_FIRST = ("base.html", "parts.html", "sign_in.html")

log = logging.getLogger("relay.web")

Application = Callable[[Any, Any, Any], Awaitable[None]]


def console(ctx: Context, live: Live, stop: trio.Event) -> Application:
    """The console as an ASGI application for every path under /web.

    Args:
        live: the relay's state, which the admin API tells as well.
        stop: ends what streams.
    """
    shared = Shared(
        ctx=ctx,
        templates=shown.environment(),
        languages=language.load(),
        files=static_files.load(),
        live=live,
        stop=stop,
        searching=trio.CapacityLimiter(_SEARCHES_AT_ONCE),
    )
    shared.templates.globals["static"] = lambda name: shared.files[name].url
    for name in _FIRST:
        shared.templates.get_template(name)
    app = QuartTrio("relay.web", static_folder=None, template_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=_MOST_FORM_BYTES,
        BODY_TIMEOUT=_FORM_PATIENCE_S,
        RESPONSE_TIMEOUT=_ANSWER_PATIENCE_S,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.url_map.merge_slashes = False
    for route in ROUTES:
        app.add_url_rule(
            route.path,
            endpoint=route.name,
            view_func=_view(shared, route),
            methods=[route.method],
            strict_slashes=False,
            provide_automatic_options=False,
        )
    app.register_error_handler(HTTPException, _http_problem(shared))
    return app


def _view(shared: Shared, route: Route) -> Callable[..., Awaitable[Response]]:
    async def view(**parts: str) -> Response:
        visit = await _visit(shared, _here())
        response = await _answered(visit, route, parts)
        return _dressed(visit, response)

    return view


def _here() -> Request:
    """The request itself: what streams needs it when Quart's own name for it means nothing more."""
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]
    return asked


async def _visit(shared: Shared, asked: Request) -> Visit:
    way = way_of(asked)
    token = asked.cookies.get(way.cookie, "") if way.may_have_session else ""
    session, is_known = None, True
    if token:
        try:
            session = await shared.ctx.users.session(token)
        except RedisAway:
            is_known = False
    chosen = asked.args.get("language") or asked.cookies.get(_LANGUAGE_COOKIE, "")
    spoken = language.chosen(shared.languages, chosen, asked.headers.get("Accept-Language", ""))
    return Visit(shared, asked, way, spoken, session, is_known)


async def _answered(visit: Visit, route: Route, parts: dict[str, str]) -> Response:
    try:
        if refused := await _refused(visit, route):
            return refused
        name = visit.session.user.name if visit.session else ""
        actor = audit.Actor(f"user:{name}" if name else "anybody", visit.way.address)
        with audit.acting(actor):
            return await route.view(visit, **parts)
    except HTTPException as error:
        return visit.problem(error.code or 400, error.name, error.description or "")
    except _PROBLEMS as error:
        return visit.problem(400, visit.text("That cannot be done"), visit.told(error))
    except DatabaseLost:
        return visit.problem(
            503,
            visit.text("The relay's database is gone"),
            visit.text(
                "Redis is empty or holds another database than this relay's, so nothing is served"
                " and nothing is changed. Restore a backup with `relay restore FILE`, or accept"
                " what Redis holds now with `relay accept-database`."
            ),
        )
    except RedisAway:
        return visit.problem(
            503,
            visit.text("The relay's memory is away"),
            visit.text("Redis does not answer. Nothing was changed. Try again in a moment."),
        )
    except Exception:
        log.exception("the page %s failed", route.path)
        return visit.problem(
            500, visit.text("The page failed"), visit.text("The relay's log says why.")
        )


async def _refused(visit: Visit, route: Route) -> Response | None:
    """What is answered instead of the page, where its rule says so."""
    asked = visit.request
    is_safe = asked.method in _SAFE
    if not is_safe:
        if is_from_elsewhere(asked):
            return _not_from_here(visit)
        visit.form = await asked.form
    if route.role == PUBLIC:
        return None
    if not visit.is_known:
        # Says which of its troubles Redis has.
        await visit.ctx.store.confirm()
        raise RedisAway("Nobody can say whether this session is open.")
    if visit.session is None:
        return _sign_in_first(visit, is_safe)
    if not is_safe and not same_secret(visit.form.get("csrf", ""), visit.session.csrf):
        return _not_from_here(visit)
    if not visit.session.user.may(route.role):
        return visit.problem(
            403,
            visit.text("Not for your role"),
            visit.text(
                "You are {role}; this needs the role {needed}. An admin can give it to you.",
                role=visit.session.user.role,
                needed=route.role,
            ),
        )
    return None


def _not_from_here(visit: Visit) -> Response:
    return visit.problem(
        403,
        visit.text("This did not come from the console's own page"),
        visit.text("Nothing was changed. Open the page anew and try again."),
    )


def _sign_in_first(visit: Visit, is_safe: bool) -> Response:
    if visit.is_partial or visit.request.headers.get("Accept") == "text/event-stream":
        return Response("", 401, {"hx-redirect": "/web/sign-in"})
    asked = visit.request.full_path.rstrip("?") if is_safe else "/web"
    response = visit.redirect("/web/sign-in")
    if asked not in ("/web", "/web/"):
        response.headers["location"] += f"?next={quote(asked, safe='/')}"
    return response


def _dressed(visit: Visit, response: Response) -> Response:
    """The answer with the headers that every page has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if visit.way.is_secure:
        response.headers["strict-transport-security"] = _HSTS
    if visit.asked("language") in visit.shared.languages:
        response.set_cookie(
            _LANGUAGE_COOKIE, visit.language.code, max_age=_LANGUAGE_LIFE_S, path="/web",
            httponly=True, secure=visit.way.is_secure, samesite="Lax",
        )  # fmt: skip
    return response


def _http_problem(shared: Shared) -> Callable[[HTTPException], Awaitable[Response]]:
    async def answer(error: HTTPException) -> Response:
        """What no route answers: an unknown path, a method that a path does not take."""
        visit = await _visit(shared, _here())
        titles = {
            404: visit.text("There is no such page"),
            405: visit.text("The page cannot do that"),
        }
        code = error.code or 400
        title = titles.get(code, error.name)
        return _dressed(visit, visit.problem(code, title, visit.text("Go on from the overview.")))

    return answer
