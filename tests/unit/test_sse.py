"""Framing of server-sent events, however they are written and cut."""

import itertools
import re
import time

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
        (b"event: a\r\ndata: 1\n\r\n", [Frame(b"a", b"1")]),
        (b"event: a\nevent: b\ndata: 1\n\n", [Frame(b"b", b"1")]),
        (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [Frame(b"", b"1")]),
        (b"data: 1\x0b2\xe2\x80\xa83\n\n", [Frame(b"", b"1\x0b2\xe2\x80\xa83")]),
        (b"", []),
    ],
)
def test_a_stream_is_cut_into_its_frames(stream: bytes, frames: list[Frame]):
    assert frames_of(stream) == frames
    assert frames_of(*(stream[i : i + 1] for i in range(len(stream)))) == frames


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
        (b"\n", True),
        (b"data: 1\n\n\n", True),
        (b"\xef\xbb\xbf", True),
        (b"\xef\xbb", False),
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


def whatwg(stream: bytes) -> list[Frame]:
    """The frames of a whole stream, line by line as the standard tells it."""
    *lines, _ = re.split(rb"\r\n|\r|\n", stream)
    frames, event, data = [], b"", b""
    for line in lines:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            if data:
                frames.append(Frame(event, data[:-1]))
            event, data = b"", b""
        elif field == b"event":
            event = value
        elif field == b"data":
            data += value + b"\n"
    return frames


ODD_LINES = st.sampled_from(
    [b"", b"", b"data: 1", b"data:2", b"data", b"event: a", b"event", b": c", b":", b"id: 7", b"x"]
)
ODD_STREAMS = st.lists(
    st.builds(bytes.__add__, ODD_LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=25
).map(b"".join)


@given(ODD_STREAMS, st.lists(st.integers(0, 200)))
def test_line_ends_of_any_mixture_give_the_frames_of_the_standard(
    stream: bytes, places: list[int]
) -> None:
    assert frames_of(*cut(stream, places)) == whatwg(stream)


@given(ODD_STREAMS)
def test_a_ping_at_each_single_boundary_leaves_the_frames_around_it(stream: bytes) -> None:
    framer, seen, whole = Framer(), [], whatwg(stream)
    for place in range(len(stream) + 1):
        seen += framer.feed(stream[place - 1 : place]) if place else []
        if framer.at_boundary:
            pinged = stream[:place] + PING + stream[place:]
            assert whatwg(pinged) == [*seen, *frames_of(PING), *whole[len(seen) :]]


def test_the_newline_of_a_pair_cut_in_two_restores_the_boundary() -> None:
    framer = Framer()
    assert framer.feed(b"data: 1\r\n\r") == [Frame(b"", b"1")]
    assert not framer.at_boundary
    assert framer.feed(b"\n") == []
    assert framer.at_boundary


@given(ODD_STREAMS, st.lists(st.integers(0, 200)))
def test_where_framing_stops_does_not_depend_on_the_cuts(stream: bytes, places: list[int]) -> None:
    at_once, in_pieces = Framer(max_frame_bytes=20), Framer(max_frame_bytes=20)
    frames = [frame for piece in cut(stream, places) for frame in in_pieces.feed(piece)]
    assert at_once.feed(stream) == frames
    assert at_once.broken == in_pieces.broken


def test_a_frame_of_exactly_the_bound_passes_and_one_byte_more_does_not() -> None:
    for size, is_broken in ((14, False), (15, True)):
        framer = Framer(max_frame_bytes=20)
        frames = framer.feed(b"data: " + b"x" * size + b"\n\n")
        assert (framer.broken, len(frames)) == (is_broken, not is_broken)


def test_a_long_frame_in_small_chunks_is_not_read_again_for_each_chunk() -> None:
    framer, stream = Framer(), b"data: " + b"x" * (6 << 20) + b"\n\n"
    begun = time.process_time()
    frames = [f for i in range(0, len(stream), 2048) for f in framer.feed(stream[i : i + 2048])]
    assert [len(frame.data) for frame in frames] == [6 << 20]
    # Hundredths of a second are usual; reading it again for each chunk takes ten seconds.
    assert time.process_time() - begun < 2


@given(st.sampled_from(["", "ping", "error"]), st.binary())
def test_what_is_encoded_is_one_frame_whatever_its_bytes(event: str, data: bytes) -> None:
    plain = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert frames_of(sse.encode(event, data)) == [Frame(event.encode(), plain)]
