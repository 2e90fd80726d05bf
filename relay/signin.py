"""Where an OAuth server sends a person's browser back: the sign-in is finished here.

Nobody is authenticated: the state in the address is a secret that works once, and only a
sign-in that the operator began has one.
"""

import html
from urllib.parse import parse_qs

from relay import errors, oauth
from relay.accounts import AccountProblem
from relay.client import Client
from relay.context import Context
from relay.vault import VaultError

PATH = b"/auth/claude/callback"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Relay: sign-in</title>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


async def callback(ctx: Context, client: Client) -> None:
    """Finish the sign-in whose state and code the address carries, and say what came of it."""
    asked = parse_qs(client.query.decode("latin-1"))
    state = asked.get("state", [""])[0]
    url = f"{client.path.decode('latin-1')}?{client.query.decode('latin-1')}"
    try:
        account = await ctx.signins.finish(state, oauth.code_in(url, state))
    except (AccountProblem, oauth.OAuthProblem, VaultError) as error:
        client.trail.error = "signin_failed"
        await _answer(client, 400, "Not signed in", str(error))
        return
    client.trail.account = account.name
    await _answer(client, 200, "Signed in", f"The account {account.name} is ready to serve.")


async def _answer(client: Client, status: int, title: str, text: str) -> None:
    body = _PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
    length = (b"content-length", b"%d" % len(body))
    await client.answer(status, [*_HEADERS, length, *errors.identity(client.request_id)], body)
