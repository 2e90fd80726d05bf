"""One answer, parsed by httptools as its bytes are fed in; nothing here does any I/O."""

import httptools

from relay.upstream.origin import Headers

# Real heads are under 4 KiB; what is larger is a mistake or an attack on our memory.
_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 200


class Answer:
    """One answer as its bytes are fed in; no I/O. The methods `on_…` are httptools' callbacks."""

    def __init__(self, *, is_to_head: bool) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.has_begun = self.has_head = self.is_complete = self.keeps_alive = False
        self.problem = ""
        self._is_to_head = is_to_head
        self._lines: list[tuple[bytes, bytes]] = []
        self._codings: list[bytes] = []
        self._barren_bytes = 0
        self.on_body = self._discard if is_to_head else self.pieces.append
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | bytearray) -> None:
        """Take the next bytes; afterwards the attributes say how far the answer has come."""
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.is_complete:
                self.keeps_alive = False
            else:
                self.problem = self.problem or "The upstream's answer is not proper HTTP/1.1."
        if self.pieces or self.is_complete:
            self._barren_bytes = 0
            return
        self._barren_bytes += len(data)
        if self._barren_bytes > _MAX_HEAD_BYTES and not self.problem:
            self.problem = "The upstream's answer has an endless head or framing."

    def feed_eof(self) -> None:
        """The upstream has closed: the end of a body that announced none, else a cut."""
        is_framed = self._codings or any(name == b"content-length" for name, _ in self.headers)
        if self.has_head and not is_framed:
            self.is_complete = True
        else:
            self.problem = "The upstream closed the connection before the end of its answer."

    def forget_parser(self) -> None:
        """Break the cycle of parser and callbacks, which would wait for the collector."""
        del self._parser

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        raise ValueError(problem)

    def _discard(self, _: bytes) -> None:
        self.keeps_alive = False

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._refuse("The upstream sent more than one answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding":
            self._codings.append(value.strip().lower())
        else:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        # What comes after the head is trailers, and they go nowhere.
        lines, self._lines = self._lines, []
        if status == 101 or status < 100:
            self._refuse(f"The upstream answered with status {status}, which nobody asked for.")
        if status < 200:
            self._codings.clear()
            return
        if self._codings not in ([], [b"chunked"]):
            self._refuse("The upstream uses a transfer coding that the relay does not know.")
        if len(lines) > _MAX_HEADERS or (self._barren_bytes and _size(lines) > _MAX_HEAD_BYTES):
            self._refuse("The head of the upstream's answer is too large.")
        self.status, self.headers, self.has_head = status, lines, True
        if self._is_to_head:
            self.keeps_alive = self._parser.should_keep_alive()
            self.is_complete = True

    def on_message_complete(self) -> None:
        if self.has_head and not self.is_complete:
            # httptools forgets it when this callback returns.
            self.keeps_alive = self._parser.should_keep_alive()
            self.is_complete = True


def _size(lines: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in lines)
