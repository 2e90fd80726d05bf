"""Alerts: what somebody is to be told."""

from relay.store.database import Database, pairs
from relay.store.names import NAMES


class AlertTable:
    """What is kept of alerts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def newest(self, count: int) -> list[dict[str, str]]:
        """The newest alerts, newest first."""
        rows = await self._db.call("XREVRANGE", NAMES["alerts"], "+", "-", "COUNT", count)
        return [pairs(fields) for _, fields in rows]
