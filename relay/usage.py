"""What was used: one record per request, counters per day, and the report over them.

A record is what one request cost and why; the counters are the same figures added up by key,
account and model. Both are written by the script that settles the lease, so they agree.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from relay.pricing import Tokens
from relay.store import Store

COUNTERS = (
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
    "cost_micros",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one account: what came of it and what it cost.

    `is_estimated` marks figures that the upstream did not give: a floor of what was sent.
    `model` is set where a record has several: a batch has an attempt for each.
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
    model: str = ""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Attempt":
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True, slots=True)
class Record:
    """One request or batch on the books; the attempts' costs add up to its own. Times are UTC.

    A batch stands at the time it was made; `results` tells how many of its requests ended how,
    None when that is not known.
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
    results: Mapping[str, int] | None = None

    def to_json(self) -> bytes:
        """The record as one JSON object."""
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a request went where it went: kept a week, read by `relay why`.

    `skipped` names the accounts that could not serve, by reason.
    """

    request_id: str
    key_name: str
    model: str
    candidates: int
    skipped: Mapping[str, Sequence[str]]
    chosen: str
    reason: str
    attempts: tuple[Attempt, ...]

    def to_json(self) -> bytes:
        """The decision as one JSON object."""
        return msgspec.json.encode(self)


def decision(
    record: Record, candidates: int, skipped: Mapping[str, Sequence[str]], reason: str
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
    )


def counters(record: Record) -> dict[tuple[str, str], int]:
    """What a record adds, by account and counter; zeros are left out.

    The request counts at the account that had it last, each attempt's tokens at its own.
    """
    total: dict[tuple[str, str], int] = defaultdict(int)
    last = record.attempts[-1].account_id
    total[last, "requests"] = 1
    total[last, "errors"] = int(bool(record.error))
    total[last, "affinity_moves"] = int(record.affinity == "moved")
    for attempt in record.attempts:
        account, tokens = attempt.account_id, attempt.tokens
        total[account, "estimated"] += int(attempt.is_estimated)
        total[account, "input_tokens"] += tokens.input
        total[account, "output_tokens"] += tokens.output
        total[account, "cache_read_tokens"] += tokens.cache_read
        total[account, "cache_write_5m_tokens"] += tokens.cache_write_5m
        total[account, "cache_write_1h_tokens"] += tokens.cache_write_1h
        total[account, "web_searches"] += tokens.web_searches
        total[account, "cost_micros"] += attempt.cost_micros
    return {counter: amount for counter, amount in total.items() if amount}


def batch_counters(record: Record) -> dict[tuple[str, str], int]:
    """What a batch's record adds, by model and counter; the batch itself counts at its first."""
    total: dict[tuple[str, str], int] = {}
    for number, attempt in enumerate(record.attempts):
        for (_, counter), amount in counters(replace(record, attempts=(attempt,))).items():
            if number == 0 or counter not in ("requests", "errors"):
                total[attempt.model, counter] = amount
    return total


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report: the counters of one key and model on one day."""

    key_id: str
    key_name: str
    model: str
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """A UTC day's usage by key and model, dearest first, with its total."""

    day: str
    rows: tuple[Row, ...]
    total: Mapping[str, int]


async def report(store: Store, day: str | None = None) -> Report:
    """The usage of `day` (YYYY-MM-DD, UTC; today when None)."""
    day = day or datetime.now(UTC).date().isoformat()
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
    total = dict.fromkeys(COUNTERS, 0)
    for field, amount in (await store.usage.counters(day)).items():
        # A model's name is the client's own text; ids and counter names never hold a bar.
        key_id, _, rest = field.partition("|")
        _, _, rest = rest.partition("|")
        model, _, counter = rest.rpartition("|")
        sums[key_id, model][counter] += amount
        total[counter] += amount
    names = {key_id: (await store.keys.read(key_id)).get("name", "") for key_id, _ in sums}
    rows = [
        Row(key_id, names[key_id] or f"{key_id} (deleted)", model, figures)
        for (key_id, model), figures in sums.items()
    ]
    rows.sort(key=lambda row: (-row.counters["cost_micros"], row.key_name, row.model))
    return Report(day, tuple(rows), total)


async def trim(store: Store, retention_days: int) -> None:
    """Drop records older than `retention_days`."""
    limit = datetime.now(UTC) - timedelta(days=retention_days)
    await store.usage.trim(int(limit.timestamp() * 1000))


def dollars(micros: int) -> str:
    """Micro-dollars as dollars with all six places, e.g. $0.004210."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}${micros // 1_000_000}.{micros % 1_000_000:06d}"
