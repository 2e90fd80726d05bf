"""A relay whose admin API is called, with a token of each role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest

from relay.admin.document import BASE, described
from relay.admin.routes import ROUTES
from relay.settings import Secret
from relay.users import ROLES

from ..e2e.conftest import SOON_S, Running, relay_running
from ..store.conftest import own_redis, redis_process, redis_url

__all__ = ["own_redis", "redis_process", "redis_url"]

PASSWORD = "correct horse battery"


DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(described(ROUTES)))


@cache
def validator(ref: str) -> jsonschema_rs.Validator:
    """What checks a value by a schema of the document."""
    return jsonschema_rs.validator_for(
        {"$ref": ref, "components": DOCUMENT["components"]}, validate_formats=True
    )


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """What the document says of a request; paths without {parts} come first."""
    steps = path.removeprefix(BASE).split("/")
    for template in sorted(DOCUMENT["paths"], key=lambda one: one.count("{")):
        names = template.split("/")
        fits = len(names) == len(steps) and all(
            name == step or name.startswith("{") for name, step in zip(names, steps, strict=True)
        )
        if fits and method.lower() in DOCUMENT["paths"][template]:
            found: dict[str, Any] = DOCUMENT["paths"][template][method.lower()]
            return found
    return None


async def fits_the_document(response: httpx.Response) -> None:
    """Every answer of every test is what the document says."""
    await response.aread()
    operation = operation_of(response.request.method, response.request.url.path)
    if operation is None:
        return
    told = operation["responses"][str(response.status_code)]
    if ref := told.get("$ref"):
        told = DOCUMENT["components"]["responses"][ref.rpartition("/")[2]]
    kinds = told.get("content", {})
    assert bool(kinds) == bool(response.content), response.text
    if kinds:
        assert response.headers["content-type"] in kinds
    if "application/json" in kinds:
        validator(kinds["application/json"]["schema"]["$ref"]).validate(response.json())


@dataclass
class Api:
    """A relay and the tokens of its admin API by role."""

    relay: Running
    tokens: dict[str, str]

    def client(self, role: str = "admin", **headers: str) -> httpx.AsyncClient:
        """Somebody who calls with the token of a role; "" sends none."""
        given = {"authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.AsyncClient(
            base_url=self.relay.url + BASE, headers={**given, **headers}, timeout=SOON_S,
            trust_env=False, event_hooks={"response": [fits_the_document]},
        )  # fmt: skip


@asynccontextmanager
async def api_running(redis_url: str, home: Path, **changes: object) -> AsyncIterator[Api]:
    """A relay with the given changes to its settings, and a token of each role."""
    first = Secret(PASSWORD)
    async with relay_running(redis_url, home, admin_password=first, **changes) as running:
        made = {role: await running.ctx.tokens.create(f"a-{role}", role) for role in ROLES}
        yield Api(running, {role: text for role, (_, text) in made.items()})


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A relay with one account, one key and the first admin."""
    async with api_running(redis_url, tmp_path) as one:
        yield one
