"""Who may take how much of Redis' memory, of what grows with requests: the oldest of it goes first.

The rest is for what grows with keys, accounts and people, and for open requests.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relay.store.names import name

# The share of a Redis that has no limit of its own is counted from this.
USUAL_BYTES = 1024 * 1024 * 1024
# From this part of its limit on Redis is short of memory.
SHORT_PERCENT = 80

_DECISION_S, _AFFINITY_S = 600, 1800
_WEEK_S, _HOUR_AND_A_HALF_S = 7 * 86_400, 5400
_COUNTED_DAYS = 400
# What lives shortest comes first; see lua/homes.lua.
_HOMES = {
    "credit": (100, 4),
    "thread": (1800, 3),
    "container": (604_800, 6),
    "thinking": (604_800, 6),
}


@dataclass(frozen=True, slots=True)
class Share:
    """What one kind of keys may take.

    Args:
        percent: of Redis' maxmemory.
        buckets: the hashes that hold it at a Unix time (s), newest first; see lua/buckets.lua.
        when_full: what becomes of the oldest.
    """

    kind: str
    percent: int
    when_full: str
    buckets: Callable[[float], Iterator[str]] | None = None


def _decisions(now_s: float) -> Iterator[str]:
    newest = int(now_s // _DECISION_S) + 1
    for number in range(newest, newest - _WEEK_S // _DECISION_S - 2, -1):
        yield name("decisions", str(number))


def _affinities(now_s: float) -> Iterator[str]:
    newest = int(now_s // _AFFINITY_S) + 1
    for number in range(newest, newest - _HOUR_AND_A_HALF_S // _AFFINITY_S - 1, -1):
        yield name("affinity", str(number))


def _homes(now_s: float) -> Iterator[str]:
    for kind, (length_s, count) in _HOMES.items():
        newest = int(now_s // length_s) + 1
        yield from (name("homes", kind, str(newest - back)) for back in range(count + 1))


def _hours(now_s: float) -> Iterator[str]:
    newest = datetime.fromtimestamp(now_s, UTC) + timedelta(hours=1)
    last = newest.hour
    for back in range(_COUNTED_DAYS + 1):
        day = (newest.date() - timedelta(days=back)).isoformat()
        yield from (name("count_hour", f"{day}T{hour:02}") for hour in range(last, -1, -1))
        last = 23


SHARES = (
    Share("usage", 40, "moves to day files in RELAY_HOME"),
    Share("decisions", 12, "is forgotten: `relay why` no longer knows the request", _decisions),
    Share("count_hour", 20, "is forgotten: those days are counted by day alone", _hours),
    Share("homes", 3, "is forgotten: what a request names is not found", _homes),
    Share("affinity", 5, "is forgotten: the conversation chooses an account anew", _affinities),
)
