"""The upstreams' lists of models, one an account."""

from relay.store.database import Database
from relay.store.names import NAMES

_VERSION = "version"


class ModelTable:
    """What accounts list; every change has a new version."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def version(self) -> str:
        """The version of all lists, or empty."""
        return (await self._db.call("HGET", NAMES["models"], _VERSION) or b"").decode()

    async def lists(self) -> dict[str, str]:
        """The stored lists by account."""
        stored = await self._db.hash(NAMES["models"])
        stored.pop(_VERSION, None)
        return stored

    async def replace(self, account_id: str, text: str) -> bool:
        """Store an account's list; whether it was another one before."""
        before = await self._db.call("HGET", NAMES["models"], account_id)
        if before == text.encode():
            return False
        await self._db.call("HSET", NAMES["models"], account_id, text)
        await self._db.call("HINCRBY", NAMES["models"], _VERSION, 1)
        return True
