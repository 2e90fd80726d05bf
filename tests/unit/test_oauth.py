"""OAuth: what is asked, what is understood of answers, and that no error tells a secret.

tests/oauth signs in at a real server.
"""

import contextlib
import gc
import json
import re
import ssl
import time
import traceback
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from cryptography.hazmat.primitives import serialization

from relay import oauth
from relay.oauth import Grant, GrantRefused, OAuthProblem, Provider, SignIn
from relay.settings import Secret

from .scripted_upstream import Peer, Script, upstream
from .test_upstream_tls import Authority, authority, serving

__all__ = ["authority", "serving"]

STATE = "the-right-state"
REFRESH_TOKEN = "a-refresh-token"
ASSERTION = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.signature"
BACK = "http://127.0.0.1:3000/callback"
federate = partial(oauth.federate, rule_id="fdrl_1", organization_id="an-organization")


def provider(base_url: str = "https://auth.example", **changes: object) -> Provider:
    values: dict[str, object] = {
        "client_id": "the-relay",
        "client_secret": None,
        "authorize_url": f"{base_url}/authorize",
        "token_url": f"{base_url}/token",
        "redirect_uri": BACK,
    }
    return Provider(**{**values, **changes})


def answer(body: object, status: str = "200 OK", *headers: str) -> bytes:
    """One answer as bytes; what is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


class Asked:
    """A script that answers one request and keeps it."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self.target = ""
        self.headers: dict[str, str] = {}
        self.body = b""

    async def __call__(self, peer: Peer) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await peer.stream.receive_some()
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.target = first.removesuffix(" HTTP/1.1")
        self.headers = {
            name.lower(): value for name, _, value in (x.partition(": ") for x in lines)
        }
        while len(self.body) < int(self.headers["content-length"]):
            self.body += await peer.stream.receive_some()
        await peer.stream.send_all(self._reply)
        await peer.wait_for_end()


# --- signing in ---


def test_the_challenge_is_that_of_the_rfc():
    # RFC 7636 appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    assert oauth.challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_sign_in_asks_for_a_code_with_pkce():
    begun = oauth.begin(provider(scopes="one two&three"))

    address, _, query = begun.url.partition("?")
    assert address == "https://auth.example/authorize"
    assert {name: value for name, (value,) in parse_qs(query).items()} == {
        "response_type": "code",
        "client_id": "the-relay",
        "redirect_uri": BACK,
        "state": begun.state,
        "code_challenge": oauth.challenge_of(begun.verifier),
        "code_challenge_method": "S256",
        "scope": "one two&three",
    }
    # RFC 7636 section 4.1, and 256 bits in base64url.
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", begun.verifier)
    assert len(begun.state) == 43


@pytest.mark.parametrize(
    ("authorize_url", "begins"),
    [
        ("https://a.example/o?prompt=consent", "https://a.example/o?prompt=consent&response_type="),
        ("https://a.example/o?", "https://a.example/o?response_type="),
        ("https://a.example", "https://a.example?response_type="),
    ],
)
def test_a_sign_in_keeps_the_query_of_the_address(authorize_url: str, begins: str):
    begun = oauth.begin(provider(authorize_url=authorize_url))

    assert begun.url.startswith(begins)
    assert "scope" not in parse_qs(urlsplit(begun.url).query)


def test_no_two_sign_ins_are_alike():
    begun = [oauth.begin(provider()) for _ in range(10)]

    assert len({one.state for one in begun} | {one.verifier for one in begun}) == 20


def test_no_repr_tells_a_secret():
    begun = oauth.begin(provider())
    shown = [
        repr(begun),
        repr(SignIn("secret-url", "secret-state", "secret-verifier")),
        repr(Grant("secret-token", "secret-refresh", 1.0)),
        repr(provider(client_secret=Secret("secret-secret"))),
    ]

    assert begun.state not in shown[0]
    assert begun.verifier not in shown[0]
    assert "secret-" not in "".join(shown)


# --- what a person pastes ---


@pytest.mark.parametrize(
    "pasted",
    [
        "co/de",
        "  co/de\n",
        f"co/de#{STATE}",
        f"{BACK}?code=co%2Fde&state={STATE}",
        f"{BACK}?session=1&state={STATE}&code=co%2Fde#_=_",
        f"127.0.0.1:3000/callback?code=co/de&state={STATE}",
        f"/callback?code=co/de&state={STATE}",
    ],
)
def test_the_code_is_found_in(pasted: str):
    assert oauth.code_in(pasted, STATE) == "co/de"


@pytest.mark.parametrize(
    "pasted",
    [
        "code#the-wrong-state",
        "code#",
        "code#\udc80\u1234",
        f"{BACK}?code=one&state=the-wrong-state",
        f"{BACK}?code=one",
        f"{BACK}?code=one&state=the-wrong-state&state={STATE}",
    ],
)
def test_a_code_of_another_sign_in_is_not_taken(pasted: str):
    with pytest.raises(OAuthProblem, match="another sign-in"):
        oauth.code_in(pasted, STATE)


def test_without_a_state_no_code_is_taken():
    with pytest.raises(OAuthProblem, match="another sign-in"):
        oauth.code_in("code", "")


@pytest.mark.parametrize(
    "pasted",
    ["", " ", f"#{STATE}", "two words", "\udc80", BACK, f"{BACK}?state={STATE}",
     f"{BACK}?code=&state={STATE}", f"{BACK}?code=%00&state={STATE}"],
)  # fmt: skip
def test_where_there_is_no_code_it_is_said(pasted: str):
    with pytest.raises(OAuthProblem, match="no code"):
        oauth.code_in(pasted, STATE)


def test_an_address_that_is_none_is_a_problem():
    with pytest.raises(OAuthProblem, match="address"):
        oauth.code_in("http://[::1?code=a", STATE)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "access_denied"),
        ("a%0A%1B%5B31mb%C3%A4", "a[31mb"),
        ("x" * 1000, "x" * 100),
        ("%00", "no reason"),
    ],
)
def test_the_servers_refusal_is_said(error: str, said: str):
    with pytest.raises(OAuthProblem) as problem:
        oauth.code_in(f"{BACK}?error={error}&code=one&state={STATE}", STATE)

    assert str(problem.value) == f"The OAuth server refused the sign-in: {said}."


# --- federation ---


async def test_federation_asks_as_the_reference_says():
    asked = Asked(answer({"access_token": "t", "token_type": "Bearer", "expires_in": 600}))
    async with upstream(asked) as served:
        grant = await federate(
            f"{served.base_url}/", ASSERTION, service_account_id="svac_1", workspace_id="default"
        )

    assert asked.target == "POST /v1/oauth/token"
    assert asked.headers["anthropic-beta"] == "oauth-2025-04-20,oidc-federation-2026-04-01"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept-encoding"] == "identity"
    assert "authorization" not in asked.headers
    assert json.loads(asked.body) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": ASSERTION,
        "federation_rule_id": "fdrl_1",
        "organization_id": "an-organization",
        "service_account_id": "svac_1",
        "workspace_id": "default",
    }
    assert (grant.access_token, grant.refresh_token) == ("t", "")
    assert grant.expires_at == pytest.approx(time.time() + 600, abs=30)


async def test_federation_leaves_out_what_is_not_given():
    asked = Asked(answer({"access_token": "t"}))
    async with upstream(asked) as served:
        await federate(served.base_url, ASSERTION)

    assert {"service_account_id", "workspace_id"}.isdisjoint(json.loads(asked.body))


# --- answers ---


async def problem_of(asking: Awaitable[Grant]) -> OAuthProblem:
    """What an asking comes to, which is no grant, and which tells no secret, nor does a trace."""
    with pytest.raises(OAuthProblem) as raised:
        await asking
    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert not [one for one in (ASSERTION, REFRESH_TOKEN, "c2VjcmV0") if one in told]
    return raised.value


async def renewal_of(reply: bytes) -> Grant:
    """A renewal that is answered so."""
    async with upstream(Asked(reply)) as served:
        return await oauth.renew(provider(served.base_url), REFRESH_TOKEN)


async def problem_with(reply: bytes | Script) -> OAuthProblem:
    """What a renewal comes to that is answered so; its connection does not outlive it."""
    async with upstream(Asked(reply) if isinstance(reply, bytes) else reply) as served:
        problem = await problem_of(oauth.renew(provider(served.base_url), REFRESH_TOKEN))
        await served.wait_ended(1)
    return problem


def endless(head: bytes, piece: bytes, every_s: float = 0.0) -> Script:
    """A script whose answer goes on until the client has gone."""

    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):
            await peer.stream.send_all(head)
            while True:
                await peer.stream.send_all(piece)
                await trio.sleep(every_s)

    return script


@pytest.mark.parametrize(
    "status",
    ["400 Bad", "401 No", "403 No", "404 No", "422 No"],
)
@pytest.mark.parametrize(
    "body", [{"error": "invalid_grant"}, b"<html>", b"[" * 60_000, b" " * 70_000, []]
)
async def test_a_refusal_is_for_good(status: str, body: object):
    problem = await problem_with(answer(body, status))

    assert isinstance(problem, GrantRefused)
    word = ", invalid_grant" if isinstance(body, dict) else ""
    assert str(problem) == f"The OAuth server refused (status {status[:3]}{word})."


@pytest.mark.parametrize(
    "error", [ASSERTION, REFRESH_TOKEN, "two\nlines", "A word", "x" * 1000, 7, {"type": "invalid"}]
)
async def test_a_refusal_repeats_no_more_than_an_error_word(error: object):
    async with upstream(Asked(answer({"error": error}, "401 No"))) as served:
        problem = await problem_of(federate(served.base_url, ASSERTION))

    assert isinstance(problem, GrantRefused)
    assert str(problem) == "The OAuth server refused (status 401)."


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer({"access_token": "t"}, "500 Oops"), "status 500"),
        (answer({"access_token": "t"}, "202 Later"), "status 202"),
        (answer({}, "407 Proxy"), "status 407"),
        (answer({}, "429 Slow"), "status 429"),
        (answer(b"", "200 OK"), "no JSON"),
        (answer(b"<html>"), "no JSON"),
        (answer(b"\xff\xfe\xff"), "no JSON"),
        (answer(b"[" * 60_000), "no JSON"),
        (answer(["t"]), "no JSON"),
        (answer(b'{"access_token":"t"}' + b" " * 65_536), "too long"),
        (answer({}), "no token"),
        (answer({"access_token": ""}), "no token"),
        (answer({"access_token": 7}), "no token"),
        (answer({"access_token": "a b"}), "no token"),
        (answer({"access_token": "a\r\nb"}), "no token"),
        (answer({"access_token": "ä"}), "no token"),
        (answer({"access_token": "t", "refresh_token": ["r"]}), "no token"),
        (answer({"access_token": "t", "refresh_token": "\ud800"}), "no token"),
        (answer({"access_token": "t", "token_type": "DPoP"}), "another type"),
        (b"no HTTP\r\n\r\n", "broke off"),
        (answer(b"{}", "200 OK", "Content-Encoding: gzip"), "no token"),
    ],
)
async def test_what_may_pass_is_no_refusal(reply: bytes, words: str):
    problem = await problem_with(reply)

    assert not isinstance(problem, GrantRefused)
    assert words in str(problem)


async def test_an_answer_that_is_cut_may_pass():
    async def cutting(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{")

    assert "broke off" in str(await problem_with(cutting))


async def test_an_endless_answer_is_left():
    problem = await problem_with(endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1024))

    assert "too long" in str(problem)


async def test_a_redirect_is_not_followed():
    away = Asked(answer({"access_token": "t"}))
    async with upstream(away) as elsewhere:
        for status in ("302 Found", "307 Same", "308 Same"):
            location = f"Location: {elsewhere.base_url}/token"
            problem = await problem_with(answer(b"", status, location))
            assert str(problem) == f"The OAuth server gave no token (status {status[:3]})."
            assert not isinstance(problem, GrantRefused)
        assert elsewhere.accepted == 0


@pytest.mark.parametrize(
    ("given", "lifetime_s"),
    [
        ("600", 600), (59.5, 59.5), (None, 3600), ("soon", 3600), (0, 3600), (-5, 3600),
        ([], 3600), (float("nan"), 3600), (float("inf"), 3600), (10**400, 3600),
        (1e300, 366 * 24 * 3600),
    ],
)  # fmt: skip
async def test_an_odd_lifetime_costs_no_token(given: object, lifetime_s: float):
    grant = await renewal_of(answer({"access_token": "t", "expires_in": given}))

    assert grant.refresh_token == REFRESH_TOKEN
    assert grant.expires_at == pytest.approx(time.time() + lifetime_s, abs=30)


# --- the way there ---


async def test_a_server_that_is_not_there_may_come_back():
    async with upstream() as served:
        gone = served.base_url

    problem = await problem_of(federate(gone, ASSERTION))

    assert re.search(r"cannot be reached: .*refused", str(problem))


async def test_a_certificate_is_trusted_as_the_system_does(
    authority: Authority, serving: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def answered(peer: Peer) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await Asked(answer({"access_token": "t"}))(peer)

    async with upstream(answered, answered, context=serving) as served:
        problem = await problem_of(federate(served.base_url, ASSERTION))
        pem = authority.certificate.public_bytes(serialization.Encoding.PEM)
        (tmp_path / "authority.pem").write_bytes(pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        grant = await federate(served.base_url, ASSERTION)

    assert "its certificate is not trusted: " in str(problem)
    assert grant.access_token == "t"


async def test_a_slow_server_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(oauth, "_DEADLINE_S", 0.2)

    problem = await problem_with(endless(b"HTTP/1.1 200 OK\r\n\r\n", b" ", every_s=0.01))

    assert str(problem) == "The OAuth server does not answer in time."


@pytest.mark.parametrize("url", ["", "auth.example/token", "ftp://auth.example", "http://[::1"])
async def test_an_address_that_cannot_be_used_is_a_problem(url: str):
    problem = await problem_of(oauth.renew(provider(token_url=url), REFRESH_TOKEN))

    assert "address" in str(problem)


async def test_a_proxy_is_asked_and_the_environments_is_not(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asked = Asked(answer({"access_token": "t"}))

    async with upstream(asked) as proxy:
        by_proxy = proxy.base_url.replace("//", "//user:c2VjcmV0@")
        await oauth.renew(provider("http://auth.invalid"), REFRESH_TOKEN, proxy=by_proxy)
    await renewal_of(answer({"access_token": "t"}))

    assert asked.target == "POST http://auth.invalid/token"


# httpcore leaves the socket of a SOCKS proxy that fails to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n", b"\x05\xff", b""],
)
async def test_a_proxy_that_fails_may_pass(scheme: str, reply: bytes):
    async def failing(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(reply)

    async with upstream(failing) as served:
        proxy = served.base_url.replace("http://", f"{scheme}://user:c2VjcmV0@")
        asking = oauth.renew(provider("https://auth.invalid"), REFRESH_TOKEN, proxy=proxy)
        problem = await problem_of(asking)
    gc.collect()

    assert not isinstance(problem, GrantRefused)


@pytest.mark.parametrize("proxy", ["", "ftp://127.0.0.1", "http://", "socks5://[::1", "nonsense"])
async def test_a_proxy_that_cannot_be_used_is_a_problem(proxy: str):
    problem = await problem_of(oauth.renew(provider(), REFRESH_TOKEN, proxy=proxy))

    assert not isinstance(problem, GrantRefused)
