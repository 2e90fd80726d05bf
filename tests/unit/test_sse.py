"""Framing of server-sent events, however they are written and cut."""

import itertools

import pytest
from anthropic._streaming import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from relay import sse
from relay.sse import Frame, Framer

PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def frames_of(*pieces: bytes) -> list[Frame]:
    framer = Framer()
    return [frame for piece in pieces for frame in framer.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"event: a\ndata: 1\n\n", [Frame(b"a", b"1")]),
        (b"event: a\r\ndata: 1\r\n\r\n", [Frame(b"a", b"1")]),
        (b"event: a\rdata: 1\r\r", [Frame(b"a", b"1")]),
        (b"event:a\ndata:1\n\n", [Frame(b"a", b"1")]),
        (b"data:  two spaces\n\n", [Frame(b"", b" two spaces")]),
        (b"data: 1\ndata: 2\ndata\n\n", [Frame(b"", b"1\n2\n")]),
        (b": comment\n\ndata: 1\n\n", [Frame(b"", b"1")]),
        (b": comment\ndata: 1\n: more\n\n", [Frame(b"", b"1")]),
        (b"id: 7\nretry: 10\ndata: 1\n\n", [Frame(b"", b"1")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [Frame(b"", b"1")]),
        (b"event: a\n\ndata: 1\n\n", [Frame(b"", b"1")]),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [Frame(b"", b"1"), Frame(b"", b"2")]),
        (b"data: 1\n\ndata: unfinished\n", [Frame(b"", b"1")]),
        (b"data: a:b: c\n\n", [Frame(b"", b"a:b: c")]),
        (b"", []),
    ],
)
def test_a_stream_is_cut_into_its_frames(stream: bytes, frames: list[Frame]):
    assert frames_of(stream) == frames


def test_what_is_encoded_is_framed_again():
    assert frames_of(sse.encode("ping", b'{"a":\n1}')) == [Frame(b"ping", b'{"a":\n1}')]


def test_a_frame_without_end_stops_the_framing():
    framer = Framer(max_frame_bytes=100)
    assert framer.feed(b"data: " + b"x" * 200) == []
    assert framer.broken
    assert not framer.at_boundary
    assert framer.feed(b"\n\ndata: 1\n\n") == []


@pytest.mark.parametrize(
    ("stream", "is_boundary"),
    [
        (b"", True),
        (b"data: 1\n\n", True),
        (b"data: 1\r\n\r\n", True),
        (b"data: 1\n", False),
        (b"data: 1", False),
        (b"data: 1\r\n\r", False),
        (b"data: 1\n\n: comment\n", False),
        (b"data: 1\n\n: comment\n\n", True),
        (b"data: 1\n\nevent", False),
    ],
)
def test_a_boundary_is_where_nothing_is_unfinished(stream: bytes, is_boundary: bool):
    framer = Framer()
    framer.feed(stream)
    assert framer.at_boundary is is_boundary


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12).map(
    str.encode
)


@st.composite
def streams(draw: st.DrawFn, ends: tuple[bytes, ...] = (b"\n", b"\r\n", b"\r")) -> bytes:
    stream = b""
    for _ in range(draw(st.integers(0, 5))):
        end = draw(st.sampled_from(ends))
        lines = [b"event: " + draw(LINES)] if draw(st.booleans()) else []
        lines += [b"data: " + draw(LINES) for _ in range(draw(st.integers(0, 2)))]
        lines += [b": " + draw(LINES)] if draw(st.booleans()) else []
        stream += end.join([*lines, b"", b""]) if lines else b""
    return stream


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    points = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(points)]


@given(streams(), st.lists(st.integers(0, 500), max_size=10))
def test_the_frames_are_the_same_wherever_a_stream_is_cut(stream: bytes, places: list[int]):
    assert frames_of(*cut(stream, places)) == frames_of(stream)


@given(streams(), st.lists(st.integers(0, 500), max_size=10))
def test_a_ping_at_a_boundary_is_one_more_frame_and_nothing_else(stream: bytes, places: list[int]):
    framer, sent, pings = Framer(), b"", 0
    for piece in cut(stream, places):
        framer.feed(piece)
        sent += piece
        if framer.at_boundary:
            sent += PING
            pings += 1
    ping = frames_of(PING)[0]
    received = frames_of(sent)
    assert [frame for frame in received if frame != ping] == frames_of(stream)
    assert received.count(ping) == pings


@given(streams(ends=(b"\n", b"\r\n")))
def test_an_sdk_reads_the_same_frames(stream: bytes):
    decoder = SSEDecoder()
    theirs = [
        Frame((event.event or "").encode(), event.data.encode())
        for event in decoder.iter_bytes(iter([stream]))
        if event.data
    ]
    assert theirs == [frame for frame in frames_of(stream) if frame.data]
