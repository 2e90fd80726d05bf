"""The real Codex CLI, from npm, through the relay to an upstream that we did not write."""

import base64
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..process.conftest import ROOT
from .aimock import TOO_LARGE, TOO_LONG, fixture, saying
from .documented import documented
from .installed import MACHINE, NODE_MODULES, begin, needed, run
from .relays import Relay, Upstream, assert_only_the_floor_is_booked, stopped_midway

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
    fixture("say much", TOO_LARGE),
    fixture("say too much", TOO_LONG),
]
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
# Unlike most, Codex looks into it.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQ"
    "DwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
# Otherwise it tries again whatever was refused, for six seconds.
ONCE = ("-c", "model_providers.relay.stream_max_retries=0")
# As the configuration gives headers to its last provider.
SLOWLY = 'http_headers = { anthropic-sim-chunks = "1000", anthropic-sim-delay-ms = "20" }\n'


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

    def configure(self, more: str = "") -> None:
        home = self.folder / ".codex"
        home.mkdir()
        config = documented("openai-responses.md", "toml", "model_provider", self.relay)
        (home / "config.toml").write_text(config + more)

    def command(self, words: str, *options: str) -> list[str]:
        package = NODE_MODULES / "@openai" / f"codex-{MACHINE}"
        (program,) = needed(package).glob("vendor/*/bin/codex")
        # The command is the test's own, and sandboxes do not nest everywhere.
        unboxed = "--dangerously-bypass-approvals-and-sandbox"
        # The words come before options that take any number of values.
        return [str(program), "exec", "--json", "--skip-git-repo-check", unboxed, words, *options]

    def ask(self, words: str, key: str, *options: str) -> Said:
        done = run(self.command(words, *options), self.folder, RELAY_KEY=key)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return Said(
            done.returncode, [json.loads(line) for line in lines], done.stdout + done.stderr
        )

    def begin(self, words: str, key: str) -> subprocess.Popen[str]:
        return begin(self.command(words), self.folder, RELAY_KEY=key)


@pytest.fixture
def codex(tmp_path: Path, before_aimock: Relay) -> Codex:
    one = Codex(tmp_path, before_aimock)
    one.configure()
    return one


@pytest.fixture
def simulated(tmp_path: Path, relay: Relay) -> Codex:
    """The same before the simulator, and not yet configured."""
    return Codex(tmp_path, relay)


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


def test_the_second_turn_grows_the_first(simulated: Codex, upstream: Upstream):
    """Claude's cache and its check of its own thinking want the beginning unchanged.

    The simulator's tool is the words as a command, which there is not; Codex tells it that.
    """
    words = "use tool marzipan"
    simulated.configure()
    said = simulated.ask(words, simulated.relay.key("codex"))
    assert said.status == 0, said.output
    bodies = [json.loads(one.body) for one in upstream.journal() if words.encode() in one.body]
    first, second = bodies
    messages = first["messages"]
    assert unmarked(second["messages"][: len(messages)]) == unmarked(messages)
    assert {**second, "messages": []} == {**first, "messages": []}
    turn, result = second["messages"][len(messages) :]
    assert [block["type"] for block in turn["content"]] == ["thinking", "text", "tool_use"]
    assert turn["content"][0]["signature"]
    assert [block["type"] for block in result["content"]] == ["tool_result"]


def unmarked(value: Any) -> Any:
    """The same without marks of what is cached, which wander as a conversation grows."""
    if isinstance(value, list):
        return [unmarked(part) for part in value]
    if isinstance(value, dict):
        return {name: unmarked(part) for name, part in value.items() if name != "cache_control"}
    return value


@pytest.mark.slow
def test_a_session_of_ten_turns_is_read_from_the_cache(simulated: Codex, upstream: Upstream):
    simulated.configure()
    key = simulated.relay.key("ten-turns")
    said = simulated.ask("turn 0 of ten", key)
    thread = said.events[0]["thread_id"]
    for turn in range(1, 10):
        said = simulated.ask("resume", key, thread, f"turn {turn} of ten")
        assert said.status == 0, said.output
    records = simulated.relay.records("ten-turns", lambda found: len(found) >= 10)
    tokens = [attempt["tokens"] for record in records for attempt in record["attempts"]]
    read = sum(one["cache_read"] for one in tokens)
    prompt = sum(one["input"] + one["cache_read"] + one["cache_write_5m"] for one in tokens)
    assert read / prompt >= 0.85
    assert said.events[-1]["usage"]["cached_input_tokens"] > 0


def test_a_wrong_key_is_told(codex: Codex):
    said = codex.ask("say hello", "sk-relay-" + "x" * 43, *ONCE)
    assert said.status != 0
    assert "Invalid API key" in said.output


def test_an_image_reaches_claude(simulated: Codex, upstream: Upstream):
    simulated.configure()
    (simulated.folder / "pixel.png").write_bytes(base64.b64decode(PIXEL))
    said = simulated.ask("what is drawn here", simulated.relay.key("drawn"), "--image", "pixel.png")
    assert said.of("agent_message")[0]["text"].endswith("what is drawn here"), said.output
    sent = json.loads(upstream.received("what is drawn here").body)
    images = [
        block["source"] for block in sent["messages"][-1]["content"] if block["type"] == "image"
    ]
    assert images == [{"type": "base64", "media_type": "image/png", "data": PIXEL}]


def test_an_answer_by_a_schema_is_asked_for(simulated: Codex, upstream: Upstream):
    simulated.configure()
    (simulated.folder / "city.json").write_text(json.dumps(CITY))
    said = simulated.ask("tell a city", simulated.relay.key("city"), "--output-schema", "city.json")
    assert said.status == 0, said.output
    sent = json.loads(upstream.received("tell a city").body)
    assert sent["output_config"]["format"] == {"type": "json_schema", "schema": CITY}


def test_an_error_of_the_upstream_is_told(codex: Codex):
    said = codex.ask("say much", codex.relay.key("much"), *ONCE)
    assert said.status != 0
    assert "No more of this." in said.output


def test_it_knows_when_the_context_is_full(codex: Codex):
    said = codex.ask("say too much", codex.relay.key("too-much"), *ONCE)
    assert said.status != 0
    assert "ran out of room in the model's context window" in said.output


def test_a_documented_catalogue_tells_it_of_claude(simulated: Codex):
    simulated.configure()
    key = simulated.relay.key("catalogue")
    assert "metadata" in simulated.ask("say hello", key).output
    (script,) = re.findall(
        r"^```sh\n(codex debug models.*?)^```",
        (ROOT / "docs" / "clients.md").read_text(), re.DOTALL | re.MULTILINE,
    )  # fmt: skip
    program = Path(simulated.command("x")[0])
    env = {"HOME": str(simulated.folder), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", script], cwd=simulated.folder, env=env, check=True)
    config = simulated.folder / ".codex" / "config.toml"
    catalogue = simulated.folder / ".codex" / "claude.json"
    config.write_text(f'model_catalog_json = "{catalogue}"\n{config.read_text()}')
    said = simulated.ask("say hello again", key)
    assert said.status == 0, said.output
    assert "metadata" not in said.output


def test_stopping_it_ends_the_upstreams_work_and_books_the_floor(
    simulated: Codex, upstream: Upstream
):
    simulated.configure(SLOWLY)
    leaving = simulated.begin("leave codex", simulated.relay.key("codex-leaving"))
    stopped_midway(leaving, "leave codex", upstream)
    assert_only_the_floor_is_booked(simulated.relay, "codex-leaving")
