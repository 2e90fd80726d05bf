"""Who asks: by an admin token, or by the console's session."""

from relay import errors
from relay.admin.routing import Who
from relay.client import Client
from relay.context import Context
from relay.tokens import NONE_GIVEN
from relay.vault import same_secret
from relay.web.access import Way, way

_CLEAR_TEXT = (
    "An admin token must not cross a network in clear text: use https, or call from the relay's own"
    " machine."
)
_NO_CSRF = "With the console's session, a change needs its token as X-CSRF-Token."


def way_of(client: Client) -> Way:
    """How a request came in; the front has put the caller's address and scheme in place."""
    return way(client.address, client.scheme, client.header(b"host").decode("latin-1"))


async def who_asks(ctx: Context, client: Client) -> Who:
    """Who sent a request.

    Raises:
        errors.Unauthorized: nobody who is known.
        errors.Forbidden: the token came in clear text, or a change without the session's token.
        errors.RateLimited: too many wrong tokens came from there.
    """
    here = way_of(client)
    given = [value for name, value in client.headers if name == b"authorization"]
    if not given:
        return await _of_session(ctx, client, here)
    scheme, _, credential = given[0].strip().partition(b" ")
    if len(given) > 1 or scheme.lower() != b"bearer":
        raise errors.Unauthorized(NONE_GIVEN)
    if not here.may_have_session:
        raise errors.Forbidden(_CLEAR_TEXT)
    token = await ctx.tokens.authenticate(credential.strip().decode("latin-1"), client.address)
    return Who(f"token:{token.name}", token.role)


async def _of_session(ctx: Context, client: Client, here: Way) -> Who:
    cookie = _cookie(client, here.cookie) if here.may_have_session else ""
    session = await ctx.users.session(cookie) if cookie else None
    if session is None:
        raise errors.Unauthorized(NONE_GIVEN)
    if client.method != "GET":
        sent = client.header(b"x-csrf-token").decode("latin-1")
        if not same_secret(sent, session.csrf):
            raise errors.Forbidden(_NO_CSRF)
    return Who(f"user:{session.user.name}", session.user.role)


def _cookie(client: Client, wanted: str) -> str:
    for name, value in client.headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                cookie, _, text = pair.strip().partition("=")
                if cookie == wanted:
                    return text
    return ""
