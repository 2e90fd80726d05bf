"""Single steps of install.sh, with stand-ins for the programs that they ask."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "install.sh"


def functions(folder: Path) -> Path:
    """install.sh without its last line, which runs it: a file to source."""
    file = folder / "functions.sh"
    text = SCRIPT.read_text().rstrip()
    file.write_text(text[: text.rindex("{ main")])
    return file


def stand_ins(folder: Path, programs: Mapping[str, str]) -> str:
    """A PATH on which the programs of these names are shell scripts."""
    there = folder / "programs"
    there.mkdir(exist_ok=True)
    for name, script in programs.items():
        program = there / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    return f"{there}:{os.environ['PATH']}"


def step(
    folder: Path, words: str, programs: Mapping[str, str] | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """What bash prints for `words`, which call functions of install.sh."""
    return subprocess.run(
        ["bash", "-c", f'source "{functions(folder)}"\n{words}'],
        env={"PATH": stand_ins(folder, programs or {}), **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
