"""Each route with each role and with none, out of the table, so that a new one is tested too."""

import re

import httpx
import pytest

from relay.users import ROLES
from relay.web.routes import PUBLIC, ROUTES, Route

from ..e2e.conftest import SOON_S
from .conftest import PASSWORD, Console


async def path_of(console: Console, route: Route) -> str:
    (account,), (key,) = (
        await console.relay.ctx.accounts.list(),
        await console.relay.ctx.keys.list(),
    )
    parts = {
        "account_id": account.id, "key_id": key.id, "request_id": "req_1", "name": "somebody",
        "path:name": "console.css", "webhook_id": "wh_1", "admin_key": "nothing",
    }  # fmt: skip
    if route.path.endswith("<admin_key>/remove"):
        keys = console.relay.ctx.admin_keys
        found = await keys.list() or [await keys.add("acme", "sk-ant-admin01-x")]
        parts["admin_key"] = found[0].id
    return re.sub(r"<([^>]+)>", lambda match: parts[match[1]], route.path)


async def answer(console: Console, route: Route, role: str | None) -> httpx.Response:
    """What somebody with a role gets, who sends the right token with all that changes something."""
    users = console.relay.ctx.users
    path = await path_of(console, route)
    cookies, form = {}, {}
    if role is not None:
        user = await users.add(f"a-{role}", PASSWORD, role)
        token = await users.open_session(user, "127.0.0.1", "test")
        session = await users.session(token)
        assert session
        cookies, form = {"relay": token}, {"csrf": session.csrf}
    async with (
        httpx.AsyncClient(
            base_url=console.relay.url, timeout=SOON_S, trust_env=False, cookies=cookies
        ) as client,
        client.stream(
            route.method, path, data=form if route.method == "POST" else None
        ) as response,
    ):
        if route.path != "/web/live":
            await response.aread()
        return response


def is_refused(response: httpx.Response) -> bool:
    asks_to_sign_in = response.headers.get("location", "").startswith("/web/sign-in")
    return response.status_code in (401, 403) or asks_to_sign_in


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_route_lets_in_its_role_and_greater_ones_alone(console: Console, route: Route):
    await console.relay.ctx.users.add("somebody", PASSWORD, "viewer")
    ends_session = route.path == "/web/sign-out" or route.path.endswith("/sessions/close-all")
    for role in (None, *ROLES):
        may = route.role == PUBLIC or (
            role is not None and ROLES.index(role) >= ROLES.index(route.role)
        )
        response = await answer(console, route, role)
        assert response.status_code < 500, (role, response.text)
        if route.role != PUBLIC and not (may and ends_session):
            assert is_refused(response) == (not may), (role, response.status_code)


DESTROYS = ("/delete", "/remove", "/sessions/close-all")
# It asks for the password instead, or ends the person's own sessions alone.
ASKS_OTHERWISE = {"/web/own/second-factor/remove", "/web/own/sessions/close-all"}


@pytest.mark.parametrize(
    "route",
    [one for one in ROUTES if one.path.endswith(DESTROYS) and one.path not in ASKS_OTHERWISE],
    ids=lambda route: route.name,
)
async def test_what_destroys_wants_a_name_to_be_typed(console: Console, route: Route):
    await console.relay.ctx.users.add("somebody", PASSWORD, "viewer")
    page = await answer(console, route, "admin")

    assert page.status_code == 422
    assert "The name is not right" in page.text
    assert len(await console.relay.ctx.users.all_sessions()) == 1
    assert await path_of(console, route)


def test_a_route_names_a_role_that_there_is_and_stands_once():
    assert {route.role for route in ROUTES} <= {PUBLIC, *ROLES}
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert all(route.method in ("GET", "POST") for route in ROUTES)


def test_what_needs_no_role_is_known_by_name():
    assert {route.name for route in ROUTES if route.role == PUBLIC} == {
        "GET /web/static/<path:name>", "GET /web/sign-in", "POST /web/sign-in", "GET /web/my",
        "POST /web/my",
    }  # fmt: skip
