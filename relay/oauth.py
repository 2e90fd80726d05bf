"""OAuth 2.0 as accounts need it: a person's sign-in, renewal, and identity federation.

Protocol only: nothing is stored, and no exception carries a secret. It talks to the server that
the operator named and follows no redirect.
"""

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

import trio
from socksio import SOCKSError

from relay.settings import Secret

if TYPE_CHECKING:
    import httpx

# What the API wants to see beside a federated token, and beside the request for one
# (platform.claude.com/docs/en/manage-claude/wif-reference and the SDKs).
API_BETA = b"oauth-2025-04-20"
_FEDERATION_BETA = "oauth-2025-04-20,oidc-federation-2026-04-01"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_TIMEOUT_S = 15.0
# For the whole answer: httpx counts anew with each piece of it.
_DEADLINE_S = 25.0
_MOST_ANSWER_BYTES = 64 * 1024
_USUAL_LIFE_S = 3600.0
_LONGEST_LIFE_S = 366 * 24 * 3600.0
# These may pass by themselves, and 407 is the proxy's; every other 4xx is the server's last word.
_PASSING = (407, 408, 429)
# Such as invalid_grant (RFC 6749 section 5.2). Nothing else of an error is repeated: a server may
# echo what it was sent.
_ERROR_WORD = re.compile(r"[a-z_]{1,100}")
_VISIBLE = re.compile(r"[!-~]+")


class OAuthProblem(Exception):
    """A sentence about why there is no token now; it may pass by itself."""


class GrantRefused(OAuthProblem):
    """The server says no for good: somebody has to sign in again, or mend the settings."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An OAuth server, and how it knows this relay. `scopes` have spaces between."""

    client_id: str
    client_secret: Secret | None
    authorize_url: str
    token_url: str
    redirect_uri: str
    scopes: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a server gave. `refresh_token` may be empty; `expires_at` is Unix seconds."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that was begun: the address to open, and what must come back with the code."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def begin(provider: Provider) -> SignIn:
    """Begin the authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636)."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": provider.redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
    }
    if provider.scopes:
        asked["scope"] = provider.scopes
    url = urlsplit(provider.authorize_url)
    query = "&".join(filter(None, (url.query, urlencode(asked))))
    return SignIn(urlunsplit(url._replace(query=query)), state, verifier)


def challenge_of(verifier: str) -> str:
    """PKCE's S256 challenge (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def code_in(pasted: str, state: str) -> str:
    """The code in what came back: a code, `code#state`, or the address with both in its query.

    A code alone brings no state; PKCE then is what ties it to this sign-in.

    Raises:
        OAuthProblem: there is none, it belongs to another sign-in, or the server refused.
    """
    text = pasted.strip()
    if "?" in text or "://" in text:
        answer = _query_of(text)
        if "error" in answer:
            word = "".join(one for one in answer["error"] if " " <= one <= "~")[:100]
            raise OAuthProblem(f"The OAuth server refused the sign-in: {word or 'no reason'}.")
        code, given = answer.get("code", ""), answer.get("state", "")
    else:
        code, has_state, given = text.partition("#")
        given = given if has_state else state
    if not _is_visible(code):
        raise OAuthProblem("There is no code in it.")
    if not state or not hmac.compare_digest(_bytes(given), _bytes(state)):
        raise OAuthProblem("The code belongs to another sign-in; begin again.")
    return code


def _query_of(url: str) -> dict[str, str]:
    try:
        query = urlsplit(url).query
    except ValueError:
        raise OAuthProblem("The address is not one.") from None
    return {name: values[0] for name, values in parse_qs(query).items()}


def _bytes(text: str) -> bytes:
    """For comparing: a terminal's input may have what UTF-8 has no bytes for."""
    return text.encode(errors="backslashreplace")


async def exchange(
    provider: Provider, code: str, verifier: str, *, proxy: str | None = None
) -> Grant:
    """The first tokens, for a code (RFC 6749 section 4.1.3).

    Args:
        proxy: `http|https|socks5://[user:password@]host[:port]`; the environment's are ignored.

    Raises:
        OAuthProblem: the server gave no token; a GrantRefused when asking again is in vain.
    """
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": provider.redirect_uri,
        "code_verifier": verifier,
    }
    return await _granted(provider, fields, proxy)


async def renew(provider: Provider, refresh_token: str, *, proxy: str | None = None) -> Grant:
    """New tokens for a refresh token (RFC 6749 section 6).

    The grant has the server's new refresh token, and the old one is used up; or, where the server
    sent none, the old one. Arguments and errors are exchange()'s.

    Cancellation: a refresh token that was sent may be used up, and the answer lost.
    """
    fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await _granted(provider, fields, proxy, refresh_token)


async def federate(
    base_url: str,
    assertion: str,
    *,
    rule_id: str,
    organization_id: str,
    service_account_id: str = "",
    workspace_id: str = "",
    proxy: str | None = None,
) -> Grant:
    """A short-lived token for a platform's identity token (RFC 7523).

    It comes without a refresh token: ask again, with the identity token of that time. Requests
    with it also need API_BETA. Source: platform.claude.com/docs/en/manage-claude/wif-reference.

    Raises:
        OAuthProblem: as exchange() does.
    """
    asked = {
        "grant_type": _JWT_BEARER,
        "assertion": assertion,
        "federation_rule_id": rule_id,
        "organization_id": organization_id,
        "service_account_id": service_account_id,
        "workspace_id": workspace_id,
    }
    answer = await _ask(
        f"{base_url.rstrip('/')}/v1/oauth/token",
        proxy,
        {"anthropic-beta": _FEDERATION_BETA},
        json={name: value for name, value in asked.items() if value},
    )
    return _grant_of(answer, "")


async def _granted(
    provider: Provider, fields: Mapping[str, str], proxy: str | None, refresh_token: str = ""
) -> Grant:
    headers, sent = {}, dict(fields)
    if provider.client_secret is None:
        sent["client_id"] = provider.client_id
    else:
        # RFC 6749 section 2.3.1: both parts are form-encoded first.
        pair = f"{_encoded(provider.client_id)}:{_encoded(provider.client_secret.reveal())}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    answer = await _ask(provider.token_url, proxy, headers, data=sent)
    return _grant_of(answer, refresh_token)


def _encoded(text: str) -> str:
    return quote(text, safe="")


async def _ask(
    url: str, proxy: str | None, headers: Mapping[str, str], **content: Any
) -> dict[str, Any]:
    """POST, and the JSON object that comes back."""
    # Only who signs in pays for the import.
    import httpx

    # Compressed, a short answer could be a huge one.
    headers = {"accept": "application/json", "accept-encoding": "identity", **headers}
    try:
        # The system's certificates, as for the upstream; httpx would take certifi's.
        trusted = ssl.create_default_context()
        with trio.fail_after(_DEADLINE_S):
            async with (
                httpx.AsyncClient(
                    trust_env=False, proxy=proxy, timeout=_TIMEOUT_S, verify=trusted
                ) as client,
                client.stream("POST", url, headers=headers, **content) as reply,
            ):
                return _judged(reply.status_code, await _read(reply))
    except (httpx.TimeoutException, trio.TooSlowError):
        problem = "The OAuth server does not answer in time."
    except (httpx.ProxyError, SOCKSError):
        problem = "The proxy does not let the OAuth server be asked."
    except httpx.ConnectError as error:
        problem = f"The OAuth server cannot be reached: {_why(error)}."
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError):
        problem = "The address of the OAuth server or of the proxy cannot be used."
    except httpx.HTTPError as error:
        problem = f"The OAuth server broke off ({type(error).__name__})."
    # Outside of the handlers, without a context: what httpx says may repeat what was sent.
    raise OAuthProblem(problem)


def _why(error: BaseException) -> str:
    """Why there is no connection: the innermost error tells, from before anything was sent."""
    while (inner := _inner(error)) is not None:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(error) or type(error).__name__


def _inner(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    # httpcore drops the cause and keeps it as its argument.
    cause = error.__cause__ or (error.args[0] if error.args else None)
    return cause if isinstance(cause, BaseException) else None


async def _read(reply: "httpx.Response") -> bytes:
    """The body, or its beginning if it is too long."""
    body = bytearray()
    # httpx's generators are nested, and only what ends the innermost ends them all.
    with trio.CancelScope() as scope:
        async for part in reply.aiter_raw():
            body += part
            if len(body) > _MOST_ANSWER_BYTES:
                scope.cancel()
    return bytes(body)


def _judged(status: int, body: bytes) -> dict[str, Any]:
    answer = _object_in(body)
    if 400 <= status < 500 and status not in _PASSING:
        word = answer.get("error") if answer else None
        named = f", {word}" if isinstance(word, str) and _ERROR_WORD.fullmatch(word) else ""
        raise GrantRefused(f"The OAuth server refused (status {status}{named}).")
    if status != 200:
        raise OAuthProblem(f"The OAuth server gave no token (status {status}).")
    if answer is None:
        raise OAuthProblem("The OAuth server's answer is too long or no JSON object.")
    return answer


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body) if len(body) <= _MOST_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _grant_of(answer: Mapping[str, Any], refresh_token: str) -> Grant:
    """The grant in a token endpoint's answer (RFC 6749 section 5.1)."""
    token, renewed = answer.get("access_token"), answer.get("refresh_token") or refresh_token
    if str(answer.get("token_type") or "bearer").lower() != "bearer":
        raise OAuthProblem("The OAuth server's token is of another type than Bearer.")
    if not _is_visible(token) or (renewed and not _is_visible(renewed)):
        raise OAuthProblem("The OAuth server's answer has no token that can be sent.")
    return Grant(token, renewed, time.time() + _lifetime_s(answer.get("expires_in")))


def _is_visible(value: object) -> TypeGuard[str]:
    """Whether it is visible ASCII, and some."""
    return isinstance(value, str) and _VISIBLE.fullmatch(value) is not None


def _lifetime_s(given: object) -> float:
    """How long a token lives, by expires_in; an hour where that is missing or cannot be.

    The answer as a whole stays good: with it a refresh token may have been used up.
    """
    try:
        lifetime = float(given)  # type: ignore[arg-type]  # a number; some servers send a text
    except (TypeError, ValueError, OverflowError):
        return _USUAL_LIFE_S
    return min(lifetime, _LONGEST_LIFE_S) if 0 < lifetime < math.inf else _USUAL_LIFE_S
