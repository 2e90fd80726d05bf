"""Structured logs: one line an event, `key=value`, control characters escaped.

Lines go to stderr, for journald, and to a file that rotates where one is asked for. What is logged
are ids, names and figures; bodies, keys, tokens and cookies never come near this module.
"""

import logging
import logging.handlers
import re
import sys
import time
from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NEEDS_QUOTES = re.compile(r'[\s"=]')
_MAX_FILE_BYTES = 20 * 1024 * 1024
_KEPT_FILES = 5


def clean(text: str) -> str:
    """`text` without anything that could forge a line or steer a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def fields(**values: object) -> str:
    """`values` as `name=value` pairs in their order; None is left out."""
    return " ".join(
        f"{name}={_value(value)}" for name, value in values.items() if value is not None
    )


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return str(value)
    text = clean(str(value))
    if not text or _NEEDS_QUOTES.search(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        when = self.formatTime(record, self.datefmt)
        line = f"{when} {level} {record.name} {clean(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {clean(row)}" for row in trace.splitlines())
        return line


def set_up(level: str, file: Path | None) -> None:
    """Send the program's log lines of `level` and above to stderr, and to `file` as well."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(_rotating(file))
    formatter = _Formatter(datefmt="%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger("relay")
    root.handlers[:] = handlers
    root.propagate = False
    root.setLevel(level.upper())


def _rotating(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    handler = logging.handlers.RotatingFileHandler(
        file, maxBytes=_MAX_FILE_BYTES, backupCount=_KEPT_FILES, encoding="utf-8"
    )
    file.chmod(0o640)
    return handler
