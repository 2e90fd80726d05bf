"""A relay whose console is opened: by requests as a browser sends them, and by a browser."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from relay.settings import Secret

from ..e2e.conftest import SOON_S, Running, relay_running
from ..store.conftest import own_redis, redis_process, redis_url

__all__ = ["own_redis", "redis_process", "redis_url"]

PASSWORD = "correct horse battery"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass
class Person:
    """Somebody at a browser without JavaScript: cookies, forms and their hidden fields."""

    client: httpx.AsyncClient
    csrf: str = ""
    seen: list[str] = field(default_factory=list)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        response = await self.client.get(path, headers=headers)
        self._note(response)
        return response

    async def post(self, path: str, **fields: object) -> httpx.Response:
        data = {"csrf": self.csrf, **fields}
        response = await self.client.post(path, data=data)
        self._note(response)
        return response

    def _note(self, response: httpx.Response) -> None:
        if found := _CSRF.search(response.text):
            self.csrf = found[1]

    async def sign_in(self, name: str = "admin", password: str = PASSWORD, **more: str) -> None:
        response = await self.post("/web/sign-in", name=name, password=password, **more)
        assert response.status_code == 303, response.text
        await self.get("/web")


@dataclass
class Console:
    """A relay with its console, and people who open it."""

    relay: Running

    @asynccontextmanager
    async def person(self, **headers: str) -> AsyncIterator[Person]:
        """Somebody who is not signed in."""
        async with httpx.AsyncClient(
            base_url=self.relay.url, timeout=SOON_S, trust_env=False, headers=headers
        ) as client:
            yield Person(client)

    @asynccontextmanager
    async def signed_in(self, role: str = "admin") -> AsyncIterator[Person]:
        """Somebody who is signed in with a role."""
        if role != "admin":
            await self.relay.ctx.users.add(role, PASSWORD, role)
        async with self.person() as person:
            await person.sign_in(role)
            yield person


@pytest.fixture
async def console(redis_url: str, tmp_path: Path) -> AsyncIterator[Console]:
    """A relay with one account, one key and the first admin."""
    async with relay_running(redis_url, tmp_path, admin_password=Secret(PASSWORD)) as running:
        yield Console(running)
