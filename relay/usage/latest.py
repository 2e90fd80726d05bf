"""What the newest requests tell: how quickly they were answered, and which programs sent them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from relay.store import Store
from relay.usage.report import program_of

_MOST = 1000


class _Timed(msgspec.Struct):
    """What is read of a record: milliseconds until its answer began, who sent it, its kind."""

    first_byte_ms: int | None = None
    client: str = ""
    kind: str = ""


_TIMED = msgspec.json.Decoder(_Timed)


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds to the first byte that half of the requests, and 99 of 100, had at most.

    None where nothing was answered; `count` tells of how many requests it is.
    """

    count: int
    p50_ms: int | None
    p99_ms: int | None


async def speed(store: Store, of_last: timedelta) -> Speed:
    """The speed of the newest thousand requests at most that ended within `of_last`."""
    since_ms = int((datetime.now(UTC) - of_last).timestamp() * 1000)
    entries = await store.usage.newest_first(_MOST, since_ms=since_ms)
    timed = (_TIMED.decode(entry.record).first_byte_ms for entry in entries if entry.record)
    times = sorted(ms for ms in timed if ms is not None)
    return Speed(len(times), _percentile(times, 50), _percentile(times, 99))


async def programs(store: Store) -> Mapping[str, int]:
    """The programs that sent the newest thousand requests in Redis, the busiest first."""
    entries = await store.usage.newest_first(_MOST)
    read = [_TIMED.decode(entry.record) for entry in entries if entry.record]
    sent = Counter(
        program_of(one.client) for one in read if one.kind not in ("correction", "hours")
    )
    return dict(sent.most_common())


def _percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The nearest rank."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None
