"""Programs that act out scenarios with an SDK, and what they saw."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .installed import needed, node, run
from .relays import Relay, Upstream

HERE = Path(__file__).parent
LANGCHAIN = Path(sys.prefix, "langchain")

Command = tuple[list[str], dict[str, str]]


@dataclass
class Told:
    """What a program saw, its name, and its key; `name` and `name`-leaving are its keys' names."""

    name: str
    key: str
    scenarios: dict[str, Any]

    def __getitem__(self, scenario: str) -> dict[str, Any]:
        found: dict[str, Any] = self.scenarios[scenario]
        assert "failed" not in found, found["failed"]
        return found

    def sent(self, words: str, upstream: Upstream) -> dict[str, Any]:
        """What Claude was asked in the one request with these words and the key's end."""
        body: dict[str, Any] = json.loads(upstream.received(f"{words} {self.key[-9:]}").body)
        return body


Played = Callable[[str], Told]


def python(program: str) -> Command:
    return [sys.executable, str(HERE / f"{program}.py")], {}


def typescript(program: str) -> Command:
    return [node(), str(HERE / f"{program}.mjs")], {}


def langchain(program: str) -> Command:
    needed(LANGCHAIN / "langchain_openai")
    return python(program)[0], {"PYTHONPATH": str(LANGCHAIN)}


# The command, to which the base URL and the last word of the name are added.
PROGRAMS: dict[str, Callable[[], Command]] = {
    "responses-python": partial(python, "responses_sdk"),
    "responses-typescript": partial(typescript, "responses_sdk"),
    "chat-python": partial(python, "chat_sdk"),
    "chat-typescript": partial(typescript, "chat_sdk"),
    "langchain-responses": partial(langchain, "langchain_program"),
    "langchain-chat": partial(langchain, "langchain_program"),
}
# For a fixture's params.
EVERY_PROGRAM = [
    pytest.param(name, marks=[pytest.mark.npm] if name.endswith("typescript") else [])
    for name in PROGRAMS
]


def told_by(name: str, relay: Relay, folder: Path) -> Told:
    """What one of the PROGRAMS sees at a relay."""
    keys = {"KEY": relay.key(name), "LEAVING_KEY": relay.key(f"{name}-leaving")}
    command, env = PROGRAMS[name]()
    base_url = f"{relay.url.removesuffix('/api')}/openai/claude/v1"
    done = run([*command, base_url, name.rpartition("-")[2]], folder, **keys, **env)
    assert done.returncode == 0, done.stderr
    return Told(name, keys["KEY"], json.loads(done.stdout))
