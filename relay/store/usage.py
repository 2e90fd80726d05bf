"""Usage records, the counters over them, and decisions."""

from relay.store.database import Database
from relay.store.names import NAMES, name


class UsageTable:
    """What is kept of usage."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def counters(self, day: str) -> dict[str, int]:
        """All counters of a UTC day, `key|account|model|counter` → amount."""
        fields = await self._db.hash(name("count", day))
        return {field: int(amount) for field, amount in fields.items()}

    async def records(self, count: int) -> list[bytes]:
        """The newest usage records, newest first."""
        rows = await self._db.call("XREVRANGE", NAMES["usage"], "+", "-", "COUNT", count)
        return [fields[1] for _, fields in rows]

    async def trim(self, older_than_ms: int) -> int:
        return int(await self._db.call("XTRIM", NAMES["usage"], "MINID", "~", older_than_ms))

    async def decision(self, request_id: str) -> bytes | None:
        value: bytes | None = await self._db.call("GET", name("decision", request_id))
        return value
