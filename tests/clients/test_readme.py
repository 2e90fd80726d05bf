"""What the README says about connecting works as it stands there."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from ..process.conftest import ROOT
from .installed import NODE_MODULES, node, run
from .relays import Relay

README = (ROOT / "README.md").read_text()
CURLS = [
    block
    for block in re.findall(r"^```sh\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
    if "curl" in block
]


@pytest.fixture(scope="module")
def key(relay: Relay) -> str:
    return relay.key("reader")


def inline(start: str) -> str:
    """The README's one piece of code in a line that begins like this."""
    (found,) = re.findall(rf"`({re.escape(start)}[^`]+)`", README)
    return str(found)


@pytest.fixture(scope="module")
def printed(relay: Relay, key: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each curl example prints, by the example."""
    assert shutil.which("curl"), "curl is missing; tests/run --all installs it"
    folder = tmp_path_factory.mktemp("curl")
    outputs = {}
    for block in CURLS:
        done = run(["bash", "-euc", block], folder, RELAY_URL=relay.url, RELAY_KEY=key)
        assert (done.returncode, done.stderr) == (0, ""), f"{block}\n{done.stderr}"
        outputs[block] = done.stdout
    return outputs


# curl is not everywhere, so tests/run without --all cannot count on it.
@pytest.mark.slow
def test_the_curl_examples_print_a_message_a_stream_and_the_models(printed: dict[str, str]):
    message, stream, models = printed.values()
    assert json.loads(message)["content"][0]["text"] == "Simulated answer to: Hello"
    assert stream.startswith("event: message_start\n")
    assert stream.endswith('event: message_stop\ndata: {"type": "message_stop"}\n\n')
    assert "claude-haiku-4-5" in [model["id"] for model in json.loads(models)["data"]]


def test_every_curl_example_uses_the_names_that_the_readme_explains():
    assert len(CURLS) == 3
    for block in CURLS:
        assert set(re.findall(r"\$(\w+)", block)) == {"RELAY_URL", "RELAY_KEY"}


def test_the_python_line_connects(relay: Relay, key: str, tmp_path: Path):
    program = f"""
from anthropic import Anthropic
RELAY_URL, RELAY_KEY = {relay.url!r}, {key!r}
client = {inline("Anthropic(")}
print([model.id for model in client.models.list()])
"""
    done = run([sys.executable, "-c", program], tmp_path)
    assert "claude-haiku-4-5" in done.stdout, done.stderr


@pytest.mark.npm
def test_the_typescript_line_connects(relay: Relay, key: str, tmp_path: Path):
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "line.mjs").write_text(f"""
import Anthropic from "@anthropic-ai/sdk";
const [RELAY_URL, RELAY_KEY] = {json.dumps([relay.url, key])};
const client = {inline("new Anthropic(")};
for await (const model of client.models.list()) console.log(model.id);
""")
    done = run([node(), "line.mjs"], tmp_path)
    assert "claude-haiku-4-5" in done.stdout.split(), done.stderr
