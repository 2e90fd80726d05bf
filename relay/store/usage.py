"""Usage records, the counters over them, decisions, and reports.

Counters stand in cells, see lua/count.lua. Records stand in a stream; the archive takes the
oldest away.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from relay.store.database import Arg, Database, flat
from relay.store.names import NAMES, name
from relay.store.shares import SHARES, USUAL_BYTES
from relay.store.values import (
    COUNTERS_LIFE_S,
    OWN_ERRORS_LIFE_S,
    PLACES,
    Cell,
    Correction,
    Counted,
    Entry,
)

# So many hashes of a few kilobytes are read in one step, about a millisecond of Redis' time.
_PERIODS_AT_ONCE = 50
# The records' share of Redis' maxmemory, and what they may take where there is no such limit.
_RECORDS = next(share for share in SHARES if share.kind == "usage")
_SHARE_BYTES = 256 * 1024 * 1024
_MINUTE_MS = 60_000
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NAME_OF = {place: counter for counter, place in PLACES.items()}
# An earlier release may have stored what no integer holds.
_AMOUNTS = msgspec.msgpack.Decoder(list[int | float])
_LARGEST_AMOUNT = 2**53


class UsageTable:
    """What is kept of usage."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def counted(self, periods: Sequence[str], key_id: str = "") -> list[Counted]:
        """The cells of UTC days (YYYY-MM-DD) and hours (YYYY-MM-DDTHH), in their order.

        Args:
            key_id: only this key's; empty for all keys'.
        """
        found: list[Counted] = []
        for month, group in groupby(periods, lambda period: period[:7]):
            found += await self._counted_in(month, list(group), key_id)
        return found

    async def _counted_in(self, month: str, periods: list[str], key_id: str) -> list[Counted]:
        series, wanted = {}, ""
        if key_id:
            series = await self._series(month)
            wanted = ",".join(number for number, (key, _, _) in series.items() if key == key_id)
            if not wanted:
                return []
        rows: list[tuple[str, str, list[bytes]]] = []
        for start in range(0, len(periods), _PERIODS_AT_ONCE):
            part = periods[start : start + _PERIODS_AT_ONCE]
            last, *hashes = await self._db.run("counted", [NAMES["usage"]], [wanted, *part])
            rows += [(period, last.decode(), row) for period, row in zip(part, hashes, strict=True)]
        if not key_id and any(row for _, _, row in rows):
            # Read after the cells, so that the label of every one is there.
            series = await self._series(month)
        return [Counted(period, last, _cells(row, series)) for period, last, row in rows]

    async def _series(self, month: str) -> dict[str, tuple[str, str, str]]:
        """Key, account and model by number."""
        labels = await self._db.hash(name("series", month))
        # A model's name may hold a bar, ids never do.
        # What begins with # is how many series a key has.
        series = ((label, number) for label, number in labels.items() if label[:1] != "#")
        parts = {number: label.split("|", 2) for label, number in series}
        return {number: (key, account, model) for number, (key, account, model) in parts.items()}

    async def count_refused(self, amounts: Mapping[tuple[str, str, str], int]) -> None:
        """Count refusals: amounts by key, model and one of REFUSALS."""
        rows = [(key, model, PLACES[why], count) for (key, model, why), count in amounts.items()]
        args = [part for row in rows for part in row]
        await self._db.run("refused", [NAMES["usage"]], [COUNTERS_LIFE_S, *args])

    async def count_own_errors(self, amounts: Mapping[tuple[int, str], int]) -> None:
        """Count errors of Relay's own without a record: amounts by age in minutes and by what."""
        args = [part for (age, what), count in amounts.items() for part in (age, what, count)]
        await self._db.run("own_error", [NAMES["usage"]], [OWN_ERRORS_LIFE_S, *args])

    async def own_errors(self, since_ms: int, until_ms: int) -> Mapping[str, int]:
        """Errors of Relay's own without a record, by what, of the minutes of a span (Unix ms)."""
        found: Counter[str] = Counter()
        for minute in range(since_ms // _MINUTE_MS, until_ms // _MINUTE_MS + 1):
            counted = await self._db.hash(name("own_errors", str(minute)))
            found.update({what: int(count) for what, count in counted.items()})
        return found

    async def records(self, count: int) -> list[bytes]:
        """The newest usage records, newest first, without estimates that were replaced."""
        entries = await self.newest_first(count)
        replaced = {entry.replaces for entry in entries}
        return [entry.record for entry in entries if entry.record and entry.id not in replaced]

    async def newest_first(self, count: int, before: str = "", since_ms: int = 0) -> list[Entry]:
        """Records, newest first: those before an id, settled since a time."""
        start = f"({before}" if before else "+"
        rows = await self._db.call("XREVRANGE", NAMES["usage"], start, since_ms, "COUNT", count)
        return [_entry(*row) for row in rows]

    async def oldest(self, count: int) -> list[Entry]:
        """The oldest records, oldest first."""
        rows = await self._db.call("XRANGE", NAMES["usage"], "-", "+", "COUNT", count)
        return [_entry(*row) for row in rows]

    async def forget(self, entry_id: str) -> None:
        """Drop a record and all before it; they are kept elsewhere."""
        ms, _, number = entry_id.partition("-")
        await self._db.call("XTRIM", NAMES["usage"], "MINID", "=", f"{ms}-{int(number) + 1}")

    async def trim(self, older_than_ms: int) -> None:
        """Drop the records that were settled before a time (Unix ms), for good."""
        if older_than_ms > await self.kept_since_ms():
            await self._db.call("SET", NAMES["usage_since"], older_than_ms)
        await self._db.call("XTRIM", NAMES["usage"], "MINID", "~", older_than_ms)

    async def kept_since_ms(self) -> int:
        """From when on (Unix ms) no record was dropped for good; 0 when none ever was."""
        return int(await self._db.call("GET", NAMES["usage_since"]) or 0)

    async def size(self) -> tuple[int, int]:
        """What the records take, in bytes by Redis' own estimate, and how many they are."""
        size = await self._db.call("MEMORY", "USAGE", NAMES["usage"])
        return int(size or 0), int(await self._db.call("XLEN", NAMES["usage"]))

    async def share_bytes(self) -> int:
        """What the records may take of Redis' memory when nobody says otherwise."""
        _, most = await self.memory()
        return most * _RECORDS.percent // 100 if most else _SHARE_BYTES

    async def dropped_hour(self) -> str:
        """The newest hour whose counters were dropped for want of memory, or empty."""
        return (await self._db.call("GET", NAMES["hours_dropped"]) or b"").decode()

    async def memory(self) -> tuple[int, int]:
        """The memory that Redis uses and may use, in bytes; 0 where it has no limit."""
        told = (await self._db.call("INFO", "memory")).decode()
        lines = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        return int(lines["used_memory"]), int(lines["maxmemory"])

    async def trim_shares(self, part: float = 1.0) -> int:
        """Drop the oldest of what takes more than its share of memory, but for the records.

        Args:
            part: of each share that may be taken, where memory is short.

        Returns how many hashes were dropped; see lua/trim.lua.
        """
        _, most = await self.memory()
        dropped, now_s = 0, time.time()
        for share in SHARES:
            if share.buckets is None:
                continue
            left: Arg = round((most or USUAL_BYTES) * share.percent / 100 * part)
            args = [left, *share.buckets(now_s)]
            count, newest = await self._db.run("trim", [NAMES["usage"]], args)
            dropped += int(count)
            if count and share.kind == "count_hour":
                await self._db.call("SET", NAMES["hours_dropped"], newest[-len("2026-11-23T00") :])
        return dropped

    async def reports(self) -> dict[str, str]:
        """The daily reports that are kept: JSON by day."""
        return await self._db.hash(NAMES["reports"])

    async def keep_report(self, day: str, report: str, alert: Mapping[str, str]) -> bool:
        """Keep a day's report and hand `alert` on; False when it had been kept before."""
        args = [day, report, *flat(alert)]
        return bool(await self._db.run("report", [NAMES["reports"]], args))

    async def replace_report(self, day: str, report: str) -> None:
        """Store another report of a day instead of the one that is kept."""
        await self._db.call("HSET", NAMES["reports"], day, report)

    async def correct(
        self, lock: str, owner: str, life_ms: int, corrections: Sequence[Correction]
    ) -> bool:
        """Book corrections as long as `owner` has the lock, which lives on; see lua/reprice.lua."""
        args: list[Arg] = [owner, life_ms, COUNTERS_LIFE_S]
        for one in corrections:
            args += [one.key_id, one.model, one.at_ms, one.record, len(one.amounts)]
            for (account_id, model), micros in one.amounts.items():
                args += [account_id, model, micros]
        return bool(await self._db.run("reprice", [name("lock", lock)], args))

    async def drop_reports(self, before: str) -> None:
        """Forget the reports of the days before a day."""
        await self._drop_days(NAMES["reports"], before)

    async def drop_spend(self, scope: str, before: str) -> None:
        """Forget what a scope spent on each day before a day; its total stays."""
        await self._drop_days(name("spend", scope), before)

    async def _drop_days(self, redis_key: str, before: str) -> None:
        fields = [field.decode() for field in await self._db.call("HKEYS", redis_key)]
        old = [field for field in fields if _DAY.match(field) and field[:10] < before]
        if old:
            await self._db.call("HDEL", redis_key, *old)

    async def budgets_used(self, relay_budgets: str, scopes: Sequence[str]) -> list[dict[str, Any]]:
        """What scopes have used of their budgets; see lua/budgets.lua."""
        args: list[Arg] = [relay_budgets, *scopes]
        found: list[dict[str, Any]] = json.loads(
            await self._db.run("budgets", [NAMES["usage"]], args)
        )
        return found

    async def decision(self, request_id: str) -> bytes | None:
        """Why a request went where it went, as JSON; see lua/decided.lua."""
        value: bytes | None = await self._db.run("decided", [NAMES["usage"]], [request_id])
        return value


def _cells(row: Sequence[bytes], series: Mapping[str, tuple[str, str, str]]) -> list[Cell]:
    return [
        Cell(*series[number.decode()], _named(_AMOUNTS.decode(packed)))
        for number, packed in zip(row[::2], row[1::2], strict=True)
    ]


def _named(amounts: Iterable[float]) -> dict[str, int]:
    whole = ((place, _whole(amount)) for place, amount in enumerate(amounts, start=1))
    return {_NAME_OF[place]: amount for place, amount in whole if amount}


def _whole(amount: float) -> int:
    """An amount as it can be counted; 0 for what an odd figure of an upstream has left there."""
    return int(amount) if abs(amount) < _LARGEST_AMOUNT else 0


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    record, at_ms, model, state, replaces = fields[1::2]
    return Entry(
        entry_id.decode(), int(at_ms), model.decode(), state.decode(), replaces.decode(), record
    )
