"""The relay's OAuth client against a server that we did not write, which checks codes and PKCE."""

import base64
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from relay import oauth
from relay.oauth import Grant, GrantRefused, OAuthProblem, Provider
from relay.settings import Secret

from .conftest import OAuthServer

pytestmark = pytest.mark.npm

# Of RFC 7636 appendix B: a proper verifier, but never this sign-in's.
ANOTHER_VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.fixture
def provider(oauth_server: OAuthServer) -> Provider:
    return Provider(
        client_id="the-relay",
        client_secret=None,
        authorize_url=f"{oauth_server.url}/authorize?prompt=consent",
        token_url=oauth_server.token_url,
        redirect_uri="http://127.0.0.1:3000/auth/claude/callback",
        scopes="user:profile user:inference",
    )


async def signed_in(server: OAuthServer, provider: Provider) -> Grant:
    begun = oauth.begin(provider)
    code = oauth.code_in(server.sent_back(begun.url), begun.state)
    return await oauth.exchange(provider, code, begun.verifier)


async def test_a_person_signs_in(oauth_server: OAuthServer, provider: Provider):
    begun = oauth.begin(provider)
    sent_back = oauth_server.sent_back(begun.url)
    code = oauth.code_in(sent_back, begun.state)

    grant = await oauth.exchange(provider, code, begun.verifier)

    assert sent_back.startswith(f"{provider.redirect_uri}?")
    assert parse_qs(urlsplit(sent_back).query)["state"] == [begun.state]
    assert grant.access_token.count(".") == 2
    assert grant.refresh_token
    assert grant.expires_at == pytest.approx(time.time() + 3600, abs=30)
    asked = oauth_server.requests()[-1]
    assert "authorization" not in asked
    assert asked["body"] == {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": provider.redirect_uri,
        "code_verifier": begun.verifier,
        "client_id": "the-relay",
    }


async def test_a_client_with_a_secret_says_it_in_the_header(oauth_server: OAuthServer):
    secret = "p%s s:ä+"
    provider = Provider(
        client_id="the relay",
        client_secret=Secret(secret),
        authorize_url=f"{oauth_server.url}/authorize",
        token_url=oauth_server.token_url,
        redirect_uri="http://127.0.0.1:3000/callback",
    )

    await signed_in(oauth_server, provider)

    asked = oauth_server.requests()[-1]
    kind, _, pair = asked["authorization"].partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"the%20relay:p%25s%20s%3A%C3%A4%2B")
    assert "client_id" not in asked["body"]
    assert "client_secret" not in asked["body"]


async def test_a_code_is_for_its_own_verifier_and_for_once(
    oauth_server: OAuthServer, provider: Provider
):
    begun = oauth.begin(provider)
    code = oauth.code_in(oauth_server.sent_back(begun.url), begun.state)
    with pytest.raises(GrantRefused, match=r"\(status 400\)"):
        await oauth.exchange(provider, code, ANOTHER_VERIFIER)

    code = oauth.code_in(oauth_server.sent_back(begun.url), begun.state)
    await oauth.exchange(provider, code, begun.verifier)
    with pytest.raises(GrantRefused):
        await oauth.exchange(provider, code, begun.verifier)


async def test_each_renewal_brings_a_new_refresh_token(
    oauth_server: OAuthServer, provider: Provider
):
    first = await signed_in(oauth_server, provider)

    second = await oauth.renew(provider, first.refresh_token)
    third = await oauth.renew(provider, second.refresh_token)

    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert oauth_server.requests()[-1]["body"] == {
        "grant_type": "refresh_token",
        "refresh_token": second.refresh_token,
        "client_id": "the-relay",
    }
    with pytest.raises(GrantRefused, match=r"\(status 400, invalid_grant\)") as refused:
        await oauth.renew(provider, first.refresh_token)
    assert first.refresh_token not in str(refused.value)


async def test_a_refresh_token_stays_where_no_new_one_comes(
    oauth_server: OAuthServer, provider: Provider
):
    first = await signed_in(oauth_server, provider)
    oauth_server.change_next(without=["refresh_token", "expires_in"])

    second = await oauth.renew(provider, first.refresh_token)

    assert second.refresh_token == first.refresh_token
    assert second.expires_at == pytest.approx(time.time() + 3600, abs=30)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_trouble_of_the_server_may_pass(
    oauth_server: OAuthServer, provider: Provider, status: int
):
    grant = await signed_in(oauth_server, provider)
    oauth_server.change_next(status=status, body={"error": "server_error"})

    with pytest.raises(OAuthProblem, match=rf"\(status {status}\)") as problem:
        await oauth.renew(provider, grant.refresh_token)

    assert not isinstance(problem.value, GrantRefused)


async def test_an_identity_token_becomes_an_access_token(
    oauth_server: OAuthServer, provider: Provider
):
    identity = (await signed_in(oauth_server, provider)).access_token

    grant = await oauth.federate(
        oauth_server.url, identity, rule_id="fdrl_1", organization_id="an-organization"
    )

    assert grant.access_token.count(".") == 2
    assert grant.refresh_token == ""
    asked = oauth_server.requests()[-1]
    assert asked["body"]["assertion"] == identity
    assert asked["beta"] == "oauth-2025-04-20,oidc-federation-2026-04-01"


async def test_an_identity_token_that_is_none_is_refused(oauth_server: OAuthServer):
    with pytest.raises(GrantRefused):
        await oauth.federate(oauth_server.url, "no-jwt", rule_id="fdrl_1", organization_id="one")
