"""An OAuth server of npm's, as a process of its own."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..clients.installed import NODE_MODULES, needed, node
from ..process.conftest import DEADLINE_S, line_with

PROGRAM = Path(__file__).parent / "server.mjs"


@dataclass
class OAuthServer:
    """The running server; server.mjs tells what it does beyond OAuth."""

    url: str

    @property
    def token_url(self) -> str:
        return f"{self.url}/v1/oauth/token"

    def sent_back(self, url: str) -> str:
        """Where a browser that opens a sign-in's address is sent; the person said yes."""
        answer = httpx.get(url, trust_env=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def requests(self) -> list[dict[str, Any]]:
        """The token requests until now, the oldest first."""
        found: list[dict[str, Any]] = self._control("GET", "/test/requests")
        return found

    def change_next(self, **change: Any) -> None:
        """Change the next answer of the token endpoint: its status, body, or what it is without."""
        self._control("PUT", "/test/next", json=change)

    def _control(self, method: str, path: str, **content: Any) -> Any:
        answer = httpx.request(method, f"{self.url}{path}", trust_env=False, **content)
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def oauth_server() -> Iterator[OAuthServer]:
    needed(NODE_MODULES / "oauth2-mock-server")
    process = subprocess.Popen(
        [node(), str(PROGRAM)],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield OAuthServer(line_with(process, "listening on").rpartition(" ")[2])
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
