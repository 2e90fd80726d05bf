"""The audit: who changed what, each entry sealed together with the one before it."""

from relay.store.database import Database
from relay.store.names import NAMES


class AuditTable:
    """What is kept of changes. A mark is an entry's number and seal, NUMBER:SEAL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def last_mark(self) -> str:
        """The last entry's mark; empty when there is none."""
        mark = await self._db.call("GET", NAMES["audit_last"])
        return "" if mark is None else str(mark.decode())

    async def append(self, before: str, mark: str, entry: str) -> bool:
        """Add an entry if `before` still is the last mark; survives a power cut."""
        keys = [NAMES["audit"], NAMES["audit_last"]]
        done = bool(await self._db.run("note", keys, [before, mark, entry]))
        if done:
            await self._db.fsync()
        return done

    async def page(self, after: str, count: int) -> list[tuple[str, str, str]]:
        """The entries after a stream id ('' = from the first): stream id, entry and mark."""
        start = f"({after}" if after else "-"
        rows = await self._db.call("XRANGE", NAMES["audit"], start, "+", "COUNT", count)
        return [(row.decode(), fields[1].decode(), fields[3].decode()) for row, fields in rows]

    async def newest(self, count: int, before: str = "") -> list[tuple[str, str, str]]:
        """The newest entries before a stream id, newest first: stream id, entry and mark."""
        end = f"({before}" if before else "+"
        rows = await self._db.call("XREVRANGE", NAMES["audit"], end, "-", "COUNT", count)
        return [(row.decode(), fields[1].decode(), fields[3].decode()) for row, fields in rows]
