"""The real Claude Code, from npm, through the relay to an upstream that we did not write.

The upstream is aimock: it takes only the account's secret, answers by the fixtures below, and
keeps a journal of what it got.
"""

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..process.conftest import ROOT
from .aimock import CUT, TOO_LARGE, Aimock, fixture, saying
from .installed import MACHINE, NODE_MODULES, needed, run
from .relays import Relay

pytestmark = pytest.mark.npm

# The promise: a key that is wrong is told at once, not after minutes of retries.
FAILS_WITHIN_S = 10.0
NOTE = "the word is marzipan\n"
CALL_OF_TOOL = {"name": "Bash", "arguments": {"command": "tr a-z A-Z < note.txt"}}


FIXTURES = [
    fixture("say hello", saying("Hello from the fixture.")),
    fixture("shout the note", saying("Shouted.", 1500, 20), {"toolResultContains": "MARZIPAN"}),
    fixture(
        "shout the note",
        {"toolCalls": [CALL_OF_TOOL], "usage": {"input_tokens": 1200, "output_tokens": 30}},
        {"hasToolResult": False},
    ),
    fixture("break once", saying("Half of an answer."), {"sequenceIndex": 0}, **CUT),
    fixture("break once", saying("Whole at the second try.")),
    fixture("break for good", saying("Half of an answer."), {"sequenceIndex": 0}, **CUT),
    fixture("break for good", TOO_LARGE),
]


def claude_folder() -> Path:
    return needed(NODE_MODULES / "@anthropic-ai" / f"claude-code-{MACHINE}")


@dataclass
class Said:
    """What one `claude -p` came to; `result` is what it says with --output-format json."""

    status: int
    result: dict[str, Any]
    stderr: str
    seconds: float


@dataclass
class Claude:
    """Claude Code in a folder of its own, pointed at the relay."""

    folder: Path
    relay: Relay

    def ask(self, words: str, *options: str, **credential: str) -> Said:
        program = claude_folder() / "claude"
        began = time.monotonic()
        done = run(
            [str(program), "-p", words, "--output-format", "json", *options],
            self.folder,
            ANTHROPIC_BASE_URL=self.relay.url,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            DISABLE_TELEMETRY="1",
            **credential,
        )
        seconds = time.monotonic() - began
        return Said(done.returncode, json.loads(done.stdout or "{}"), done.stderr, seconds)


@pytest.fixture
def claude(tmp_path: Path, before_aimock: Relay) -> Claude:
    return Claude(tmp_path, before_aimock)


@pytest.mark.parametrize("variable", ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"])
def test_it_prints_the_answer_and_counts_what_the_relay_counts(claude: Claude, variable: str):
    key = claude.relay.key(variable)
    said = claude.ask("say hello", **{variable: key})
    assert said.status == 0, said.stderr
    assert said.result["result"] == "Hello from the fixture."
    (record,) = claude.relay.records(variable)
    assert record["session"] == said.result["session_id"]
    assert record["client"].startswith("claude-cli/")
    assert (record["stream"], record["status"], record["error"]) == (True, 200, "")
    assert record["cost_micros"] == round(said.result["total_cost_usd"] * 1_000_000) > 0


def test_the_upstream_gets_its_headers_and_none_of_its_credential(claude: Claude, aimock: Aimock):
    key = claude.relay.key("headers")
    said = claude.ask("say hello", ANTHROPIC_AUTH_TOKEN=key)
    assert said.status == 0, said.stderr
    entry = aimock.journal("say hello")[-1]
    assert entry["path"] == "/v1/messages?beta=true"
    assert entry["headers"]["user-agent"].startswith("claude-cli/")
    assert "claude-code-20250219" in entry["headers"]["anthropic-beta"]
    assert "authorization" not in entry["headers"]
    assert key not in json.dumps(entry)


def test_the_tool_loop_runs_the_tool_and_books_both_turns(claude: Claude):
    (claude.folder / "note.txt").write_text(NOTE)
    key = claude.relay.key("tools")
    said = claude.ask("shout the note", "--allowedTools", "Bash", ANTHROPIC_AUTH_TOKEN=key)
    assert said.status == 0, said.stderr
    assert said.result["result"] == "Shouted."
    records = claude.relay.records("tools", lambda found: len(found) >= 2)
    assert [record["stop_reason"] for record in records] == ["tool_use", "end_turn"]
    assert {record["session"] for record in records} == {said.result["session_id"]}
    cost = sum(record["cost_micros"] for record in records)
    assert cost == round(said.result["total_cost_usd"] * 1_000_000)


def test_the_readmes_line_connects(claude: Claude):
    (line,) = re.findall(
        r"^ +(ANTHROPIC_.* claude)$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    done = run(
        ["bash", "-euc", f"{line} -p 'say hello'"],
        claude.folder,
        PATH=f"{claude_folder()}:{os.environ['PATH']}",
        RELAY_URL=claude.relay.url,
        RELAY_KEY=claude.relay.key("reader"),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )
    assert done.stdout == "Hello from the fixture.\n", done.stderr


def test_accounts_in_trouble_are_not_seen(claude: Claude, aimock: Aimock):
    """One that is not there and one whose secret is wrong come first; the healthy one serves."""
    for name, url in (("gone", "http://127.0.0.1:1"), ("refused", aimock.url)):
        claude.relay.home.relay(
            "account", "add", name, "--base-url", url, "--priority", "1", "--secret-file", "-",
            stdin="no-such-secret\n",
        )  # fmt: skip
    try:
        said = claude.ask("say hello", ANTHROPIC_AUTH_TOKEN=claude.relay.key("troubled"))
        assert said.status == 0, said.stderr
        (record,) = claude.relay.records("troubled")
        tried = [(one["account_name"], one["outcome"]) for one in record["attempts"]]
        assert sorted(tried[:-1]) == [
            ("gone", "upstream_connect_failed"),
            ("refused", "credential_refused"),
        ]
        assert tried[-1] == ("main", "ok")
    finally:
        for name in ("gone", "refused"):
            claude.relay.home.relay("account", "remove", name, "--yes")


def test_a_wrong_key_is_told_at_once(claude: Claude):
    said = claude.ask("say hello", ANTHROPIC_AUTH_TOKEN="sk-relay-" + "x" * 43)
    assert said.status != 0
    assert said.result["is_error"]
    assert "Invalid API key" in said.result["result"]
    assert said.seconds < FAILS_WITHIN_S
    assert sum("status=401" in line for line in claude.relay.log()) == 1


def test_a_stream_that_breaks_once_is_asked_for_again(claude: Claude, aimock: Aimock):
    said = claude.ask("break once", ANTHROPIC_AUTH_TOKEN=claude.relay.key("once"))
    assert said.status == 0, said.stderr
    assert said.result["result"] == "Whole at the second try."
    broken, whole = claude.relay.records("once", lambda found: len(found) >= 2)
    assert broken["error"].startswith("upstream_body_failed")
    assert whole["error"] == ""
    assert len(aimock.journal("break once")) == 2


def test_half_an_answer_is_never_shown_as_one(claude: Claude, aimock: Aimock):
    said = claude.ask("break for good", ANTHROPIC_AUTH_TOKEN=claude.relay.key("for-good"))
    assert said.status != 0
    assert said.result["is_error"]
    assert "Request too large" in said.result["result"]
    assert "Half" not in said.result["result"]
    assert len(aimock.journal("break for good")) == 2
