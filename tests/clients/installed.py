"""What tests/run --all installs for the clients, and a run of one of them."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..process.conftest import DEADLINE_S, ROOT

NODE_MODULES = ROOT / "tests" / "npm" / "node_modules"
# As npm names this machine.
MACHINE = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}.get(platform.machine(), "unknown")


def needed(path: Path) -> Path:
    """A file that tests/run --all installs."""
    assert path.exists(), f"{path} is missing; tests/run --all installs it"
    return path


def node() -> str:
    return str(needed(NODE_MODULES / f"node-{MACHINE}" / "bin" / "node"))


def environment(folder: Path, **env: str) -> dict[str, str]:
    """Nothing of this environment but PATH, and a home of the client's own."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **env}


def run(command: Sequence[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a client to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
    )


def begin(command: Sequence[str], folder: Path, **env: str) -> subprocess.Popen[str]:
    """Start a client; the caller ends it."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
