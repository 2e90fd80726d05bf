"""What a person sees of a budget on the screen of the real Claude Code, in a terminal of tmux."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..process.conftest import DEADLINE_S
from .aimock import fixture, saying
from .relays import Relay
from .test_claude_code import claude_folder

pytestmark = pytest.mark.npm

PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
FIXTURES = [fixture("spend much", saying("Spent.", 500_000, 10))]


@dataclass
class Terminal:
    """A tmux server of the test's own with one program on its screen."""

    socket: Path

    def tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), *words],
            capture_output=True, text=True, timeout=DEADLINE_S, check=True,
        ).stdout  # fmt: skip

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)

    def wait_for(self, is_there: Callable[[str], object]) -> str:
        """The screen as soon as it shows what is waited for."""
        end = time.monotonic() + 2 * DEADLINE_S
        while not is_there(screen := self.screen()):
            assert time.monotonic() < end, screen
            time.sleep(0.1)
        return screen


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path / "tmux")
    yield one
    subprocess.run(["tmux", "-S", str(one.socket), "kill-server"], capture_output=True, timeout=10)


@dataclass
class Person:
    """Somebody who uses Claude Code in gateway mode with the relay's key."""

    terminal: Terminal

    def start(self, folder: Path, relay: Relay, key: str) -> None:
        """Begin a conversation, as one who has used it in this folder before."""
        known = {"hasTrustDialogAccepted": True}
        settings = {"hasCompletedOnboarding": True, "projects": {str(folder): known}}
        (folder / ".claude.json").write_text(json.dumps(settings))
        env = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": relay.url,
            "ANTHROPIC_AUTH_TOKEN": key,
            "CLAUDE_CODE_USE_GATEWAY": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        program = [*(f"{name}={value}" for name, value in env.items()),
                   str(claude_folder() / "claude")]  # fmt: skip
        self.terminal.tmux(
            "new-session", "-d", "-x", "120", "-y", "40", "-c", str(folder), "env", "-i", *program
        )
        self.terminal.wait_for(lambda screen: "Cloud gateway" in screen and PROMPT in screen)

    def says(self, words: str) -> None:
        self.terminal.type(words)
        self.terminal.wait_for(lambda screen: f"{PROMPT} {words}" in screen.replace("\xa0", " "))
        self.terminal.press("Enter")


def test_it_shows_how_full_the_budget_is_and_the_dollars(
    terminal: Terminal, before_aimock: Relay, tmp_path: Path
):
    person = Person(terminal)
    person.start(tmp_path, before_aimock, before_aimock.key("screen"))
    person.says("spend much")
    terminal.wait_for(lambda screen: "Spent." in screen)
    (record,) = before_aimock.records("screen")
    limit = round(record["cost_micros"] / 0.82)
    before_aimock.home.relay(
        "key", "edit", "screen", "--budget-monthly", f"{limit / 1_000_000:.6f}"
    )

    person.says("spend much")
    terminal.wait_for(lambda screen: re.search("used 8[12]% of your usage credits", screen))
    before_aimock.records("screen", lambda found: len(found) == 2)

    person.says("/usage")
    cents = 2 * record["cost_micros"] // 10_000
    spent = f"${cents / 100:.2f} / ${limit / 1_000_000:.2f} spent this month"
    terminal.wait_for(lambda screen: spent in screen)
    terminal.press("Escape")
    terminal.wait_for(lambda screen: "Esc to close" not in screen)

    person.says("once more")
    terminal.wait_for(lambda screen: "spend limit reached (monthly, $" in screen)


def test_it_shows_what_a_key_without_a_budget_spent(
    terminal: Terminal, before_aimock: Relay, tmp_path: Path
):
    person = Person(terminal)
    person.start(tmp_path, before_aimock, before_aimock.key("unlimited"))
    person.says("spend much")
    terminal.wait_for(lambda screen: "Spent." in screen)
    (record,) = before_aimock.records("unlimited")

    person.says("/usage")
    dollars = f"${record['cost_micros'] // 10_000 / 100:.2f}"
    terminal.wait_for(
        lambda screen: re.search(
            rf"{re.escape(dollars)} today.*{re.escape(dollars)} this week.*{re.escape(dollars)}",
            screen,
            re.DOTALL,
        )
    )


def test_a_spent_budget_of_the_owner_is_shown_in_the_relays_words(
    terminal: Terminal, before_aimock: Relay, tmp_path: Path
):
    before_aimock.home.relay("owner", "set", "team", "--budget-weekly", "0.000001")
    key = before_aimock.key("shared", "--owner", "team")
    person = Person(terminal)
    person.start(tmp_path, before_aimock, key)
    person.says("spend much")
    terminal.wait_for(lambda screen: "spend limit reached (weekly of this key's owner, $" in screen)
