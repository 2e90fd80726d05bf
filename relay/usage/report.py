"""Sums over a period, by any of its dimensions: from the counters, or else from the records."""

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.pricing import Prices, Tokens
from relay.store import Entry, Store
from relay.usage import archive, sums
from relay.usage.archive import Archive, booked, visit_valid
from relay.usage.periods import (
    COUNTERS_LIFE,
    DAY,
    PERIODS_AT_ONCE,
    UsageProblem,
    covering,
    hour_of,
    is_on_the_hour,
    start_of_day,
)
from relay.usage.records import HOUR_LINES, RELAY_KEY, counters
from relay.usage.sums import Names, Piece, Row, Sums, zeros

Take = Callable[[Piece], None]
# "claude-cli/2.1 (external)" is claude-cli, "Anthropic/Python 0.7" is Anthropic/Python.
_PRODUCT = re.compile(r"[^\s/]+(?:/[A-Za-z][^\s/]*)?")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked.

    Args:
        since, until: UTC; today when None, and now.
        by: names of BY.
        key_id, account_id: only this one.
        model: a glob; empty for all.
    """

    since: datetime | None = None
    until: datetime | None = None
    by: tuple[str, ...] = ("key", "model")
    key_id: str = ""
    account_id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Usage from `since` to `until` (UTC): in time's order, then dearest first, with its total."""

    since: datetime
    until: datetime
    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A key's counters by model, today and this month, with the refused_…; `day` is today, UTC."""

    day: str
    today: Mapping[str, Mapping[str, int]]
    month: Mapping[str, Mapping[str, int]]


async def report(store: Store, ask: Ask = Ask(), kept: Archive | None = None) -> Report:
    """The sums that are asked for.

    Args:
        kept: the records that are no longer in Redis; needed for clients and for periods that
            do not begin and end on the hour.

    Raises:
        UsageProblem: the period is wrong, or begins before the records that it would need.
    """
    now = datetime.now(UTC)
    since = max(ask.since or start_of_day(now), start_of_day(now - COUNTERS_LIFE))
    until = min(ask.until, now) if ask.until else now
    if ask.since and since >= until:
        raise UsageProblem("The period ends before it begins, or has not begun yet.")
    # What is still to come is empty, so a period that ends now may end with the day.
    is_whole = is_on_the_hour(since) and (until == now or is_on_the_hour(until))
    of_records = "client" in ask.by or not is_whole
    found = Sums(ask.by, has_refused=not of_records)

    def take(piece: Piece) -> None:
        if _is_asked(piece, ask):
            found.add(piece)

    if of_records:
        # Redis' clock, by which requests are admitted, may be a little ahead of ours.
        end = now + DAY if until == now else until
        await _of_records(store, kept, since, end, take)
    else:
        end = start_of_day(now) + DAY if until == now else until
        await _of_counters(store, covering(since, end, in_hours="hour" in ask.by), take)
    rows = found.rows(await _names(store, found))
    return Report(since, until, ask.by, rows, sums.total(rows))


def _is_asked(piece: Piece, ask: Ask) -> bool:
    return (
        (not ask.key_id or piece.key_id == ask.key_id)
        and (not ask.account_id or piece.account_id == ask.account_id)
        and (not ask.model or fnmatch.fnmatchcase(piece.model, ask.model))
    )


async def _names(store: Store, found: Sums) -> Names:
    """What ids stand for now; whatever was deleted keeps its id."""
    keys = {key_id: await store.keys.read(key_id) for key_id in found.key_ids}
    accounts = {one_id: await store.accounts.read(one_id) for one_id in found.account_ids}
    return Names(
        {key_id: one.get("name") or _gone(key_id) for key_id, one in keys.items()},
        {key_id: one.get("owner", "") for key_id, one in keys.items()},
        {one_id: one.get("name") or _gone(one_id) for one_id, one in accounts.items()},
    )


def _gone(record_id: str) -> str:
    """What is shown for the name of a key or account that is no more."""
    return record_id if record_id == RELAY_KEY else f"{record_id} (deleted)"


async def _of_counters(store: Store, periods: list[str], take: Take) -> None:
    for start in range(0, len(periods), PERIODS_AT_ONCE):
        for one in await store.usage.counted(periods[start : start + PERIODS_AT_ONCE]):
            for cell in one.cells:
                take(Piece(one.period, cell.key_id, cell.account_id, cell.model, "", cell.amounts))


async def _of_records(
    store: Store, kept: Archive | None, since: datetime, until: datetime, take: Take
) -> None:
    if kept is None:
        raise UsageProblem("Clients, and parts of hours, stand in the records alone.")
    first = await archive.kept_since(store)
    if since < first:
        raise UsageProblem(
            f"Records go back to {first:%Y-%m-%d %H:%M} UTC only, and clients and parts of hours"
            " stand in them alone: begin later, or begin and end on the hour."
        )
    since_ms, until_ms = (int(at.timestamp() * 1000) for at in (since, until))

    def split(entry: Entry) -> None:
        if not since_ms <= entry.at_ms < until_ms:
            return
        hour, record = hour_of(datetime.fromtimestamp(entry.at_ms / 1000, UTC)), booked(entry)
        program = program_of(record.client)
        for (account_id, model, counter), amount in counters(record, entry.model).items():
            take(Piece(hour, record.key_id, account_id, model, program, {counter: amount}))

    await visit_valid(store, kept, since, split)


def program_of(user_agent: str) -> str:
    """A client's name without its version; `unknown` when it told none."""
    match = _PRODUCT.match(user_agent)
    return match[0] if match else "unknown"


async def of_key(store: Store, key_id: str) -> KeyUsage:
    """What a key has used, today and this month, by model; for the key's own holder."""
    now = datetime.now(UTC)
    today = f"{now:%Y-%m-%d}"
    days = covering(start_of_day(now).replace(day=1), start_of_day(now) + DAY)
    spans: dict[str, dict[str, dict[str, int]]] = {"today": {}, "month": {}}
    for one in await store.usage.counted(days, key_id):
        for cell in one.cells:
            for span in ("today", "month") if one.period == today else ("month",):
                sums.add(spans[span].setdefault(cell.model, zeros()), cell.amounts)
    return KeyUsage(today, spans["today"], spans["month"])


def dollars(micros: int) -> str:
    """Micro-dollars as dollars with all six places, e.g. $0.004210."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}${micros // 1_000_000}.{micros % 1_000_000:06d}"


def saved_by_cache(found: Report, prices: Prices) -> int:
    """Micro-dollars that the cache saved in a report that tells usage by model, by the prices of
    today. Below zero where more was written into it than read."""
    return sum(
        prices.saved_by_cache(row.model, _tokens(row.counters))
        for row in found.rows
        if row.model not in HOUR_LINES.values()
    )


def _tokens(counters: Mapping[str, int]) -> Tokens:
    return Tokens(
        input=counters["input_tokens"],
        output=counters["output_tokens"],
        cache_read=counters["cache_read_tokens"],
        cache_write_5m=counters["cache_write_5m_tokens"],
        cache_write_1h=counters["cache_write_1h_tokens"],
    )
