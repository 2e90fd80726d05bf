"""What an upstream's error says, as far as a client cannot make it say so.

A message may repeat a client's own words: a header's value, a field's name, a model. So a text is
recognised only where the upstream's own sentence begins with it, in an error of the right status
and type; and as even a field's name may stand first, it proves nothing before a request of our own
has been answered alike (see checks.py).
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

Headers = Sequence[tuple[bytes, bytes]]

_MOST_READ_BYTES = 256 * 1024
_SPEND_CAP_CODE = "enforced_spend_limit_reached"
# 400s of type invalid_request_error that are the account's fault, by how their messages begin.
# Sources: platform.claude.com/docs/en/api/errors and /api/rate-limits; public reports.
_ACCOUNTS_FAULT = (
    "You have reached your specified API usage limits",
    "You have reached your specified workspace API usage limits",
    "Your credit balance is too low",
    "This organization has been disabled",
)
# 429s of type rate_limit_error that only requests like this one get: what they ask for needs
# something that the account has not bought. Source: public reports of Claude Code's users.
_REQUESTS_OWN = (
    "Extra usage is required for long context requests",
    "Extra usage is required for 1M context",
    "Extra usage is required for fast mode",
)
# A 529 of one feature (platform.claude.com/docs, "Compaction").
_COMPACTION_UNAVAILABLE = "compaction_unavailable"
_REGAIN = re.compile(r"You will regain access on (\d{4}-\d\d-\d\d)(?: at (\d\d:\d\d))?")


class _Details(msgspec.Struct):
    error_code: str = ""


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""
    details: _Details | None = None


class _Envelope(msgspec.Struct):
    error: _Error


@dataclass(frozen=True, slots=True)
class UpstreamSays:
    """An upstream's error: its type, its message and its code; empty where there is none."""

    type: str = ""
    message: str = ""
    code: str = ""

    def is_spend_cap(self, status: int) -> bool:
        """Whether it is the upstream's own limit of what the account may spend, by its code.

        A 402 with another code is about what the request names, a user's profile for example.
        """
        if self.code == _SPEND_CAP_CODE:
            return status in (402, 429)
        return status == 402 and not self.code

    def may_be_the_accounts(self, status: int) -> bool:
        """Whether it reads like a 400 that every request of the account gets."""
        is_typed = status == 400 and self.type == "invalid_request_error"
        return is_typed and self.message.startswith(_ACCOUNTS_FAULT)

    def is_about_the_request(self, status: int) -> bool:
        """Whether a limit is met by what this request asks for, and by no other request."""
        if status == 529:
            return self.code == _COMPACTION_UNAVAILABLE
        return self.type == "rate_limit_error" and self.message.startswith(_REQUESTS_OWN)

    def regained_s(self) -> float:
        """Seconds until the account may spend again, as its message states; 0 when it states none.

        Never beyond the first day of the next month (UTC), when every such limit starts afresh.
        """
        is_known = self.code == _SPEND_CAP_CODE or self.message.startswith(_ACCOUNTS_FAULT)
        found = _REGAIN.search(self.message) if is_known else None
        if found is None:
            return 0.0
        try:
            when = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}:00+00:00")
        except ValueError:
            return 0.0
        now = datetime.now(UTC)
        wait_s = (min(when, next_month(now)) - now).total_seconds()
        return max(0.0, wait_s)


def next_month(now: datetime) -> datetime:
    """The first moment of the month after `now`."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def read(headers: Headers, body: bytes) -> UpstreamSays:
    """An upstream's error out of its answer, which may be compressed."""
    try:
        error = msgspec.json.decode(_unpacked(headers, body), type=_Envelope).error
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return UpstreamSays()
    return UpstreamSays(
        error.type, error.message, error.details.error_code if error.details else ""
    )


def _unpacked(headers: Headers, body: bytes) -> bytes:
    """The start of a body that may have come compressed."""
    if dict(headers).get(b"content-encoding", b"identity") == b"identity":
        return body
    try:
        return zlib.decompressobj(wbits=47).decompress(body, _MOST_READ_BYTES)
    except zlib.error:
        return b""
