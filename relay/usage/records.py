"""One request on the books: its record, the decision behind it, and what it counts for."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from relay.pricing import Part, Tokens
from relay.store import REFUSALS

# The key under which the relay's own requests are booked, and what no key asked for.
RELAY_KEY = "relay"
# What only the provider's cost report knows, by its kind of cost there: counted under a line of
# its own, in the place of a model.
HOUR_LINES = {"code_execution": "container-hours", "session_usage": "session-hours"}


@dataclass(frozen=True, slots=True)
class Share:
    """What one model used and cost in an attempt."""

    model: str
    tokens: Tokens
    cost_micros: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one account: what came of it and what it cost.

    `is_estimated` marks figures that the upstream did not give: a floor of what was sent. `tokens`
    adds up all parts; `parts` holds them where they differ in model or in how they were served.
    `remarks` is what the relay did not know of the answer's usage, `unpriced` names the models that
    had no row in the price table; then `parts` always are there. `shares` is by the models to count
    under, in the order of `parts`; without it all counts under the model of its record.
    """

    account_id: str
    account_name: str
    outcome: str
    status: int | None
    upstream_request_id: str
    tokens: Tokens
    cost_micros: int
    is_estimated: bool
    first_byte_ms: int | None
    duration_ms: int
    parts: tuple[Part, ...] = ()
    remarks: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    def of_record(self, model: str) -> "Attempt":
        """The attempt as it stands in a record that counts under `model`."""
        if len(self.shares) == 1 and self.shares[0].model == model:
            return replace(self, shares=())
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> "Attempt":
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, slots=True)
class Record:
    """One request on the books; the attempts' costs add up to its own. Times are UTC.

    A batch has a record for each model that served it, at the time it was made. `part` numbers
    them; the first counts as the request. `results` tells there how many of its requests ended
    how, None when that is not known. `prices` is the version of the price table. A correction
    `corrects` another record, by its place, and holds only what that one costs more or less.
    """

    request_id: str
    time: str
    key_id: str
    key_name: str
    session: str
    agent: str
    client: str
    dialect: str
    model: str
    model_served: str
    stream: bool
    status: int | None
    stop_reason: str
    error: str
    affinity: str
    cost_micros: int
    first_byte_ms: int | None
    duration_ms: int
    attempts: tuple[Attempt, ...]
    kind: str = "messages"
    batch_id: str = ""
    part: int = 0
    results: Mapping[str, int] | None = None
    prices: str = ""
    corrects: str = ""

    def to_json(self) -> bytes:
        """The record as one JSON object."""
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a request went where it went: kept a week, read by `relay why`.

    `skipped` names the accounts that could not serve, by reason; `left_out` the places in the
    request of what Claude cannot have.
    """

    request_id: str
    key_name: str
    model: str
    candidates: int
    skipped: Mapping[str, Sequence[str]]
    chosen: str
    reason: str
    attempts: tuple[Attempt, ...]
    prices: str = ""
    left_out: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The decision as one JSON object."""
        return msgspec.json.encode(self)


def decision(
    record: Record,
    candidates: int,
    skipped: Mapping[str, Sequence[str]],
    reason: str,
    left_out: tuple[str, ...] = (),
) -> Decision:
    """The decision behind a record; the last attempt's account is the chosen one."""
    return Decision(
        record.request_id,
        record.key_name,
        record.model,
        candidates,
        skipped,
        record.attempts[-1].account_name,
        reason,
        record.attempts,
        record.prices,
        left_out,
    )


class BookedAttempt(msgspec.Struct, frozen=True):
    """What the counters take from an attempt."""

    account_id: str
    tokens: Tokens
    cost_micros: int
    is_estimated: bool
    shares: tuple[Share, ...] = ()


class Booked(msgspec.Struct, frozen=True):
    """What the counters take from a record that was kept, whichever version wrote it."""

    request_id: str
    key_id: str
    client: str
    error: str
    affinity: str
    attempts: tuple[BookedAttempt, ...]
    part: int = 0


def counters(record: Record | Booked, model: str) -> dict[tuple[str, str, str], int]:
    """What a record adds, by account, model and counter; zeros are left out.

    The request counts at the account that had it last, each attempt's tokens at its own and under
    the model that was billed for them.

    Args:
        model: the one that the record counts under.
    """
    total: dict[tuple[str, str, str], int] = defaultdict(int)
    last = record.attempts[-1].account_id
    is_request = record.part == 0
    total[last, model, "requests"] = int(is_request)
    total[last, model, "errors"] = int(is_request and bool(record.error))
    total[last, model, "affinity_moves"] = int(record.affinity == "moved")
    for attempt in record.attempts:
        account = attempt.account_id
        total[account, model, "estimated"] += int(attempt.is_estimated)
        if not attempt.shares:
            _add(total, account, model, attempt.tokens, attempt.cost_micros)
        for share in attempt.shares:
            _add(total, account, share.model, share.tokens, share.cost_micros)
    return {counter: amount for counter, amount in total.items() if amount}


def _add(
    total: dict[tuple[str, str, str], int], account: str, model: str, tokens: Tokens, micros: int
) -> None:
    total[account, model, "input_tokens"] += tokens.input
    total[account, model, "output_tokens"] += tokens.output
    total[account, model, "cache_read_tokens"] += tokens.cache_read
    total[account, model, "cache_write_5m_tokens"] += tokens.cache_write_5m
    total[account, model, "cache_write_1h_tokens"] += tokens.cache_write_1h
    total[account, model, "web_searches"] += tokens.web_searches
    total[account, model, "cost_micros"] += micros


def refusal(code: str) -> str:
    """The counter of a refusal by its code: one of REFUSALS, or empty for what is nobody's."""
    if code in ("unknown", "void"):
        return ""
    is_accounts = code.startswith(("account_", "thinking_"))
    counter = "refused_account" if is_accounts else f"refused_{code}"
    return counter if counter in REFUSALS else "refused_other"
