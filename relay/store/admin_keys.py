"""Anthropic's admin keys: a hash for each, what comparing the books came to, and hours booked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay.store.database import Arg, flat
from relay.store.names import NAMES, name
from relay.store.records import Records
from relay.store.values import COUNTERS_LIFE_S


@dataclass(frozen=True, slots=True)
class Hours:
    """Container or session hours of a day that are booked to an account.

    Args:
        field: under which it is remembered what was booked so far.
        before, after: what is remembered there, before and after; empty for nothing.
        key_id, model: under which they are counted.
        at_ms: in whose hour and day they count.
        micros: what they cost more, or less, than was booked before.
        record: JSON.
    """

    field: str
    before: str
    after: str
    key_id: str
    account_id: str
    model: str
    at_ms: int
    micros: int
    record: bytes


class AdminKeyTable(Records):
    """What is kept of admin keys and of the comparisons that they are for."""

    kind = "admin_key"
    index = "admin_keys"

    async def ids(self) -> list[str]:
        values = await self._db.call("SMEMBERS", NAMES["admin_keys"])
        return sorted(value.decode() for value in values)

    async def add(self, key_id: str, fields: Mapping[str, str]) -> None:
        """Keep a new admin key. Raises NameTaken."""
        await self._create(key_id, fields)

    async def remove(self, key_id: str) -> None:
        """Forget an admin key and its results. What was booked by it stays remembered."""
        await self._db.call("SREM", NAMES["admin_keys"], key_id)
        await self._db.call("DEL", name("admin_key", key_id), name("reconciled", key_id))
        await self._db.fsync()

    async def results(self, key_id: str) -> dict[str, str]:
        """What comparing each day came to: JSON by day."""
        return await self._db.hash(name("reconciled", key_id))

    async def store_results(self, key_id: str, results: Mapping[str, str], before: str) -> None:
        """Store the results of days, and forget those of the days before a day."""
        redis_key = name("reconciled", key_id)
        if results:
            await self._db.call("HSET", redis_key, *flat(results))
        await self._forget(redis_key, before)

    async def hours(self) -> dict[str, str]:
        """The hours that are booked, by their fields, which begin with the day."""
        return await self._db.hash(NAMES["hours_booked"])

    async def book_hours(self, hours: Iterable[Hours]) -> int:
        """Book hours, each once; how many were: see lua/hours.lua."""
        count = 0
        for one in hours:
            args: list[Arg] = [
                one.field, one.before, one.after, one.key_id, one.account_id, one.model,
                one.at_ms, one.micros, one.record, COUNTERS_LIFE_S,
            ]  # fmt: skip
            count += int(await self._db.run("hours", [NAMES["hours_booked"]], args))
        return count

    async def forget_hours(self, before: str) -> None:
        """Forget what was booked for the days before a day; they are compared no more."""
        await self._forget(NAMES["hours_booked"], before)

    async def _forget(self, redis_key: str, before: str) -> None:
        fields = [field.decode() for field in await self._db.call("HKEYS", redis_key)]
        if old := [field for field in fields if field[:10] < before]:
            await self._db.call("HDEL", redis_key, *old)
