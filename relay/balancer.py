"""What an account's failure means: whether another may try, and how long this one rests.

Plain decisions over values; the scripts keep the accounts' states and choose among them.
"""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from relay import errors, upstream_errors
from relay.call import Call
from relay.store import Rest
from relay.upstream import AnswerTooLargeError, UpstreamError, UpstreamTimeoutError
from relay.upstream_errors import UpstreamSays

Headers = Sequence[tuple[bytes, bytes]]

COOLING, OVERLOADED, FAILING, EXHAUSTED = "cooling", "overloaded", "failing", "exhausted"

# A 429 that says nothing of its end.
_RATE_LIMIT_REST_S = 60.0
_LONGEST_RATE_LIMIT_S = 24 * 3600.0
# No limit of an upstream is longer than a month; this is an upstream's mistake.
_LONGEST_RESET_S = 366 * 24 * 3600.0
_OVERLOADED_REST_S, _LONGEST_OVERLOADED_S = 10.0, 300.0
# Of so many requests at least a share must have failed. A client's own request may be what is slow.
_FAILING_REST_S, _LEAST_REQUESTS, _LEAST_SLOW_REQUESTS = 30.0, 3, 5
# A spend cap that names no date is tried again after an hour.
SPEND_CAP_REST_S = 3600.0

_MOST_NAMES = 5
_QUOTA, _REMAINING = b"anthropic-ratelimit-", b"-remaining"
# Upstream limits are per class of models; a message may name the one that is at its limit.
_CLASSES = ("fable", "mythos", "opus", "sonnet", "haiku")
# claude-opus-5, claude-3-5-haiku and their likes, whatever stands before or behind.
_CLASS = re.compile(rf"claude-(?:\d[\d-]*-)?({'|'.join(_CLASSES)})(?![a-z])")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure.

    Args:
        moves_on: another account may try the request.
        state: how the account is called while it rests, or empty when it does not.
        model_class: only this class of models rests; empty for the whole account.
        rest_s: for how long; doubled with each failure in a row up to `longest_s`.
        least: of so many requests at least a share must have failed before it rests; 1: it rests
            at once.
        may_be_shared: the failure may lie on a way that all accounts share.
        repeats: the same account may be asked again when there is no other.
        is_suspect: the account's own credential may be what was refused.
        may_be_exhausted: the account may have nothing left to spend; a request of our own decides.
    """

    moves_on: bool
    state: str = ""
    rest_s: float = 0.0
    longest_s: float = 0.0
    least: int = 1
    may_be_shared: bool = False
    model_class: str = ""
    repeats: bool = False
    is_suspect: bool = False
    may_be_exhausted: bool = False

    def rest(self, reason: str) -> Rest:
        """What it does to the account, as the store is told."""
        rest_ms, longest_ms = round(self.rest_s * 1000), round(self.longest_s * 1000)
        least, is_shared = self.least, self.may_be_shared
        return Rest(self.state, self.model_class, reason, rest_ms, longest_ms, least, is_shared)


STAYS = Verdict(moves_on=False)
_MOVES = Verdict(moves_on=True, is_suspect=True)
_MAY_BE_EXHAUSTED = Verdict(moves_on=True, may_be_exhausted=True)
_FAILS = Verdict(True, FAILING, _FAILING_REST_S, _FAILING_REST_S, _LEAST_REQUESTS)
_FAILS_BRIEFLY = replace(_FAILS, repeats=True)
_BREAKS = replace(_FAILS, may_be_shared=True)
_IS_SLOW = replace(_BREAKS, least=_LEAST_SLOW_REQUESTS)
# The way there failed on our side: another account may have another way, and none is to blame.
_HAS_NO_WAY = Verdict(moves_on=True)
_IS_OVERLOADED = Verdict(True, OVERLOADED, _OVERLOADED_REST_S, _LONGEST_OVERLOADED_S)


def model_class(model: str) -> str:
    """The class of models whose limits a model shares, or empty."""
    found = _CLASS.search(model.lower())
    return found[1] if found else ""


def headroom(headers: Headers) -> tuple[int, int] | None:
    """What is left of the tightest of the upstream's limits, per mille, and until when (Unix ms).

    Source: the `anthropic-ratelimit-*` headers of platform.claude.com/docs/en/api/rate-limits.
    """
    named = dict(headers)
    tightest: tuple[int, int] | None = None
    for name, value in headers:
        if not name.startswith(_QUOTA) or not name.endswith(_REMAINING):
            continue
        kind = name.removesuffix(_REMAINING)
        left, limit = _number(value), _number(named.get(kind + b"-limit", b""))
        wait_s = _seconds_to(named.get(kind + b"-reset", b"").decode("latin-1"))
        if left is None or not limit or not wait_s:
            continue
        part = round(1000 * min(1.0, left / limit)) if left < limit else 1000
        if tightest is None or part < tightest[0]:
            tightest = part, round((time.time() + wait_s) * 1000)
    return tightest


def of_reply(status: int, headers: Headers, body: bytes, model: str = "") -> Verdict:
    """What an upstream's refusal means; every other 4xx belongs to the request."""
    says = upstream_errors.read(headers, body)
    if says.is_spend_cap(status):
        return _exactly(EXHAUSTED, says.regained_s() or SPEND_CAP_REST_S)
    if says.may_be_the_accounts(status):
        return _MAY_BE_EXHAUSTED
    if status == 429:
        return _of_limit(dict(headers), says, model)
    if status == 529:
        return _IS_OVERLOADED
    if status >= 500:
        return _FAILS_BRIEFLY
    if status < 400:
        return _FAILS
    # A client must not be able to bench an account by what it asks for.
    return _MOVES if status in (401, 403, 404) else STAYS


def refusal(why: str, model: str, back_s: str) -> errors.RelayError:
    """What a client is told when no account can serve.

    Args:
        why: what keeps the accounts from serving, as the admission script says.
        model: the model that was asked for; for "unbounded" the field.
        back_s: seconds until the first is back; empty when nobody knows.
    """
    wait = [(b"retry-after", (back_s or "1").encode())]
    match why:
        case "mapped":
            return errors.BadRequest(
                "requests: the accounts of this relay have other names for models of this batch"
                f" ({_listed(model)}), and a batch goes on unchanged. Use the upstream's names."
            )
        case "unbounded":
            return errors.BadRequest(
                f"{model}: the accounts of this relay have strict budgets, and what this costs"
                " cannot be bounded beforehand."
            )
        case "model" if "\n" in model:
            return errors.NotFound(
                f"requests: no account of this relay serves all models of the batch"
                f" ({_listed(model)})."
            )
        case "model":
            return errors.NotFound(f"model: {model} is served by no account of this relay.")
        case "full":
            return errors.Overloaded(
                f"The upstream accounts' {model} slots are in use, or left to other keys; try again"
                " in a moment.",
                wait,
            )
        case "expired" if not back_s:
            return errors.Unavailable(
                "Invalid session key or expired: the relay's operator has to renew an account's"
                " sign-in."
            )
        case "overloaded":
            return errors.Overloaded("The upstream is overloaded.", wait)
        case "cooling" | "exhausted" if back_s:
            return errors.RateLimited(
                f"All upstream accounts are at their limits; the first is back in {back_s} s.", wait
            )
    return errors.Unavailable("No upstream account can serve this request now.")


def _listed(models: str) -> str:
    names = models.split("\n")
    return ", ".join(names[:_MOST_NAMES] + (["…"] if len(names) > _MOST_NAMES else []))


def of_break(call: Call, error: UpstreamError) -> Verdict:
    """What a lost connection means. A whole answer that is slow may still be paid for."""
    if error.is_ours or isinstance(error, AnswerTooLargeError):
        return STAYS
    has_left, was_timeout = not error.never_left, isinstance(error, UpstreamTimeoutError)
    if was_timeout and has_left and not call.stream:
        return STAYS
    verdict = _HAS_NO_WAY if error.is_local else _IS_SLOW if was_timeout else _BREAKS
    # Paying twice is worse than failing: only what never left goes to the same account again.
    return replace(verdict, repeats=not has_left)


def _of_limit(headers: dict[bytes, bytes], says: UpstreamSays, model: str) -> Verdict:
    told_s = _number(headers.get(b"retry-after", b""))
    wait_s = (_until_reset(headers) or _RATE_LIMIT_REST_S) if told_s is None else told_s
    verdict = _exactly(COOLING, min(wait_s, _LONGEST_RATE_LIMIT_S))
    limited = model_class(model)
    # Only the class of the request's own model: what a client writes can at most narrow it.
    is_named = limited and limited in says.message.lower()
    return replace(verdict, model_class=limited) if is_named else verdict


def _exactly(state: str, rest_s: float) -> Verdict:
    return Verdict(True, state, rest_s, rest_s)


def _number(value: bytes) -> float | None:
    """A figure of an upstream, 0 or more; None for what is no finite number."""
    try:
        number = float(value)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until_reset(headers: dict[bytes, bytes]) -> float:
    """Seconds until the last of the exhausted limits is reset (RFC 3339 times)."""
    waits = [0.0]
    for name, value in headers.items():
        kind, is_limit, figure = name.rpartition(b"-")
        if is_limit and figure == b"remaining" and value.strip() == b"0":
            waits.append(_seconds_to(headers.get(kind + b"-reset", b"").decode("latin-1")))
    return max(waits)


def _seconds_to(moment: str) -> float:
    """Seconds until a time that an upstream states; 0 for what is none, a year at most."""
    try:
        when = datetime.fromisoformat(moment)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        wait_s = (when - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, wait_s), _LONGEST_RESET_S)
