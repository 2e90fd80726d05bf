"""Programs that act out scenarios with an SDK, and what they saw."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conftest import Relay, Upstream, node, run

HERE = Path(__file__).parent


@dataclass
class Told:
    """What the programs of one language saw, and the names of their keys."""

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


def told_by(program: str, language: str, relay: Relay, folder: Path) -> Told:
    """What a program of the openai SDK sees at a relay.

    Args:
        program: the name of its files, one for each language.
        language: python or typescript.
    """
    name = f"{program}-{language}"
    keys = {"KEY": relay.key(name), "LEAVING_KEY": relay.key(f"{name}-leaving")}
    base_url = f"{relay.url.removesuffix('/api')}/openai/claude/v1"
    interpreter, ending = (sys.executable, "py") if language == "python" else (node(), "mjs")
    done = run([interpreter, str(HERE / f"{program}.{ending}"), base_url], folder, **keys)
    assert done.returncode == 0, done.stderr
    return Told(name, keys["KEY"], json.loads(done.stdout))
