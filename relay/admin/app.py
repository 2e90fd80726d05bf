"""Answers what comes in below /admin/api: finds the route, who asks, and what was sent."""

import logging
import re

import msgspec
import trio

from relay import audit, errors
from relay.admin import access, reading
from relay.admin.document import BASE, described
from relay.admin.routes import ROUTES
from relay.admin.routing import PUBLIC, Call, File, In, Route, Shared
from relay.client import Client
from relay.context import Context
from relay.oauth import OAuthProblem
from relay.vault import VaultError
from relay.web.overview_data import Live

log = logging.getLogger("relay.admin")

_MOST_BODY_BYTES = 1024 * 1024
# Each reads files for seconds, beside the requests that are served.
_SEARCHES_AT_ONCE = 2
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class _Nothing(In):
    """A body that nobody asked for has no fields."""


class AdminApi:
    """The API of one process.

    Args:
        live: the relay's state, which the console shows as well.
    """

    def __init__(self, ctx: Context, live: Live) -> None:
        self._shared = Shared(
            ctx=ctx,
            live=live,
            searching=trio.CapacityLimiter(_SEARCHES_AT_ONCE),
            document=msgspec.json.encode(described(ROUTES)),
        )
        self._routes = [(_pattern(one.path), one) for one in ROUTES]

    async def __call__(self, client: Client) -> None:
        """Answer a request, or raise an error of relay.errors."""
        route, match = self._found(client)
        ctx, name = self._shared.ctx, "anybody"
        if route.role != PUBLIC:
            who = await access.who_asks(ctx, client)
            if not who.may(route.role):
                raise errors.Forbidden(f"You are {who.role}; this needs the role {route.role}.")
            client.trail.key = name = who.name
        parts = reading.path_parts(match)
        call = await self._call(client, route)
        with audit.acting(audit.Actor(name, client.address)):
            answer = await _done(route, call, parts)
        await _answer(client, route, answer)

    def _found(self, client: Client) -> tuple[Route, "re.Match[bytes]"]:
        allowed = []
        for pattern, route in self._routes:
            if match := pattern.fullmatch(client.path):
                if route.method == client.method:
                    return route, match
                allowed.append(route.method)
        if allowed:
            raise errors.MethodNotAllowed(client.method, tuple(allowed))
        raise errors.NotFound(f"There is nothing at this path; {BASE}/openapi.json tells what is.")

    async def _call(self, client: Client, route: Route) -> Call:
        ctx, body = self._shared.ctx, None
        query = reading.query_of(client.query, route.query)
        if route.is_change and client.method != "DELETE":
            if client.header(b"content-encoding"):
                raise errors.BadRequest("A body is not compressed here.")
            text = await client.body(_MOST_BODY_BYTES, ctx.bodies, ctx.settings.body_timeout_s)
            body = reading.body_of(text, route.body or _Nothing)
        match = client.header(b"if-match").decode("latin-1").strip().strip('"')
        return Call(self._shared, query, body, match)


def _pattern(path: str) -> "re.Pattern[bytes]":
    steps = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path.replace(".", r"\."))
    return re.compile(f"{BASE}{steps}".encode())


async def _done(route: Route, call: Call, parts: dict[str, str]) -> object:
    """What the route's function answers. A change goes on when the client has gone: half of it, or
    one that the audit does not tell of, would be worse."""
    try:
        is_whole = route.is_change and not route.may_break
        with trio.fail_after(route.patience_s, shield=is_whole):
            return await route.do(call, **parts)
    except trio.TooSlowError:
        raise errors.Unavailable("It took too long and was given up.") from None
    except (VaultError, OAuthProblem) as problem:
        raise errors.Conflict(str(problem)) from None


async def _answer(client: Client, route: Route, answer: object) -> None:
    headers = [*_HEADERS, *errors.identity(client.request_id)]
    if access.way_of(client).is_secure:
        headers.append(_HSTS)
    if route.answer is None:
        await client.answer(route.status, headers, b"")
        return
    kind, body = b"application/json", b""
    if isinstance(answer, File):
        kind, body = answer.kind.encode(), answer.body
        headers.append((b"content-disposition", f'attachment; filename="{answer.name}"'.encode()))
    else:
        body = msgspec.json.encode(answer)
    if version := getattr(answer, "version", ""):
        headers.append((b"etag", f'"{version}"'.encode()))
    headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await client.answer(route.status, headers, body)
