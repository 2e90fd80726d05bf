"""What an account's failure means: whether another may try, and whether this one cools down.

Plain decisions over values; the scripts keep the accounts' states and choose among them.
"""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from relay import errors, limits, upstream_errors
from relay.call import ANY_FALLBACK, Call
from relay.store import Rest
from relay.upstream import AnswerTooLargeError, UpstreamError, UpstreamTimeoutError
from relay.upstream_errors import UpstreamSays

Headers = Sequence[tuple[bytes, bytes]]

COOLING, OVERLOADED, FAILING, EXHAUSTED = "cooling", "overloaded", "failing", "exhausted"

_LONGEST_RATE_LIMIT_S = 24 * 3600.0
# No limit of an upstream is longer than a month; this is an upstream's mistake.
_LONGEST_RESET_S = 366 * 24 * 3600.0
# Of so many requests at least a share must have failed; a single failure says nothing.
_OVERLOADED_REST_S, _FAILING_REST_S, _LEAST_REQUESTS = 10.0, 30.0, 5
# A spend cap that names no date is tried again after an hour.
SPEND_CAP_REST_S = 3600.0

_MOST_NAMES = 5
_QUOTA, _FAST, _REMAINING = b"anthropic-ratelimit-", b"anthropic-fast-", b"-remaining"
_FAST_LANE = "fast"
# Upstream limits are per class of models; a message may name the one that is at its limit.
_CLASSES = ("fable", "mythos", "opus", "sonnet", "haiku")
# claude-opus-5, claude-3-5-haiku and their likes, whatever stands before or behind.
_CLASS = re.compile(rf"claude-(?:\d[\d-]*-)?({'|'.join(_CLASSES)})(?![a-z])")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failure.

    Args:
        moves_on: another account may try the request.
        state: how the account is called while it cools down, or empty when it does not.
        model_class: only this class of models does, or its fast lane; empty for the whole account.
        rest_s: for how long.
        least: of so many requests at least a share must have failed before it does; 1: it does
            at once.
        may_be_shared: the failure may lie on a way that all accounts share.
        repeats: the same account may be asked again when there is no other.
        pause_s: the upstream asked for so long a pause before that; 0 when it stated none.
        is_suspect: the account's own credential may be what was refused.
        may_be_exhausted: the account may have nothing left to spend; a request of our own decides.
    """

    moves_on: bool
    state: str = ""
    rest_s: float = 0.0
    least: int = 1
    may_be_shared: bool = False
    model_class: str = ""
    repeats: bool = False
    pause_s: float = 0.0
    is_suspect: bool = False
    may_be_exhausted: bool = False

    def rest(self, reason: str) -> Rest:
        """What it does to the account, as the store is told."""
        rest_ms = round(self.rest_s * 1000)
        least, is_shared = self.least, self.may_be_shared
        return Rest(self.state, self.model_class, reason, rest_ms, least, is_shared)


STAYS = Verdict(moves_on=False)
_MOVES = Verdict(moves_on=True, is_suspect=True)
_MOVES_ALONE = Verdict(moves_on=True)
_MAY_BE_EXHAUSTED = Verdict(moves_on=True, may_be_exhausted=True)
_FAILS = Verdict(True, FAILING, _FAILING_REST_S, _LEAST_REQUESTS)
_FAILS_BRIEFLY = replace(_FAILS, repeats=True)
_BREAKS = replace(_FAILS, may_be_shared=True)
# The way there failed on our side: another account may have another way, and none is to blame.
_HAS_NO_WAY = _MOVES_ALONE
# An upstream that is overloaded mostly is so for all accounts alike.
_IS_OVERLOADED = Verdict(
    True, OVERLOADED, _OVERLOADED_REST_S, _LEAST_REQUESTS, may_be_shared=True, repeats=True
)
# It belongs to the request alone, which may be served elsewhere or a moment later.
_MAY_BE_SERVED = Verdict(moves_on=True, repeats=True)


def model_class(model: str) -> str:
    """The class of models whose limits a model shares, or empty."""
    found = _CLASS.search(model.lower())
    return found[1] if found else ""


def lane(call: Call) -> str:
    """What of an account a call's limits are those of: its class of models, or that in fast mode.

    Source: "Fast mode" and "Rate limits" at platform.claude.com/docs; each has limits of its own.
    """
    return _lane(call.model, is_fast=call.reach.is_fast)


def _lane(model: str, *, is_fast: bool) -> str:
    found = model_class(model)
    if not is_fast:
        return found
    return f"{found}-{_FAST_LANE}" if found else _FAST_LANE


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


def of_reply(
    status: int, headers: Headers, body: bytes, model: str = "", *, is_fast: bool = False
) -> Verdict:
    """What an upstream's refusal means; every other 4xx belongs to the request."""
    says = upstream_errors.read(headers, body)
    if says.is_spend_cap(status):
        return _exactly(EXHAUSTED, says.regained_s() or SPEND_CAP_REST_S)
    if says.may_be_the_accounts(status):
        return _MAY_BE_EXHAUSTED
    named = dict(headers)
    if status == 429:
        return _of_limit(named, says, model, is_fast=is_fast)
    if status == 529:
        return _of_overload(named, says, _lane(model, is_fast=is_fast))
    if status >= 500:
        return replace(_FAILS_BRIEFLY, pause_s=_stated_wait(named))
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
            return limits.unbounded(model, "the accounts of this relay have strict budgets")
        case "model" if "\n" in model:
            return errors.NotFound(
                f"requests: no account of this relay serves all models of the batch"
                f" ({_listed(model)})."
            )
        case "model":
            told = f"model: {model} is served by no account of this relay."
            return errors.UnservedModel(told, model)
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


def misnamed(place: str, model: str, why: str) -> errors.RelayError:
    """What a client is told when no account can serve a model beside those before it.

    Args:
        place: where in the request the model stands.
        why: "account_model": it is on no list; "account_mapped": accounts call it something else.
    """
    if why == "account_mapped":
        return errors.BadRequest(
            f"{place}: the accounts of this relay that could serve this have another name for"
            f" {model}, and only `model` is changed to theirs. Use the upstream's name here."
        )
    if model == ANY_FALLBACK:
        return errors.NotFound(
            f"{place}: {model} may be any model, and no account of this relay that could serve this"
            " serves all. Name the models."
        )
    return errors.NotFound(
        f"{place}: no account of this relay serves {model} together with the other models that the"
        " request names."
    )


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
    verdict = _HAS_NO_WAY if error.is_local else _BREAKS
    # Paying twice is worse than failing: only what never left goes to the same account again.
    return replace(verdict, repeats=not has_left)


def _of_overload(headers: dict[bytes, bytes], says: UpstreamSays, lane: str) -> Verdict:
    verdict = _MAY_BE_SERVED if says.is_about_the_request(529) else _IS_OVERLOADED
    return replace(verdict, model_class=lane, pause_s=_stated_wait(headers))


def _of_limit(
    headers: dict[bytes, bytes], says: UpstreamSays, model: str, *, is_fast: bool
) -> Verdict:
    if says.is_about_the_request(429):
        return _MOVES_ALONE
    is_lane = is_fast and _is_fast_limit(headers)
    wait_s = min(_stated_wait(headers) or _until_reset(headers), _LONGEST_RATE_LIMIT_S)
    if not wait_s:
        # It concerns this request first: only a share of such answers says something more.
        return replace(_IS_OVERLOADED, model_class=_lane(model, is_fast=is_lane))
    limited = model_class(model)
    # Only the class of the request's own model: what a client writes can at most narrow it.
    is_named = is_lane or (limited and limited in says.message.lower())
    verdict = replace(_exactly(COOLING, wait_s), repeats=True, pause_s=wait_s)
    return replace(verdict, model_class=_lane(model, is_fast=is_lane)) if is_named else verdict


def _is_fast_limit(headers: dict[bytes, bytes]) -> bool:
    """Whether it is fast mode's own limit that a fast request has met, and no other one."""
    has_fast = any(name.startswith(_FAST) for name in headers)
    return has_fast and not any(
        name.startswith(_QUOTA) and name.endswith(_REMAINING) and value.strip() == b"0"
        for name, value in headers.items()
    )


def _exactly(state: str, rest_s: float) -> Verdict:
    return Verdict(True, state, rest_s)


def _stated_wait(headers: dict[bytes, bytes]) -> float:
    """Seconds that an upstream asks to wait, a number or an HTTP date; 0 when it states none.

    Source: RFC 9110 section 10.2.3.
    """
    stated = headers.get(b"retry-after", b"").strip()
    wait_s = _number(stated)
    if wait_s is not None:
        return wait_s
    try:
        when = parsedate_to_datetime(stated.decode("latin-1"))
    except (ValueError, OverflowError):
        return 0.0
    return _seconds_to(when.isoformat())


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
