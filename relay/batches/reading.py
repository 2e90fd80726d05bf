"""A batch's body out of a file, request by request: only one of them is in memory at a time."""

import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from relay import errors
from relay.body import LONGEST_NAME, MOST_FIELDS, NOT_JSON, check_utf8, why_not_json

_BLOCK = 64 * 1024
MOST_REQUEST_BYTES = 32 * 1024 * 1024
# A batch of usual requests has one in 50 bytes. Each takes a moment of our time.
_MOST_BRACKETS = 20_000_000

_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_SPACE = re.compile(rb"[ \t\n\r]*")
# Up to the next bracket outside of a string, or string with an escape, for a while. No possessive
# quantifiers: Python 3.11.2 matches them wrongly.
_PLAIN = re.compile(rb'[^"{}\[\]]*(?:"[^"\\]*"[^"{}\[\]]*){0,1000}')
_SCALAR = re.compile(rb"[^,\]}\s]*")
_DONE = b""


def requests_of(file: BinaryIO) -> Iterator[bytes]:
    """The elements of `requests` of a batch's body, each as JSON that is not checked inside.

    Raises:
        errors.BadRequest: the body is not a JSON object, or `requests` is missing, no list or
            there twice.
    """
    reader = _Reader(file)
    reader.expect(b"{")
    names: set[str] = set()
    while (reader.peek() != b"}") if not names else reader.goes_on(b"}"):
        name = _name(reader.value())
        reader.expect(b":")
        if len(name) > LONGEST_NAME or len(names) >= MOST_FIELDS:
            raise errors.BadRequest(
                f"The batch's body has over {MOST_FIELDS} fields, or one with a name of over"
                f" {LONGEST_NAME} characters."
            )
        if name in names:
            raise errors.BadRequest(f"{name[:100]}: this field stands twice in the request's body.")
        names.add(name)
        if name == "requests":
            yield from _elements(reader)
        else:
            _check(reader.value())
    reader.expect(b"}")
    if reader.peek() != _DONE:
        raise errors.BadRequest(NOT_JSON)
    if "requests" not in names:
        raise errors.BadRequest("requests: this field is required.")


def _elements(reader: "_Reader") -> Iterator[bytes]:
    if reader.peek() != b"[":
        raise errors.BadRequest("requests: must be a list.")
    reader.expect(b"[")
    is_first = True
    while (reader.peek() != b"]") if is_first else reader.goes_on(b"]"):
        is_first = False
        yield reader.value()
    reader.expect(b"]")


def _name(text: bytes) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        raise errors.BadRequest(NOT_JSON) from None


def _check(text: bytes) -> None:
    try:
        check_utf8(text)
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError):
        raise errors.BadRequest(why_not_json(text)) from None


class _Reader:
    """JSON values one after another out of a file, with no more in memory than one needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        self._at = 0
        self._brackets = 0

    def peek(self) -> bytes:
        """The next byte that is no space; nothing at the end."""
        while True:
            space = _SPACE.match(self._data, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._fill():
                return _DONE

    def expect(self, byte: bytes) -> None:
        if self.peek() != byte:
            raise errors.BadRequest(NOT_JSON)
        self._at += 1

    def goes_on(self, end: bytes) -> bool:
        """Whether a comma stands here and not the end; the comma is passed."""
        if self.peek() == end:
            return False
        self.expect(b",")
        return True

    def value(self) -> bytes:
        """The next value's bytes. Raises errors.BadRequest."""
        first = self.peek()
        size = self._nested() if first in (b"{", b"[") else self._whole(first == b'"')
        found = self._data[self._at : self._at + size]
        self._at += size
        if not found:
            raise errors.BadRequest(NOT_JSON)
        return found

    def _whole(self, is_string: bool) -> int:
        while True:
            end = self._end_of_string(self._at) if is_string else self._end_of_scalar()
            if end:
                return end - self._at
            if not self._fill():
                raise errors.BadRequest(NOT_JSON)

    def _end_of_scalar(self) -> int:
        match = _SCALAR.match(self._data, self._at)
        return match.end() if match and match.end() < len(self._data) else 0

    def _end_of_string(self, start: int) -> int:
        """Where the string that begins at `start` ends; 0 when that was not read yet."""
        quote = self._data.find(b'"', start + 1)
        while quote > 0:
            before = quote - 1
            while self._data[before] == _BACKSLASH:
                before -= 1
            if (quote - before) % 2:
                return quote + 1
            quote = self._data.find(b'"', quote + 1)
        return 0

    def _nested(self) -> int:
        depth = size = 0
        while True:
            plain = _PLAIN.match(self._data, self._at + size)
            end = plain.end() if plain else len(self._data)
            if end < len(self._data) and self._data[end] == _QUOTE:
                if stop := self._end_of_string(end):
                    size = stop - self._at
                    continue
                end = len(self._data)
            if end == len(self._data):
                if not self._fill():
                    raise errors.BadRequest(NOT_JSON)
                continue
            depth += 1 if self._data[end] in b"{[" else -1
            self._brackets += 1
            size = end + 1 - self._at
            if depth == 0:
                return size
            if self._brackets > _MOST_BRACKETS:
                raise errors.BadRequest("requests: they hold more values than the relay reads.")

    def _fill(self) -> bool:
        """Read on, as much again as is held; whether anything came."""
        held = self._data[self._at :]
        if len(held) > MOST_REQUEST_BYTES:
            raise errors.TooLarge("requests: one of them is over 32 MiB, the most that is taken.")
        block = self._file.read(max(_BLOCK, len(held)))
        self._data = held + block
        self._at = 0
        return bool(block)
