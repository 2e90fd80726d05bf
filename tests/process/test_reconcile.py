"""`relay admin-key` and `relay reconcile`, as a person at a terminal meets them."""

import json
import subprocess
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio

from ..store.anthropic_books import ADMIN_KEY, AnthropicBooks, anthropic_books
from .conftest import Home

pytestmark = pytest.mark.slow


@pytest.fixture
async def books() -> AsyncIterator[AnthropicBooks]:
    async with anthropic_books() as made:
        yield made


async def relay(
    home: Home, *words: str, stdin: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A command, while the books go on answering."""
    return await trio.to_thread.run_sync(partial(home.relay, *words, stdin=stdin, check=check))


async def test_an_admin_key_is_added_and_the_books_are_compared(home: Home, books: AnthropicBooks):
    added = await relay(
        home, "admin-key", "add", "acme", "--base-url", books.url, "--secret-file", "-",
        stdin=f"{ADMIN_KEY}\n",
    )  # fmt: skip
    unlinked = await relay(home, "reconcile", check=False)
    assert (unlinked.returncode, "relay admin-key link acme" in unlinked.stderr) == (1, True)
    await relay(
        home, "account", "add", "main", "--base-url", books.url, "--secret-file", "-", stdin="s"
    )
    equal = await relay(home, "reconcile", "--json")
    assert json.loads(equal.stdout)[0]["days"] == []
    listed = await relay(home, "admin-key", "list")
    assert "Acme" in listed.stdout
    for done in (added, listed, equal):
        assert ADMIN_KEY not in done.stdout + done.stderr
