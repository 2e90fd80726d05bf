"""A request's head, by httptools: what is plain is read, what is odd belongs to the other server.

Plain means that no two readers could disagree on it: whatever passes here, h11 reads the same way.
"""

import re
from dataclasses import dataclass, field

import httptools

# The largest head that is waited for; the other server refuses what is larger.
MOST_BYTES = 64 * 1024
_TARGET = re.compile(rb"/[!-~]*").fullmatch
_END = b"\r\n\r\n"
_LENGTH_DIGITS = 18
# Ask for another protocol, or for what only another one has.
_ODD = frozenset({b"upgrade", b"http2-settings"})
_TELLING = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", *_ODD}
)


class Odd(Exception):
    """Not a plain HTTP/1.1 request: another server has to look at it."""


@dataclass(slots=True)
class Head:
    """One request up to its body."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    length: int = 0
    is_chunked: bool = False
    expects: bool = False
    closes: bool = False


class _Parts:
    """What the parser calls."""

    __slots__ = ("headers", "is_whole", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_whole = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.is_whole = True


def read(data: bytes, seen_bytes: int = 0) -> tuple[Head, int] | None:
    """The head that `data` begins with, and where its body begins; None while it is not whole.

    Args:
        seen_bytes: how much of `data` was looked at before.

    Raises:
        Odd: it is none, too large, or not plain.
    """
    end = data.find(_END, max(0, seen_bytes - len(_END) + 1)) + len(_END)
    if end < len(_END):
        if len(data) > MOST_BYTES or not _may_become_one(data):
            raise Odd
        return None
    parts = _Parts()
    parser = httptools.HttpRequestParser(parts)
    try:
        parser.feed_data(data[:end])
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise Odd from None
    method, target = parser.get_method(), parts.target
    # The parser forgives blank lines before the request line and blanks within it.
    if not parts.is_whole or not data.startswith(b"%b %b HTTP/1.1\r\n" % (method, target)):
        raise Odd
    if _TARGET(target) is None or method == b"CONNECT":
        raise Odd
    head = Head(method.decode(), target, parts.headers)
    _read_headers(head)
    return head, end


def _may_become_one(data: bytes) -> bool:
    # A line without a return may be the head's last for other readers.
    return b"A" <= data[:1] <= b"Z" and data.count(b"\n") == data.count(b"\r\n")


def _read_headers(head: Head) -> None:
    """Read how the body is framed and how the connection goes on. Raises Odd."""
    told: dict[bytes, bytes] = {}
    for name, value in head.headers:
        if name in _TELLING:
            if name in told or name in _ODD:
                raise Odd
            told[name] = value
    if b"host" not in told:
        raise Odd
    _read_framing(head, told.get(b"content-length"), told.get(b"transfer-encoding"))
    if (expected := told.get(b"expect")) is not None:
        if expected.lower() != b"100-continue":
            raise Odd
        head.expects = True
    if (connection := told.get(b"connection")) is not None:
        tokens = [token.strip() for token in connection.lower().split(b",")]
        head.closes = b"close" in tokens


def _read_framing(head: Head, length: bytes | None, coding: bytes | None) -> None:
    if length is not None:
        if coding is not None or not length.isdigit() or len(length) > _LENGTH_DIGITS:
            raise Odd
        head.length = int(length)
    elif coding is not None:
        if coding != b"chunked":
            raise Odd
        head.is_chunked = True
