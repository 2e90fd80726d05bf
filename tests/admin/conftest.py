"""A relay whose admin API is called, with a token of each role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from relay.admin.document import BASE
from relay.settings import Secret
from relay.users import ROLES

from ..e2e.conftest import SOON_S, Running, relay_running
from ..store.conftest import redis_process, redis_url

__all__ = ["redis_process", "redis_url"]

PASSWORD = "correct horse battery"


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
            trust_env=False,
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
