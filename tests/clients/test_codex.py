"""The real Codex CLI, from npm, through the relay to an upstream that we did not write."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .aimock import fixture, saying
from .documented import documented
from .installed import MACHINE, NODE_MODULES, needed, run
from .relays import Relay, Upstream

pytestmark = pytest.mark.npm

NOTE = "the word is marzipan\n"
CALL = {"name": "exec_command", "arguments": {"cmd": "tr a-z A-Z < note.txt"}}
FIXTURES = [
    fixture("say hello", saying("Hello from the fixture.")),
    fixture("shout the note", saying("Shouted.", 1500, 20), {"toolResultContains": "MARZIPAN"}),
    fixture(
        "shout the note",
        {
            "content": "I will.",
            "reasoning": "The note is to be shouted.",
            "toolCalls": [CALL],
            "usage": {"input_tokens": 1200, "output_tokens": 30},
        },
        {"hasToolResult": False},
    ),
]


@dataclass
class Said:
    """What one `codex exec` came to: its status, the items it told of, the tokens it counted."""

    status: int
    events: list[dict[str, Any]]
    output: str

    def of(self, kind: str) -> list[dict[str, Any]]:
        done = [one["item"] for one in self.events if one["type"] == "item.completed"]
        return [item for item in done if item["type"] == kind]


@dataclass
class Codex:
    """Codex in a folder of its own, configured as the documentation says."""

    folder: Path
    relay: Relay

    def ask(self, words: str, key: str, *options: str) -> Said:
        package = NODE_MODULES / "@openai" / f"codex-{MACHINE}"
        (program,) = needed(package).glob("vendor/*/bin/codex")
        home = self.folder / ".codex"
        home.mkdir()
        config = documented("openai-responses.md", "toml", "model_provider", self.relay)
        (home / "config.toml").write_text(config)
        # The command is the test's own, and sandboxes do not nest everywhere.
        unboxed = "--dangerously-bypass-approvals-and-sandbox"
        command = [str(program), "exec", "--json", "--skip-git-repo-check", unboxed]
        done = run([*command, *options, words], self.folder, RELAY_KEY=key)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return Said(
            done.returncode, [json.loads(line) for line in lines], done.stdout + done.stderr
        )


@pytest.fixture
def codex(tmp_path: Path, before_aimock: Relay) -> Codex:
    return Codex(tmp_path, before_aimock)


def test_it_prints_the_answer_and_the_relay_books_it(codex: Codex):
    said = codex.ask("say hello", codex.relay.key("hello"))
    assert said.status == 0, said.output
    assert [item["text"] for item in said.of("agent_message")] == ["Hello from the fixture."]
    assert said.events[-1]["usage"]["input_tokens"] == 1000
    (record,) = codex.relay.records("hello")
    assert record["client"].startswith("codex_exec/")
    assert (record["stream"], record["status"], record["error"]) == (True, 200, "")


def test_the_tool_loop_runs_the_tool_and_books_both_turns(codex: Codex):
    (codex.folder / "note.txt").write_text(NOTE)
    said = codex.ask("shout the note", codex.relay.key("tools"))
    assert said.status == 0, said.output
    (ran,) = said.of("command_execution")
    assert "MARZIPAN" in ran["aggregated_output"]
    assert said.of("reasoning")[0]["text"] == "The note is to be shouted."
    assert said.of("agent_message")[-1]["text"] == "Shouted."
    records = codex.relay.records("tools", lambda found: len(found) >= 2)
    assert [record["stop_reason"] for record in records] == ["tool_use", "end_turn"]
    (session,) = {record["session"] for record in records}
    assert session == said.events[0]["thread_id"]


def test_the_second_turn_grows_the_first(tmp_path: Path, relay: Relay, upstream: Upstream):
    """Claude's cache and its check of its own thinking want the beginning unchanged.

    The simulator's tool is the words as a command, which there is not; Codex tells it that.
    """
    words = "use tool marzipan"
    said = Codex(tmp_path, relay).ask(words, relay.key("codex"))
    assert said.status == 0, said.output
    bodies = [json.loads(one.body) for one in upstream.journal() if words.encode() in one.body]
    first, second = bodies
    messages = first["messages"]
    assert second["messages"][: len(messages)] == messages
    assert {**second, "messages": []} == {**first, "messages": []}
    turn, result = second["messages"][len(messages) :]
    assert [block["type"] for block in turn["content"]] == ["thinking", "text", "tool_use"]
    assert turn["content"][0]["signature"]
    assert [block["type"] for block in result["content"]] == ["tool_result"]


def test_a_wrong_key_is_told(codex: Codex):
    said = codex.ask("say hello", "sk-relay-" + "x" * 43)
    assert said.status != 0
    assert "Invalid API key" in said.output
