"""What clients, and those who attack by them, may send an HTTP/1.1 server: cases made of tables.

A case is what is sent, in parts with a pause between them. What comes of it is not told here: two
servers are held against each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HOST = b"host: h\r\n"
CLOSE = b"connection: close\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
PAUSE_S = 0.5


@dataclass(frozen=True)
class Case:
    """Bytes in parts; the client waits for so long after each."""

    name: str
    parts: Sequence[bytes]
    pause_s: float = PAUSE_S


def get(line: bytes = b"GET /x HTTP/1.1\r\n", headers: bytes = HOST) -> bytes:
    return line + headers + b"\r\n"


def post(framing: bytes, body: bytes = b"", path: bytes = b"/x") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: h\r\n%b\r\n%b" % (path, framing, body)


CHUNKED = b"transfer-encoding: chunked\r\n"

PLAIN = {
    "get": get(),
    "get with a query": get(b"GET /x?a=b&c=%20 HTTP/1.1\r\n"),
    "head": get(b"HEAD /x HTTP/1.1\r\n"),
    "head of a stream": get(b"HEAD /stream HTTP/1.1\r\n"),
    "delete": get(b"DELETE /x HTTP/1.1\r\n"),
    "options": get(b"OPTIONS /x HTTP/1.1\r\n"),
    "post": post(b"content-length: 5\r\n", b"hello"),
    "post of nothing": post(b"content-length: 0\r\n"),
    "post without framing": post(b""),
    "post in chunks": post(CHUNKED, b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
    "post in chunks with a trailer": post(CHUNKED, b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"),
    "post that expects": post(b"content-length: 2\r\nexpect: 100-continue\r\n", b"hi"),
    "chunks that expect": post(CHUNKED + b"expect: 100-continue\r\n", b"1\r\na\r\n0\r\n\r\n"),
    "stream": get(b"GET /stream HTTP/1.1\r\n"),
    "no content": get(b"GET /204 HTTP/1.1\r\n"),
    "not modified": get(b"GET /304 HTTP/1.1\r\n"),
    "cut": get(b"GET /cut HTTP/1.1\r\n"),
    "failing": get(b"GET /fail HTTP/1.1\r\n"),
    "unread": post(b"content-length: 5\r\n", b"hello", b"/unread"),
    "unread in chunks": post(CHUNKED, b"3\r\nabc\r\n0\r\n\r\n", b"/unread"),
    "closing": get(headers=HOST + CLOSE),
    "1.0": get(b"GET /x HTTP/1.0\r\n"),
    "1.0 that stays": get(b"GET /x HTTP/1.0\r\n", HOST + b"connection: keep-alive\r\n"),
}

# Those whose every split is tried, each another way of being read.
SPLIT = ("get with a query", "post", "post in chunks with a trailer", "post that expects", "unread")

LINES = (
    b"GET  /x HTTP/1.1\r\n",
    b"GET /x  HTTP/1.1\r\n",
    b"GET\t/x HTTP/1.1\r\n",
    b" GET /x HTTP/1.1\r\n",
    b"\r\nGET /x HTTP/1.1\r\n",
    b"\nGET /x HTTP/1.1\r\n",
    b"\r\n\r\nGET /x HTTP/1.1\r\n",
    b"GET /x HTTP/1.1 \r\n",
    b"GET /x HTTP/1.1\n",
    b"GET /x HTTP/1.1\r",
    b"GET /x HTTP/1.1\r\r\n",
    b"GET /x\r\n",
    b"GET\r\n",
    b"/x HTTP/1.1\r\n",
    b"GET HTTP/1.1\r\n",
    b"GET /x HTTP/1.2\r\n",
    b"GET /x HTTP/2.0\r\n",
    b"GET /x HTTP/0.9\r\n",
    b"GET /x HTTP/11\r\n",
    b"GET /x HTTP/1.11\r\n",
    b"GET /x HTTP/1,1\r\n",
    b"GET /x http/1.1\r\n",
    b"GET /x HTTPS/1.1\r\n",
    b"GET /x RTSP/1.1\r\n",
    b"get /x HTTP/1.1\r\n",
    b"GeT /x HTTP/1.1\r\n",
    b"G\x00T /x HTTP/1.1\r\n",
    b"G(T /x HTTP/1.1\r\n",
    b"BREW /x HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"SOURCE /x HTTP/1.1\r\n",
    b"M-SEARCH /x HTTP/1.1\r\n",
    b"QUERY /x HTTP/1.1\r\n",
    b"TRACE /x HTTP/1.1\r\n",
    b"CONNECT h:443 HTTP/1.1\r\n",
    b"CONNECT /x HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://h/x HTTP/1.1\r\n",
    b"GET x HTTP/1.1\r\n",
    b"GET ? HTTP/1.1\r\n",
    b"GET //x HTTP/1.1\r\n",
    b"GET /x#part HTTP/1.1\r\n",
    b"GET /x\x00y HTTP/1.1\r\n",
    b"GET /x\x7fy HTTP/1.1\r\n",
    b"GET /x\ty HTTP/1.1\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\n",
    b"GET /%zz HTTP/1.1\r\n",
    b'GET /<>"{}|\\^` HTTP/1.1\r\n',
    b"GET /a?b?c#d HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    b"\x00\r\n",
    b"HTTP/1.1 200 OK\r\n",
)

HEADERS = (
    b"",
    HOST + HOST,
    b"host: a\r\nhost: b\r\n",
    b"host:\r\n",
    b"host: a b\r\n",
    b"host : h\r\n",
    b"host\t: h\r\n",
    b" host: h\r\n",
    b"host h\r\n",
    b": h\r\n" + HOST,
    HOST + b"x\r\n",
    HOST + b"x:\r\n",
    HOST + b"x: \r\n",
    HOST + b"x:y\r\n",
    HOST + b"x:  y  \r\n",
    HOST + b"x:\ty\t\r\n",
    HOST + b"x: a b\tc\r\n",
    HOST + b"x: a\r\n b\r\n",
    HOST + b"x: a\r\n\tb\r\n",
    HOST + b"x: a\n",
    HOST + b"x: a\ny: b\r\n",
    HOST + b"x: a\ry: b\r\n",
    HOST + b"x: a\r\r\n",
    HOST + b"x: a\x00b\r\n",
    HOST + b"x: a\x01b\r\n",
    HOST + b"x: a\x0bb\r\n",
    HOST + b"x: a\x0cb\r\n",
    HOST + b"x: a\x7fb\r\n",
    HOST + b"x: \x80\xff\r\n",
    HOST + b"x\x00y: a\r\n",
    HOST + b"x y: a\r\n",
    HOST + b"x\xff: a\r\n",
    HOST + b"x(y): a\r\n",
    HOST + b"x\x7f: a\r\n",
    HOST + b"X-MiXeD: A\r\nx-mixed: b\r\n",
    HOST + b"_x: a\r\n~x: b\r\n!#$%&'*+-.^`|: c\r\n",
    HOST + b"\nx: a\r\n",
    b"x: a\r\n" * 200 + HOST,
    HOST + b"connection: Close\r\n",
    HOST + b"connection: keep-alive, close\r\n",
    HOST + b"connection: close, x\r\n",
    HOST + b"connection: clo\r\nconnection: close\r\n",
    HOST + b"connection: closed\r\n",
    HOST + b"connection: \r\n",
    HOST + b"connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    HOST + b"connection: upgrade\r\nupgrade: websocket\r\n",
    HOST + b"upgrade: h2c\r\n",
    HOST + b"expect: 100-continue\r\n",
    HOST + b"expect: 100-Continue\r\n",
    HOST + b"expect: 100-continue, x\r\n",
    HOST + b"expect: x\r\n",
    HOST + b"te: trailers\r\ntrailer: x\r\n",
    HOST + b"keep-alive: timeout=5\r\n",
    HOST + b"proxy-connection: close\r\n",
)

FRAMINGS = (
    b"content-length: 5\r\ncontent-length: 5\r\n",
    b"content-length: 5\r\ncontent-length: 6\r\n",
    b"content-length: 5, 5\r\n",
    b"content-length: 5, 6\r\n",
    b"content-length: +5\r\n",
    b"content-length: -5\r\n",
    b"content-length: 5.0\r\n",
    b"content-length: 0x5\r\n",
    b"content-length: 5 5\r\n",
    b"content-length: 05\r\n",
    b"content-length: 0000000000000000000000005\r\n",
    b"content-length: 5;\r\n",
    b"content-length: \xd9\xa5\r\n",
    b"content-length: \r\n",
    b"content-length: five\r\n",
    b"content-length: 999999999999999999\r\n",
    b"content-length: 9999999999999999999\r\n",
    b"content-length: 99999999999999999999999\r\n",
    b"content-length : 5\r\n",
    b"content-length\x0b: 5\r\n",
    b"content-length: 5\r\n" + CHUNKED,
    CHUNKED + b"content-length: 5\r\n",
    CHUNKED + b"content-length: 0\r\n",
    CHUNKED + CHUNKED,
    b"transfer-encoding: identity\r\n",
    b"transfer-encoding: identity\r\ncontent-length: 5\r\n",
    b"transfer-encoding: gzip\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"transfer-encoding: chunked, gzip\r\n",
    b"transfer-encoding: chunked, identity\r\n",
    b"transfer-encoding: chunked, chunked\r\n",
    b"transfer-encoding: gzip\r\n" + CHUNKED,
    b"transfer-encoding: Chunked\r\n",
    b"transfer-encoding: CHUNKED\r\n",
    b"transfer-encoding: chunked;q=1\r\n",
    b'transfer-encoding: "chunked"\r\n',
    b"transfer-encoding: 'chunked'\r\n",
    b"transfer-encoding: xchunked\r\n",
    b"transfer-encoding: chunked x\r\n",
    b"transfer-encoding:chunked\r\n",
    b"transfer-encoding: \tchunked \r\n",
    b"transfer-encoding: \x0bchunked\r\n",
    b"transfer-encoding : chunked\r\n",
    b"transfer-encoding\t: chunked\r\n",
    b" transfer-encoding: chunked\r\n",
    b"transfer-encoding:\r\n chunked\r\n",
    b"transfer-encoding:\r\n",
    b"x: y\r\n transfer-encoding: chunked\r\n",
    b"transfer_encoding: chunked\r\n",
    b"transfer-encoding\x00: chunked\r\n",
    b"x: y\ntransfer-encoding: chunked\r\n",
    b"x: y\rtransfer-encoding: chunked\r\n",
    b"content-length: 5\r\nexpect: 100-continue\r\nexpect: 100-continue\r\n",
)
# Five bytes for one reader, the end of the body and a smuggled request for another.
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"

BODIES = (
    b"0\r\n\r\n",
    b"0\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\r\n\r",
    b"00\r\n\r\n",
    b"0;x\r\n\r\n",
    b"0 \r\n\r\n",
    b"0\t\r\n\r\n",
    b" 0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"zz\r\n",
    b"-1\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"3_0\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\r0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\rabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"3 ;x\r\nabc\r\n0\r\n\r\n",
    b"3;\r\nabc\r\n0\r\n\r\n",
    b'3;x="a;b"\r\nabc\r\n0\r\n\r\n',
    b"3;x=\n\r\nabc\r\n0\r\n\r\n",
    b"3;x=\r\r\nabc\r\n0\r\n\r\n",
    b"3;x=\x00\r\nabc\r\n0\r\n\r\n",
    b"3 x\r\nabc\r\n0\r\n\r\n",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    b"00000000000000000003\r\nabc\r\n0\r\n\r\n",
    b"000000000000000000003\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nx: y\r\nz: a\r\n\r\n",
    b"3\r\nabc\r\n0\r\nx y\r\n\r\n",
    b"3\r\nabc\r\n0\r\nx : y\r\n\r\n",
    b"3\r\nabc\r\n0\r\ncontent-length: 9\r\n\r\n",
    b"3\r\nabc\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
    b"3\r\nabc\r\n0\r\nx: y\n\n",
    b"3\r\nabc\r\n0\r\n x\r\n\r\n",
    b"3;" + b"x" * 70_000 + b"\r\nabc\r\n0\r\n\r\n",
    b"3;" + b"x" * 140_000,
    b"0\r\nx: " + b"y" * 140_000,
    b"1\r\na\r\n" * 2_000 + b"0\r\n\r\n",
)

PIPELINES = {
    "two": get() + NEXT,
    "three": get() + post(b"content-length: 3\r\n", b"abc") + NEXT,
    "fifty": get() * 50 + NEXT,
    "chunks, then one": post(CHUNKED, b"1\r\na\r\n0\r\n\r\n") + NEXT,
    "a trailer, then one": post(CHUNKED, b"0\r\nx: y\r\n\r\n") + NEXT,
    "a body longer than announced": post(b"content-length: 1\r\n", b"ab") + NEXT,
    "a blank line between": get() + b"\r\n" + NEXT,
    "blank lines between": post(b"content-length: 1\r\n", b"a\r\n\r\n") + NEXT,
    "odd after plain": get() + b"GET / HTTP/1.1\nhost: h\n\n" + NEXT,
    "1.0 after plain": get() + get(b"GET /x HTTP/1.0\r\n") + NEXT,
    "nonsense after plain": get() + b"nonsense\r\n\r\n" + NEXT,
    "plain after odd": get(headers=HOST + b"upgrade: x\r\n") + get() + NEXT,
    "more after the last": NEXT + get(),
    "more after an unread body": post(b"content-length: 3\r\n", b"abc", b"/unread") + NEXT,
    "more after a cut": get(b"GET /cut HTTP/1.1\r\n") + NEXT,
    "more after a failure": get(b"GET /fail HTTP/1.1\r\n") + NEXT,
    "more after a stream": get(b"GET /stream HTTP/1.1\r\n") + NEXT,
    "head between": get(b"HEAD /x HTTP/1.1\r\n") + get(b"HEAD /stream HTTP/1.1\r\n") + NEXT,
    "an expecting one between": get() + PLAIN["post that expects"] + NEXT,
    "half of another": get() + b"GET /half HTTP/1.1\r\nho",
    "a large body, then one": post(b"content-length: 300000\r\n", bytes(300_000)) + NEXT,
}

LARGE = {
    "a head of 60 KiB": get(headers=HOST + CLOSE + b"x: " + b"a" * 60_000 + b"\r\n"),
    "a head of 100 KiB at once": get(headers=HOST + CLOSE + b"x: " + b"a" * 100_000 + b"\r\n"),
    "a head without an end": get(headers=HOST + b"x: " + b"a" * 300_000)[:-2],
    "a target of 60 KiB": get(b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n"),
    "a target without an end": b"GET /" + b"a" * 300_000,
    "a method without an end": b"G" * 300_000,
    "blanks without an end": b"GET" + b" " * 300_000,
    "a name of 60 KiB": get(headers=HOST + b"a" * 60_000 + b": x\r\n"),
    "5000 headers": get(headers=HOST + b"x: y\r\n" * 5_000),
    "50000 headers": get(headers=HOST + b"x: y\r\n" * 50_000),
    "lines without an end": b"GET / HTTP/1.1\r\n" + b"\n" * 300_000,
}

SLOW = {
    "nothing": [],
    "a first letter": [b"G"],
    "half a line": [b"GET /x"],
    "half a head": [b"GET /x HTTP/1.1\r\nhost:"],
    "a head byte by byte, too slowly": [bytes([byte]) for byte in get()],
    "half a body": [post(b"content-length: 9\r\n", b"half")],
    "half a chunk": [post(CHUNKED, b"9\r\nhalf")],
    "a second head that never ends": [get(), b"GET /x HTTP/1.1\r\n"],
    "a second request after a long time": [get(), NEXT],
    "blanks": [b"\r", b"\n", b"\r\n", b"\r\n"],
}


def cases() -> Iterator[Case]:
    """All of them; their names differ."""
    for name, data in PLAIN.items():
        yield Case(f"plain: {name}", [data])
        yield Case(f"twice: {name}", [data, data])
        yield Case(f"followed: {name}", [data + NEXT])
    yield from _splits()
    for line in LINES:
        yield Case(f"line: {line!r}", [get(line)])
    for headers in HEADERS:
        yield Case(f"headers: {headers[:60]!r} {len(headers)}", [get(headers=headers) + NEXT])
    for framing in FRAMINGS:
        yield Case(f"framing: {framing!r}", [post(framing, SMUGGLED)])
        yield Case(f"framing of five: {framing!r}", [post(framing, b"hello")])
    for body in BODIES:
        yield Case(f"chunks: {body[:40]!r} {len(body)}", [post(CHUNKED, body)])
        yield Case(f"chunks, then one: {body[:40]!r} {len(body)}", [post(CHUNKED, body) + NEXT])
    for name, data in PIPELINES.items():
        yield Case(f"pipeline: {name}", [data])
    for name, data in LARGE.items():
        yield Case(f"large: {name}", [data])
    for name, parts in SLOW.items():
        yield Case(f"slow: {name}", parts, 2.0)


def _splits() -> Iterator[Case]:
    for name in SPLIT:
        data = PLAIN[name]
        for at in range(1, len(data)):
            yield Case(f"split at {at}: {name}", [data[:at], data[at:]])
        yield Case(f"byte by byte: {name}", [bytes([byte]) for byte in data], 0.01)
