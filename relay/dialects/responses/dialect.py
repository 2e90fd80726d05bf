"""The dialect of one request of the Responses API."""

from relay.dialects.openai import Translating, failures
from relay.dialects.openai.fields import Json
from relay.dialects.responses import request, stream
from relay.dialects.responses.answer import Frame

# What a request names that asks for a summary, or holds one.
_BETA = b"compact-2026-09-04"


class Responses(Translating[Frame]):
    """The dialect of one request."""

    name = "openai-responses"

    def _framed(self, fields: Json) -> Frame:
        return Frame(self._request_id, request.translate(fields, self._choices))

    def _teller(self) -> stream.Stream:
        return stream.Stream(self.frame)

    @property
    def beta(self) -> bytes:
        first = self.frame.asked.body["messages"][0]["content"][0]
        is_summary = first.get("type") == "compaction"
        return _BETA if is_summary or "compaction" in self.frame.asked.body else b""

    def refusal(self, status: int, body: bytes) -> tuple[int, bytes, bytes]:
        """As all errors, but for a stream whose input is too long: clients that shorten it and go
        on, such as Codex, know that by an event only."""
        failure = failures.read(status, body)
        if failure.code == failures.TOO_LONG and self.streams:
            return 200, b"text/event-stream; charset=utf-8", self._teller().refused(failure)
        return super().refusal(status, body)

    def _whole(self, message: Json) -> Json:
        return stream.whole(self.frame, message)
