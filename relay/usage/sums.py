"""Adding up: pieces of usage to rows by any of their dimensions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relay.store import COUNTERS, REFUSALS

# What sums can be told by, and the fields of a row that each fills.
BY: Mapping[str, Sequence[str]] = {
    "month": ("month",),
    "day": ("day",),
    "hour": ("hour",),
    "key": ("key_id", "key_name"),
    "owner": ("owner",),
    "account": ("account_id", "account_name"),
    "model": ("model",),
    "client": ("client",),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some amounts, with all that a row can tell about them; `period` is an hour or a day."""

    period: str
    key_id: str
    account_id: str
    model: str
    client: str
    amounts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Names:
    """What ids stand for: keys' names and owners, and accounts' names."""

    keys: Mapping[str, str]
    owners: Mapping[str, str]
    accounts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a report. Only the fields of what it is told by are filled.

    `counters` are all of COUNTERS and, where it is known, `refused`; `refusals` are by reason.
    """

    counters: Mapping[str, int]
    refusals: Mapping[str, int] = field(default_factory=dict)
    month: str = ""
    day: str = ""
    hour: str = ""
    key_id: str = ""
    key_name: str = ""
    owner: str = ""
    account_id: str = ""
    account_name: str = ""
    model: str = ""
    client: str = ""


def zeros() -> dict[str, int]:
    """Every counter of requests, at zero."""
    return dict.fromkeys(COUNTERS, 0)


def add(sums: dict[str, int], amounts: Mapping[str, int]) -> None:
    """Add amounts to sums."""
    for counter, amount in amounts.items():
        sums[counter] = sums.get(counter, 0) + amount


def rows(
    pieces: Iterable[Piece], by: Sequence[str], names: Names, *, has_refused: bool
) -> tuple[Row, ...]:
    """The sums by some names of BY: in time's order, then dearest first.

    Args:
        has_refused: whether the pieces tell of refusals too.
    """
    fields = [name for one in BY if one in by for name in BY[one]]
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(zeros)
    for piece in pieces:
        told = _told(piece, names)
        add(found[tuple(told[name] for name in fields)], piece.amounts)
    lines = [
        _row(dict(zip(fields, values, strict=True)), sums, has_refused=has_refused)
        for values, sums in found.items()
        if any(sums.values())
    ]
    return tuple(sorted(lines, key=_order))


def _told(piece: Piece, names: Names) -> Mapping[str, str]:
    return {
        "month": piece.period[:7],
        "day": piece.period[:10],
        "hour": piece.period,
        "key_id": piece.key_id,
        "key_name": names.keys[piece.key_id],
        "owner": names.owners[piece.key_id],
        "account_id": piece.account_id,
        "account_name": names.accounts.get(piece.account_id, ""),
        "model": piece.model,
        "client": piece.client,
    }


def _row(told: Mapping[str, str], sums: Mapping[str, int], *, has_refused: bool) -> Row:
    refusals = {reason: sums[reason] for reason in REFUSALS if sums.get(reason)}
    known = {counter: sums[counter] for counter in COUNTERS}
    if has_refused:
        known["refused"] = sum(refusals.values())
    return Row(known, refusals, **told)


def _order(row: Row) -> tuple[object, ...]:
    dearest, most = -row.counters["cost_micros"], -row.counters["requests"]
    return row.month, row.day, row.hour, dearest, most, row.key_name, row.model, row.account_name


def total(lines: Iterable[Row]) -> dict[str, int]:
    """All rows in one."""
    sums = zeros()
    for row in lines:
        add(sums, row.counters)
    return sums
