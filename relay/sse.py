"""Server-sent events without I/O: bytes to frames and frames to bytes.

Only framing; what a frame means is the dialect's business. It never raises: a stream that
breaks the rules, or a frame without end, is no longer framed.
"""

from dataclasses import dataclass

MAX_FRAME_BYTES = 8 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: its type (b"" when none was said) and its data lines, joined by a newline."""

    event: bytes
    data: bytes


class Framer:
    """Cuts a stream into frames, wherever its bytes were split.

    Args:
        max_frame_bytes: a frame longer than this stops the framing (`broken`).
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        # What has come of the unfinished frame, without blank lines before it.
        self._rest = bytearray()
        self._max = max_frame_bytes
        self._is_start = True
        self._after_cr = False
        self.broken = False

    @property
    def at_boundary(self) -> bool:
        """Whether all bytes so far belong to finished frames, so that another may go in here.

        Not so after a carriage return, which may be the first half of a line end. A byte order
        mark counts only at a stream's start: a frame put in front of one hides it.
        """
        return not self._rest and not self._after_cr and not self.broken

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        if self.broken or not data:
            return []
        if self._is_start:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._with_newlines(data)
        if self._rest:
            # Searched only where the new bytes are: a long frame must not be read once per chunk.
            seam = len(self._rest) - 1
            self._rest += data
            if self._rest.find(b"\n\n", seam) < 0:
                return self._cut([], self._rest)
            data = bytes(self._rest)
        *blocks, rest = data.split(b"\n\n")
        return self._cut(blocks, bytearray(rest.lstrip(b"\n")))

    def _cut(self, blocks: list[bytes], rest: bytearray) -> list[Frame]:
        """The frames of finished blocks, up to the first that is too long."""
        frames: list[Frame] = []
        for block in blocks:
            if len(block) > self._max and len(block.lstrip(b"\n")) > self._max:
                return self._break_off(frames)
            if (frame := _frame(block)) is not None:
                frames.append(frame)
        # The last byte may be the first half of the blank line, which is not the frame's.
        if len(rest) > self._max + 1:
            return self._break_off(frames)
        self._rest = rest
        return frames

    def _break_off(self, frames: list[Frame]) -> list[Frame]:
        self.broken, self._rest = True, bytearray()
        return frames

    def _without_mark(self, data: bytes) -> bytes:
        """`data` without the byte order mark of the stream's start; b"" while it is half here."""
        data = bytes(self._rest) + data
        if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
            self._rest = bytearray(data)
            return b""
        self._is_start = False
        self._rest.clear()
        return data.removeprefix(_BYTE_ORDER_MARK)

    def _with_newlines(self, data: bytes) -> bytes:
        """`data` with a newline for every line end; a pair cut in two is one line end."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _frame(block: bytes) -> Frame | None:
    event, lines = b"", []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
    return Frame(event, b"\n".join(lines)) if lines else None


def encode(event: str, data: bytes) -> bytes:
    """One frame as it goes over the wire; line ends in `data` come out as newlines."""
    plain = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = b"".join(b"data: " + line + b"\n" for line in plain.split(b"\n"))
    return b"event: " + event.encode() + b"\n" + lines + b"\n"
