"""What a terminal cannot show stops no command."""

import io
import json
import sys
from collections.abc import Callable, Iterator

import click
import pytest

from relay import cli
from relay.cli import common

ENCODINGS = ["cp949", "euc-kr", "cp1252", "latin-1", "utf-8"]
# Of another alphabet, beyond the first plane, and half of a character.
TEXT = "한국어 é … 🙂 \ud83d"


Show = Callable[[str], io.BytesIO]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Puts a terminal of an encoding in place, within the test: pytest puts its own before it."""

    def put(encoding: str) -> io.BytesIO:
        shown = io.BytesIO()
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(shown, encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)
        return shown

    return put


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_help_of_every_command_is_shown(terminal: Show, encoding: str):
    shown = terminal(encoding)
    for path in commands(cli.main):
        assert cli.main.main([*path, "--help"], standalone_mode=False) in (0, None)
    assert b"Usage:" in shown.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_error_with_any_text_is_shown(terminal: Show, encoding: str):
    shown = terminal(encoding)
    with pytest.raises(SystemExit):
        cli.main.main(["no-such-command-" + TEXT])
    assert b"No such command" in shown.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_text_is_shown_with_a_replacement(terminal: Show, encoding: str):
    shown = terminal(encoding)
    cli.main.main(["--version"], standalone_mode=False)
    click.echo(TEXT)
    assert b"?" in shown.getvalue().splitlines()[-1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_keeps_every_value_whatever_the_terminal_shows(terminal: Show, encoding: str):
    shown = terminal(encoding)
    common.print_json({"name": TEXT})
    text = shown.getvalue().decode(sys.stdout.encoding)
    assert json.loads(text) == {"name": TEXT}
