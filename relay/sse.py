"""Server-sent events without I/O: bytes to frames and frames to bytes.

Only framing; what a frame means is the dialect's business. It never raises: a stream that
breaks the rules, or a frame without end, is no longer framed.
"""

from dataclasses import dataclass

MAX_FRAME_BYTES = 8 * 1024 * 1024


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
        self._rest = b""
        self._max = max_frame_bytes
        self._is_start = True
        self._after_cr = False
        self.broken = False

    @property
    def at_boundary(self) -> bool:
        """Whether all bytes so far belong to finished frames, so that another may go in here."""
        return not self._rest and not self.broken and not self._after_cr

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        if self.broken or not data:
            return []
        data = self._rest + self._without_surprises(data)
        *blocks, self._rest = data.split(b"\n\n")
        while blocks and self._rest.startswith(b"\n"):
            self._rest = self._rest[1:]
        if len(self._rest) > self._max:
            self.broken, self._rest = True, b""
        return [frame for block in blocks if (frame := _frame(block)) is not None]

    def _without_surprises(self, data: bytes) -> bytes:
        """`data` with every line end a newline, and without a byte order mark at the start."""
        if self._is_start:
            self._is_start = False
            data = data.removeprefix(b"\xef\xbb\xbf")
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


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
    """One frame as it goes over the wire; `data` may hold newlines."""
    lines = b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
    return b"event: " + event.encode() + b"\n" + lines + b"\n"
