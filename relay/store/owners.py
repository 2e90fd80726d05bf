"""Owners and their budgets."""

from relay.store.names import NAMES, name
from relay.store.records import Records


class OwnerTable(Records):
    """What is kept of owners."""

    kind = "owner"

    async def add(self, owner: str) -> None:
        """Keep an owner without budgets, unless there is one of this name."""
        await self._db.call("HSETNX", name("owner", owner), "budgets", "")
        await self._db.call("SADD", NAMES["owners"], owner)

    async def all(self) -> dict[str, str]:
        """Every owner's budgets, by name."""
        found = {}
        for member in await self._db.call("SMEMBERS", NAMES["owners"]):
            fields = await self.read(member.decode())
            found[member.decode()] = fields.get("budgets", "")
        return found
