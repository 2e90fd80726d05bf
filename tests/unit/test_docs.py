"""What the documents say is what the program has."""

import re
from pathlib import Path

import click

from relay.cli import main
from relay.settings import OPTIONS

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
README = (ROOT / "README.md").read_text()


def documented(column: int) -> set[str]:
    rows = [line.split("|") for line in SETTINGS.splitlines() if line.startswith("| ")]
    names = {row[column].strip().strip("`") for row in rows}
    return names - {"", "relay.toml", "Environment"}


def test_every_setting_stands_in_the_docs_and_no_other():
    assert documented(1) == {option.toml for option in OPTIONS if option.toml}
    assert documented(2) == {option.env for option in OPTIONS if option.env}


def test_every_command_of_the_readme_exists():
    mentioned = set(re.findall(r"`relay ([a-z-]+)", README))
    assert mentioned <= set(main.commands)
    for line in re.findall(r"relay\.py ([a-z]+(?: [a-z]+)?)", README):
        first, _, second = line.partition(" ")
        command = main.commands[first]
        if isinstance(command, click.Group):
            assert second in command.commands


def test_every_document_that_is_linked_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_readme_is_under_two_screens():
    assert len(README.splitlines()) < 100


def test_the_index_names_every_document_and_no_other():
    docs = ROOT / "docs"
    linked = re.findall(r"\]\(([^)]+)\)", (docs / "README.md").read_text())
    there = {path.resolve() for path in docs.rglob("*.md")} - {(docs / "README.md").resolve()}
    assert {(docs / target).resolve() for target in linked} == {*there, ROOT / "SECURITY.md"}
