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


class Sums:
    """Adds pieces up by some names of BY, one after the other: there may be a million.

    Args:
        has_refused: whether the pieces tell of refusals too.
    """

    def __init__(self, by: Sequence[str], *, has_refused: bool) -> None:
        self._by = by
        self._has_refused = has_refused
        self._length = 13 if "hour" in by else 10 if "day" in by else 7 if "month" in by else 0
        self._has_key = "key" in by or "owner" in by
        self._found: dict[tuple[str, str, str, str, str], dict[str, int]] = defaultdict(zeros)

    def add(self, piece: Piece) -> None:
        """Add a piece."""
        place = (
            piece.period[: self._length],
            piece.key_id if self._has_key else "",
            piece.account_id if "account" in self._by else "",
            piece.model if "model" in self._by else "",
            piece.client if "client" in self._by else "",
        )
        add(self._found[place], piece.amounts)

    @property
    def key_ids(self) -> set[str]:
        """The keys whose names rows() needs."""
        return {key_id for _, key_id, _, _, _ in self._found} - {""}

    @property
    def account_ids(self) -> set[str]:
        """The accounts whose names rows() needs."""
        return {account_id for _, _, account_id, _, _ in self._found} - {""}

    def rows(self, names: Names) -> tuple[Row, ...]:
        """The sums, in time's order, then dearest first; what came to nothing is left out."""
        fields = [name for one in BY if one in self._by for name in BY[one]]
        rows: dict[tuple[str, ...], dict[str, int]] = defaultdict(zeros)
        for place, amounts in self._found.items():
            told = _told(place, names)
            add(rows[tuple(told[name] for name in fields)], amounts)
        lines = [
            _row(dict(zip(fields, values, strict=True)), sums, has_refused=self._has_refused)
            for values, sums in rows.items()
            if any(sums.values())
        ]
        return tuple(sorted(lines, key=_order))


def _told(place: tuple[str, str, str, str, str], names: Names) -> Mapping[str, str]:
    period, key_id, account_id, model, client = place
    return {
        "month": period[:7],
        "day": period[:10],
        "hour": period,
        "key_id": key_id,
        "key_name": names.keys.get(key_id, ""),
        "owner": names.owners.get(key_id, ""),
        "account_id": account_id,
        "account_name": names.accounts.get(account_id, ""),
        "model": model,
        "client": client,
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
