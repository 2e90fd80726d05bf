"""An answer's bytes: the same that h11 and hypercorn make of it, header for header."""

import re
import time
from collections.abc import Iterable
from email.utils import formatdate

Headers = Iterable[tuple[bytes, bytes]]

_STATUS_LINES = {status: b"HTTP/1.1 %d \r\n" % status for status in range(200, 1000)}
_BODILESS = frozenset({204, 304})
_LINE = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+: (?:[^\x00\s](?:[^\x00\n-\r]*[^\x00\s])?)?\r\n"
_are_legal = re.compile(b"(?:" + _LINE + b")*").fullmatch
_is_legal = re.compile(_LINE).fullmatch
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


class BadAnswer(Exception):
    """What the application answers is not HTTP."""


class _Clock:
    """The date header, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


_clock = _Clock()


class Framing:
    """How an answer's body is sent: its length is announced, or it comes in chunks.

    Args:
        is_to_head: the answer is to a HEAD, so it has a head only.
        is_last: the connection ends with it.
        is_asked: the client has asked for that end.
    """

    __slots__ = ("_is_bodiless", "_left", "head", "is_last")

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        is_to_head: bool,
        is_last: bool,
        is_asked: bool = False,
    ) -> None:
        """Raises BadAnswer: a header is not one that HTTP allows."""
        lines = []
        left: int | None = None
        for name, value in headers:
            value = value.strip()
            if name == b"connection":
                # Not ours to pass on; the last word on it stands at the end.
                is_last = is_last or value.lower() == b"close"
                continue
            if name == b"content-length":
                left = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        text = b"".join(lines)
        # One that holds a line break would pass for two.
        is_legal = _are_legal(text) is not None and text.count(b"\r\n") == len(lines)
        if status not in _STATUS_LINES or not is_legal:
            raise BadAnswer(f"Illegal header value or status: {status}, {_culprit(lines)!r}")
        self._is_bodiless = is_to_head or status in _BODILESS
        self._left = left
        self.is_last = is_last or is_asked
        self.head = b"".join(
            (
                _STATUS_LINES[status],
                text,
                b"connection: close\r\n" if is_last and not is_asked else b"",
                _clock.line(),
                b"Transfer-Encoding: chunked\r\n"
                if left is None and status not in _BODILESS
                else b"",
                b"Connection: close\r\n\r\n" if is_asked else b"\r\n",
            )
        )

    def piece(self, data: bytes, *, is_last: bool) -> bytes:
        """A piece of the body as it is sent. Raises BadAnswer: it is not as long as announced."""
        if self._is_bodiless:
            return b""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (is_last and self._left):
                size = "much" if self._left < 0 else "little"
                raise BadAnswer(f"Too {size} data for the declared Content-Length")
            return data
        if not data:
            return LAST_CHUNK if is_last else b""
        return b"%x\r\n%b\r\n%b" % (len(data), data, LAST_CHUNK if is_last else b"")


def _culprit(lines: list[bytes]) -> bytes:
    return next((line for line in lines if _is_legal(line) is None), b"")
