"""What an account's failure means: whether another may try, and how long this one rests.

Plain decisions over values; the scripts keep the accounts' states and choose among them.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.call import Call

Headers = Sequence[tuple[bytes, bytes]]

COOLING, OVERLOADED, FAILING, EXHAUSTED = "cooling", "overloaded", "failing", "exhausted"

# A 429 that says nothing of its end.
_RATE_LIMIT_REST_S = 60.0
_LONGEST_RATE_LIMIT_S = 24 * 3600.0
_OVERLOADED_REST_S, _LONGEST_OVERLOADED_S = 10.0, 300.0
_FAILING_REST_S, _FAILURES_IN_A_ROW = 30.0, 3
# A spend cap that names no date is looked at again after an hour.
_SPEND_CAP_REST_S = 3600.0
_LONGEST_SPEND_CAP_S = 32 * 24 * 3600.0

_MOST_READ_BYTES = 256 * 1024
_SPEND_CAP_CODE = "enforced_spend_limit_reached"
_SPEND_CAP_WORDS = "You have reached your specified API usage limits"
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure.

    Args:
        moves_on: another account may try the request.
        state: how the account is called while it rests, or empty when it does not.
        rest_s: for how long; doubled with each failure in a row up to `longest_s`.
        failures: so many in a row before it rests.
    """

    moves_on: bool
    state: str = ""
    rest_s: float = 0.0
    longest_s: float = 0.0
    failures: int = 1


STAYS = Verdict(moves_on=False)
_MOVES = Verdict(moves_on=True)
_FAILS = Verdict(True, FAILING, _FAILING_REST_S, _FAILING_REST_S, _FAILURES_IN_A_ROW)
_IS_OVERLOADED = Verdict(True, OVERLOADED, _OVERLOADED_REST_S, _LONGEST_OVERLOADED_S)


def of_reply(status: int, headers: Headers, body: bytes) -> Verdict:
    """What an upstream's refusal means; every other 4xx belongs to the request."""
    body = _unpacked(headers, body)
    if status == 429 or status == 402 or (status == 400 and _SPEND_CAP_WORDS.encode() in body):
        return _of_limit(status, dict(headers), body)
    if status == 529:
        return _IS_OVERLOADED
    if status >= 500 or status < 400:
        return _FAILS
    # A client must not be able to bench an account by what it asks for.
    return _MOVES if status in (401, 403, 404) else STAYS


def of_break(call: Call, *, was_timeout: bool, has_left: bool) -> Verdict:
    """What a lost connection means. A whole answer that is slow may still be paid for."""
    if was_timeout and has_left and not call.stream:
        return STAYS
    return _FAILS


def _of_limit(status: int, headers: dict[bytes, bytes], body: bytes) -> Verdict:
    if status != 429 or _SPEND_CAP_CODE.encode() in body:
        rest_s = _seconds_to(_date_in(body)) or _SPEND_CAP_REST_S
        return _exactly(EXHAUSTED, min(rest_s, _LONGEST_SPEND_CAP_S))
    told_s = _number(headers.get(b"retry-after", b""))
    wait_s = (_until_reset(headers) or _RATE_LIMIT_REST_S) if told_s is None else told_s
    return _exactly(COOLING, min(wait_s, _LONGEST_RATE_LIMIT_S))


def _unpacked(headers: Headers, body: bytes) -> bytes:
    """The start of a body that may have come compressed."""
    if dict(headers).get(b"content-encoding", b"identity") == b"identity":
        return body
    try:
        return zlib.decompressobj(wbits=47).decompress(body, _MOST_READ_BYTES)
    except zlib.error:
        return b""


def _exactly(state: str, rest_s: float) -> Verdict:
    return Verdict(True, state, rest_s, rest_s)


def _number(value: bytes) -> float | None:
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _until_reset(headers: dict[bytes, bytes]) -> float:
    """Seconds until the last of the exhausted limits is reset (RFC 3339 times)."""
    waits = [0.0]
    for name, value in headers.items():
        kind, is_limit, figure = name.rpartition(b"-")
        if is_limit and figure == b"remaining" and value.strip() == b"0":
            waits.append(_seconds_to(headers.get(kind + b"-reset", b"").decode("latin-1")))
    return max(waits)


def _date_in(body: bytes) -> str:
    """The date that a spend cap's message states, or nothing."""
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    found = _DATE.search(message)
    return found.group() if found else ""


def _seconds_to(moment: str) -> float:
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
