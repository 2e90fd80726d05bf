"""aimock, an upstream that we did not write: it answers by fixtures and keeps a journal."""

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import httpx

from ..process.conftest import UPSTREAM_KEY, Home, line_with
from .installed import NODE_MODULES, needed, node

# Slowly, so that what comes before the cut is on its way when the connection goes.
CUT = {"chunkSize": 5, "latency": 20, "truncateAfterChunks": 5}
# Neither tried again by the client nor moved on from by the relay.
TOO_LARGE = {"error": {"type": "request_too_large", "message": "No more of this."}, "status": 413}

TOO_LONG = {
    "error": {
        "type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum",
    },
    "status": 400,
}


def fixture(words: str, response: dict[str, Any], match: Any = None, **how: Any) -> dict[str, Any]:
    return {"match": {"userMessage": words, **(match or {})}, "response": response, **how}


def saying(content: str, input_tokens: int = 1000, output_tokens: int = 10) -> dict[str, Any]:
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return {"content": content, "usage": usage}


@dataclass
class Aimock:
    """The running upstream."""

    url: str

    def journal(self, words: str) -> list[dict[str, Any]]:
        """The requests that were answered by the fixtures for these words."""
        answer = httpx.get(
            f"{self.url}/__aimock/journal", headers={"x-api-key": UPSTREAM_KEY}, trust_env=False
        )
        entries: list[dict[str, Any]] = answer.json()
        return [
            entry
            for entry in entries
            if entry["response"]["fixture"]["match"]["userMessage"] == words
        ]


def started(home: Home, fixtures: list[dict[str, Any]]) -> Aimock:
    """An aimock that takes only the account's secret; it ends with the home."""
    path = home.folder / "fixtures.json"
    path.write_text(json.dumps({"fixtures": fixtures}))
    program = needed(NODE_MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js")
    process = subprocess.Popen(
        [node(), str(program), "-p", "0", "-f", str(path), "--validate-on-load"],
        env={"PATH": os.environ["PATH"], "AIMOCK_API_KEYS": UPSTREAM_KEY},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    home.started.append(process)
    return Aimock(line_with(process, "listening on").rpartition(" ")[2])
