"""Owners and their budgets."""

from relay.store.database import Database
from relay.store.names import NAMES, name


class OwnerTable:
    """What is kept of owners."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save(self, owner: str, budgets: str) -> None:
        await self._db.call("HSET", name("owner", owner), "budgets", budgets)
        await self._db.call("SADD", NAMES["owners"], owner)
        await self._db.fsync()

    async def read(self, owner: str) -> dict[str, str]:
        return await self._db.hash(name("owner", owner))

    async def swap(self, owner: str, field: str, before: str, budgets: str) -> bool:
        """Write an owner's budgets if their `field` still is `before`, empty for none."""
        args = [field, before, "budgets", budgets]
        done = bool(await self._db.run("swap", [name("owner", owner)], args))
        await self._db.fsync()
        return done

    async def all(self) -> dict[str, str]:
        """Every owner's budgets, by name."""
        found = {}
        for member in await self._db.call("SMEMBERS", NAMES["owners"]):
            fields = await self._db.hash(name("owner", member.decode()))
            found[member.decode()] = fields.get("budgets", "")
        return found
