"""What goes into the store's scripts and what comes out of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Thirteen months and a little.
# What a key's models are counted under beyond the number that lua/count.lua allows.
OTHER_MODEL = "other"
COUNTERS_LIFE_S = 400 * 24 * 3600
# Errors of Relay's own without a record: for a look at what was, not for reports.
OWN_ERRORS_LIFE_S = 3600
# What is counted of requests, by its place in a stored cell: the first is money, new ones follow
# behind the last of REFUSALS.
COUNTERS = (
    "cost_micros",
    "requests",
    "errors",
    "estimated",
    "affinity_moves",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
)
# What is counted of requests that were refused before admission, by reason.
REFUSALS = (
    "refused_rate",
    "refused_tokens",
    "refused_daily_limit",
    "refused_monthly_limit",
    "refused_concurrency",
    "refused_relay_full",
    "refused_budget",
    "refused_unbounded",
    "refused_batch",
    "refused_address",
    "refused_client",
    "refused_disabled",
    "refused_key_expired",
    "refused_key_model",
    "refused_no_account",
    "refused_account",
    "refused_other",
)
PLACES = {counter: place for place, counter in enumerate((*COUNTERS, *REFUSALS), start=1)}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A lease was granted; `account_version` changes with each edit of the account.

    Args:
        shows_account: the key's holder may know which account serves.
        candidates: how many accounts could have served.
        affinity: whether a conversation is new, kept its account or had to move.
        budget: the key's fullest one: period, mode, limit and used (micro-dollars), till (ms).
        skipped: names of the accounts that could not serve, by reason.
        is_trial: the account's cooldown is over, and this request shows whether it is well.
    """

    account_id: str
    account_version: str
    account_name: str
    key_name: str
    key_models: tuple[str, ...]
    shows_account: bool
    candidates: int
    affinity: str = ""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    budget: Mapping[str, Any] | None = None
    is_trial: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may use, told before it runs.

    Args:
        most_micros: no less than it can cost, micro-dollars.
        input_micros: what its input costs at least by its size.
        input_tokens: its input by its size.
        unbounded: the field whose cost nobody can bound, or empty.
        max_tokens: the output that it asks for at most.
        output_micros: what all of that costs.
        most_global_micros: the most where every account is known to serve everywhere, which is
            cheaper; 0 where that makes no difference.
    """

    most_micros: int = 0
    input_micros: int = 0
    input_tokens: int = 0
    unbounded: str = ""
    max_tokens: int = 0
    output_micros: int = 0
    most_global_micros: int = 0


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What counts for every key: requests per window (0 = any), all at one time, and money.

    Args:
        most_waiting: so many calls may wait in one line.
        wait_ms: so long for a slot of the relay or of an account.
        key_percent: of these one of several keys may have so much.
        soft_burst: what runs at a soft budget may pass it by so many budgets more at most.
    """

    rate_max: int = 0
    rate_ms: int = 60_000
    concurrency: int = 0
    budgets: str = ""
    most_waiting: int = 0
    wait_ms: int = 0
    key_percent: int = 100
    soft_burst: float = 1.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the ids of the clients it may be, and its address in 32 hex digits."""

    clients: tuple[str, ...] = ()
    address: str = "0" * 32


NOTHING, NO_LIMITS, NOBODY = Estimate(), RelayLimits(), Caller()


@dataclass(frozen=True, slots=True)
class Moved:
    """A lease goes on at another account."""

    account_id: str
    account_version: str
    account_name: str
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_trial: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """There is no other account: a lease may ask the same one again, after `pause_ms` at least."""

    pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """What an account's failure does to it.

    Args:
        state: the account's state while it rests; empty when it does not.
        model_class: only this class of models rests; empty for the whole account.
        rest_ms: for how long.
        least: of so many of its requests at least half must have failed in the last five minutes
            before it rests, and another account must be there to serve; 1: it rests at once.
        may_be_shared: the failure may lie on a way that all accounts share, so another account
            must be there that does not fail as well.
    """

    state: str = ""
    model_class: str = ""
    reason: str = ""
    rest_ms: int = 0
    least: int = 1
    may_be_shared: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing may run.

    Args:
        code: unknown, disabled, key_expired, key_model, no_account, void, or `account_` and what
            keeps the accounts from serving: a state, full, model, group or disabled.
        detail: what belongs to the code, or empty.
        back_s: seconds until the first account is back; empty when nobody knows.
        back_ms: the same, not rounded up; 0 when nobody knows.
    """

    code: str
    detail: str
    back_s: str = ""
    back_ms: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lease stands in line for a slot of `scope`, for at most `wait_ms`."""

    scope: str
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Booking:
    """What settling a lease writes: counters, the record, the decision (JSON or empty).

    `state` is settled, recovered (a floor estimate, open to correction) or void (never to run);
    `model` is its record's, `counters` are by account, model and name; `is_well` clears the
    account's failures; `headroom` is what the upstream says is left of its limits (per mille) and
    until when (Unix ms); `tokens` count for a key's tokens per minute; `key_id` and `account_id`
    are for a lease whose admission Redis has forgotten; `made` is what its answer named, see
    homes.entry(); `place` is the account's organisation and workspace where its answer says another
    than before, at `account_version`.
    """

    lease: str
    state: str
    model: str = ""
    counters: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    record: bytes = b""
    decision: bytes = b""
    is_well: bool = False
    headroom: tuple[int, int] | None = None
    tokens: int = 0
    key_id: str = ""
    account_id: str = ""
    made: tuple[str, ...] = ()
    place: tuple[str, str] = ("", "")
    account_version: str = ""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A lease whose process died, with how far it is known to have come.

    `lost` holds the attempts that failed before, as JSON.
    """

    lease: str
    key_id: str
    account_id: str
    model: str
    kind: str
    started_at_ms: int
    input_tokens: int
    output_chars: int
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BrokenLease:
    """A lease of a dead process whose fields cannot be read, and why."""

    lease: str
    why: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A usage record as it stands in the books.

    Args:
        id: its id in the stream of records, which holds the time of settling.
        at_ms: when the request was admitted, in whose hour and day it counts.
        model: the one it counts under, but for its attempts' shares.
        state: settled; recovered, an estimate for a dead process; or repriced, a correction.
        replaces: the id of the estimate that this one stands for, or empty.
        record: JSON; empty where an estimate is replaced by nothing.
    """

    id: str
    at_ms: int
    model: str
    state: str
    replaces: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Correction:
    """What a request costs more, or less, than it was booked with.

    Args:
        at_ms: when the request was admitted, in whose hour and day it counts.
        model: the one its record counts under.
        record: JSON.
        amounts: micro-dollars by account and model.
    """

    key_id: str
    model: str
    at_ms: int
    record: bytes
    amounts: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a key used of a model at an account in a day or an hour; refusals have no account."""

    key_id: str
    account_id: str
    model: str
    amounts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """The cells of a day (YYYY-MM-DD) or an hour (YYYY-MM-DDTHH), UTC.

    `until_id` is the last record that was settled when they were read.
    """

    period: str
    until_id: str
    cells: Sequence[Cell]
