"""The real CLI of Continue, from npm, through the relay.

Answers come from aimock, an upstream that we did not write, or from the simulator where what it got
counts.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .aimock import CUT, TOO_LARGE, fixture, saying
from .documented import documented
from .installed import NODE_MODULES, begin, needed, node, run
from .relays import Relay, Upstream, assert_only_the_floor_is_booked, stopped_midway

pytestmark = [pytest.mark.npm, pytest.mark.slow]

NOTE = "the word is marzipan\n"
CITY = '{"name": "Bern"}'
CALL = {"name": "Read", "arguments": {"filepath": "note.txt"}}
FIXTURES = [
    fixture("say hello", saying("Hello from the fixture.")),
    fixture("tell a city", saying(CITY)),
    fixture("read the note", saying("Read.", 1500, 20), {"toolResultContains": "marzipan"}),
    fixture(
        "read the note",
        {
            "content": "I will.",
            "toolCalls": [CALL],
            "usage": {"input_tokens": 1200, "output_tokens": 30},
        },
        {"hasToolResult": False},
    ),
    fixture("say much", TOO_LARGE),
    fixture("break once", saying("Half of an answer."), {"sequenceIndex": 0}, **CUT),
    fixture("break once", saying("Whole at the second try.")),
]
PIXEL = "iVBORw0KGgo="
# As the configuration gives headers to a model.
SLOWLY = """    requestOptions:
      headers: {anthropic-sim-chunks: "1000", anthropic-sim-delay-ms: "20"}
"""
# It asks its makers for its newest version at each start, which nothing switches off: Node sends
# that to a proxy that is not there.
OFFLINE = {
    "NODE_USE_ENV_PROXY": "1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "NO_PROXY": "127.0.0.1",
    "CONTINUE_METRICS_ENABLED": "0",
}


@dataclass
class Continue:
    """Continue's CLI in a folder of its own, configured as the documentation says."""

    folder: Path
    relay: Relay

    @property
    def home(self) -> Path:
        return self.folder / ".continue"

    def configure(self, more: str = "", model: str = "claude-opus-5-5") -> None:
        self.home.mkdir()
        config = documented("openai-chat.md", "yaml", "provider: openai", self.relay)
        config = config.replace("claude-opus-5-5", model) + more
        (self.home / "config.yaml").write_text(config)

    def command(self, words: str, *options: str) -> list[str]:
        program = needed(NODE_MODULES / "@continuedev" / "cli" / "dist" / "cn.js")
        return [node(), str(program), "-p", *options, words]

    def ask(self, words: str, key: str, *options: str) -> subprocess.CompletedProcess[str]:
        return run(self.command(words, *options), self.folder, RELAY_KEY=key, **OFFLINE)

    def begin(self, words: str, key: str) -> subprocess.Popen[str]:
        return begin(self.command(words), self.folder, RELAY_KEY=key, **OFFLINE)


@pytest.fixture
def continue_(tmp_path: Path, before_aimock: Relay) -> Continue:
    one = Continue(tmp_path, before_aimock)
    one.configure()
    return one


@pytest.fixture
def simulated(tmp_path: Path, relay: Relay) -> Continue:
    """The same before the simulator, and not yet configured."""
    return Continue(tmp_path, relay)


def test_it_prints_the_answer_and_the_relay_books_it(continue_: Continue):
    done = continue_.ask("say hello", continue_.relay.key("hello"))
    assert done.stdout == "Hello from the fixture.\n", done.stderr
    (record,) = continue_.relay.records("hello")
    assert record["client"].startswith("ls/JS ")
    assert (record["stream"], record["status"], record["error"]) == (True, 200, "")
    (attempt,) = record["attempts"]
    assert (attempt["tokens"]["input"], attempt["tokens"]["output"]) == (1000, 10)


def test_an_answer_in_json_is_printed_as_it_is(continue_: Continue):
    done = continue_.ask("tell a city", continue_.relay.key("json"), "--format", "json")
    assert json.loads(done.stdout) == {"name": "Bern"}, done.stderr


def test_the_tool_loop_reads_the_file_and_books_both_turns(continue_: Continue):
    (continue_.folder / "note.txt").write_text(NOTE)
    done = continue_.ask("read the note", continue_.relay.key("tools"))
    assert done.stdout.endswith("Read.\n"), done.stderr
    records = continue_.relay.records("tools", lambda found: len(found) >= 2)
    assert [record["stop_reason"] for record in records] == ["tool_use", "end_turn"]


def test_the_second_turn_grows_the_first(simulated: Continue, upstream: Upstream):
    """The simulator has it read a file of the words' name, which is not there."""
    simulated.configure()
    words = "use tool continued"
    done = simulated.ask(words, simulated.relay.key("continue"))
    assert done.returncode == 0, done.stderr
    bodies = [json.loads(one.body) for one in upstream.journal() if words.encode() in one.body]
    first, second = bodies
    assert {**second, "messages": []} == {**first, "messages": []}
    (asked,) = first["messages"]
    again, turn, result = second["messages"]
    assert again == asked
    assert result["content"][0]["tool_use_id"] == turn["content"][-1]["id"]


def test_an_image_of_the_conversation_reaches_claude(simulated: Continue, upstream: Upstream):
    """Pasted before, as its screen keeps it; without a screen it takes none."""
    simulated.configure()
    parts = [
        {"type": "text", "text": "what is this"},
        {"type": "imageUrl", "imageUrl": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    history = [
        {"message": {"role": "user", "content": parts}, "contextItems": []},
        {"message": {"role": "assistant", "content": "A pixel."}, "contextItems": []},
    ]
    session = {"sessionId": "pasted", "title": "Pasted", "history": history}
    (simulated.home / "sessions").mkdir()
    (simulated.home / "sessions" / "pasted.json").write_text(
        json.dumps({**session, "workspaceDirectory": str(simulated.folder)})
    )
    done = simulated.ask("of which colour", simulated.relay.key("pasted"), "--resume")
    assert "Simulated answer to: of which colour" in done.stdout, done.stderr
    sent: dict[str, Any] = json.loads(upstream.received("of which colour").body)
    _, image = sent["messages"][0]["content"]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}


def test_a_wrong_key_is_told(continue_: Continue):
    done = continue_.ask("say hello", "sk-relay-" + "x" * 43)
    assert done.returncode != 0
    assert "Invalid API key" in done.stderr


def test_an_unknown_model_is_told(simulated: Continue):
    simulated.configure(model="gpt-of-old")
    done = simulated.ask("say hello", simulated.relay.key("old"))
    assert done.returncode != 0
    assert "gpt-of-old" in done.stderr


def test_an_error_of_the_upstream_is_told(continue_: Continue):
    done = continue_.ask("say much", continue_.relay.key("much"))
    assert done.returncode != 0
    assert "No more of this." in done.stderr


def test_a_stream_that_breaks_is_asked_for_again(continue_: Continue):
    done = continue_.ask("break once", continue_.relay.key("once"))
    assert done.stdout.endswith("Whole at the second try.\n"), done.stderr
    broken, whole = continue_.relay.records("once", lambda found: len(found) >= 2)
    assert broken["error"].startswith("upstream_body_failed")
    assert whole["error"] == ""


def test_stopping_it_ends_the_upstreams_work_and_books_the_floor(
    simulated: Continue, upstream: Upstream
):
    simulated.configure(SLOWLY)
    leaving = simulated.begin("leave continued", simulated.relay.key("continue-leaving"))
    stopped_midway(leaving, "leave continued", upstream)
    assert_only_the_floor_is_booked(simulated.relay, "continue-leaving")
