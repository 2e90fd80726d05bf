"""Each route with each role and with none, out of the table, so that a new one is tested too."""

import re

import httpx
import msgspec
import pytest

from relay.admin.document import described
from relay.admin.routes import ROUTES
from relay.admin.routing import PUBLIC, Route
from relay.users import ROLES

from .conftest import Api

# They take seconds; test_backups.py makes some.
LONG = {"POST /backups", "POST /backups/drill"}
# A body without which a route refuses before it has done anything.
BODIES = {
    "POST /keys": {"name": "made"},
    "POST /accounts": {"name": "made", "secret": "s", "baseUrl": "http://127.0.0.1:1"},
    "POST /users": {"name": "made", "password": "long enough"},
    "POST /tokens": {"name": "made", "expiresAt": None},
    "POST /sign-ins/{state}": {"code": "code"},
}


async def answer(api: Api, route: Route, role: str) -> httpx.Response:
    path = re.sub(r"{(\w+)}", "nothing", route.path)
    async with api.client(role) as client:
        body = BODIES.get(route.name, {}) if route.method in ("POST", "PUT", "PATCH") else None
        return await client.request(route.method, path, json=body)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_route_lets_in_its_role_and_greater_ones_alone(api: Api, route: Route):
    for role in ("", *ROLES):
        may = route.role == PUBLIC or (role != "" and ROLES.index(role) >= ROLES.index(route.role))
        if may and route.name in LONG:
            continue
        response = await answer(api, route, role)
        assert response.status_code < 500, (role, response.text)
        if not may:
            assert response.status_code == (403 if role else 401), (role, response.text)
        else:
            assert response.status_code not in (401, 403), (role, response.text)


def test_a_route_names_a_role_that_there_is_and_stands_once():
    assert {route.role for route in ROUTES} <= {PUBLIC, *ROLES}
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_what_needs_no_role_is_known_by_name():
    assert [route.name for route in ROUTES if route.role == PUBLIC] == ["GET /openapi.json"]


def test_whatever_changes_something_is_no_get_and_needs_more_than_to_look():
    for route in ROUTES:
        assert route.is_change == (route.method in ("POST", "PUT", "PATCH", "DELETE"))
        if route.is_change:
            assert route.role in ("operator", "admin"), route.name


def test_the_document_has_every_route_and_no_other():
    paths = described(ROUTES).paths
    told = {f"{method.upper()} {path}" for path, some in paths.items() for method in some}
    assert told == {route.name for route in ROUTES}
    ids = [one["operationId"] for some in paths.values() for one in some.values()]
    assert len(set(ids)) == len(ids)


def test_the_document_refers_to_nothing_that_it_lacks():
    document = msgspec.json.decode(msgspec.json.encode(described(ROUTES)))
    for ref in re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode()):
        place = document
        for step in ref.split("/"):
            place = place[step]
