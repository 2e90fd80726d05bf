"""The relay as a process of its own, as a person starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
UPSTREAM_KEY = "upstream-secret"


class Home:
    """One RELAY_HOME and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RELAY_HOME": str(folder / "home"),
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, stdin: bool = False) -> subprocess.Popen[str]:
        """Start a Python program of the checkout; ended with the test."""
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def relay(
        self, *args: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "relay.py", *args],
            cwd=ROOT,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def json(self, *args: str, stdin: str = "") -> object:
        return json.loads(self.relay(*args, "--json", stdin=stdin).stdout)

    def serve(self, *args: str) -> tuple[subprocess.Popen[str], str]:
        """A relay that serves, and its URL."""
        process = self.start("relay.py", "serve", "--port", "0", *args)
        return process, line_with(process, "listening on").rpartition(" ")[2]

    def simulator(self) -> str:
        """The URL of a simulated upstream."""
        process = self.start("-m", "relay.simulator")
        return line_with(process, "simulated upstream").rpartition(" ")[2]

    def account_and_key(self) -> str:
        """Add an account at a simulator and a key; the key's text."""
        url = self.simulator()
        self.relay("account", "add", "main", "--base-url", url, "--secret-file", "-",
                   stdin=UPSTREAM_KEY + "\n")  # fmt: skip
        made = self.json("key", "create", "--name", "alice")
        assert isinstance(made, dict)
        return str(made["key"])

    def end(self) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.communicate(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """The first line of a process' output that has these words."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return line.strip()
    raise AssertionError(f"{process.args} ended without saying {words!r}:\n{''.join(seen)}")


def wait_until(what: str, is_true: object) -> None:
    """Poll a function until it returns something true."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if is_true():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError(f"in vain: {what}")


def end_by(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal and wait for the end; the exit status."""
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    return process.returncode


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    one = Home(tmp_path)
    yield one
    one.end()
