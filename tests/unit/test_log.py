"""Log lines: one event a line, whatever is in it."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import log


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain é", "plain é"),
        ("two\nlines", "two\\x0alines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u2028b", "a\\x2028b"),
    ],
)
def test_nothing_in_a_text_can_forge_a_line_or_steer_a_terminal(text: str, cleaned: str):
    assert log.clean(text) == cleaned


def test_fields_are_pairs_in_their_order_and_none_is_left_out():
    line = log.fields(a=1, b=None, c=0.12345, d='say "hi" to=you', e="", f="plain")
    assert line == r'a=1 c=0.123 d="say \"hi\" to=you" e="" f=plain'


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "logs" / "relay.log"
    log.set_up("info", path)
    yield path
    for handler in logging.getLogger("relay").handlers:
        handler.close()
    log.set_up("warning", None)


def test_a_line_has_its_utc_time_level_and_source(file: Path):
    logging.getLogger("relay.test").info("hello")
    stamp, level, source, message = file.read_text().split()
    assert stamp.endswith("Z")
    assert (level, source, message) == ("info", "relay.test", "hello")


def test_a_traceback_follows_indented_and_cleaned(file: Path):
    try:
        raise ValueError("bad\x1b[0m\nthing")
    except ValueError:
        logging.getLogger("relay.test").exception("failed")
    text = file.read_text()
    assert "\x1b" not in text
    assert all(line.startswith("    ") for line in text.splitlines()[1:])


def test_what_goes_to_the_file_goes_to_stderr_too(file: Path, monkeypatch: pytest.MonkeyPatch):
    to_stderr = io.StringIO()
    handlers = logging.getLogger("relay").handlers
    (beside,) = (one for one in handlers if type(one) is logging.StreamHandler)
    monkeypatch.setattr(beside, "stream", to_stderr)
    logging.getLogger("relay.test").info("hello")
    assert file.read_text() == to_stderr.getvalue() != ""


def test_the_log_file_is_not_for_others(file: Path):
    assert file.stat().st_mode & 0o007 == 0
