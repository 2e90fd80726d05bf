"""Batches and files: whose each is, and which account holds it."""

from relay.store.database import Database, flat
from relay.store.names import name


class ObjectTable:
    """What is kept of batches and files."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def remember(
        self, object_id: str, kind: str, key_id: str, account_id: str, created_at_ms: int
    ) -> None:
        """Keep who made a batch or file, and where it lives, for as long as it exists."""
        fields = {"key": key_id, "account": account_id, "kind": kind}
        await self._db.call("HSET", name("object", object_id), *flat(fields))
        await self._db.call("ZADD", name("objects", key_id, kind), created_at_ms, object_id)

    async def read(self, object_id: str) -> dict[str, str]:
        return await self._db.hash(name("object", object_id))

    async def ids(self, key_id: str, kind: str) -> list[str]:
        """A key's objects of one kind, newest first."""
        values = await self._db.call("ZREVRANGE", name("objects", key_id, kind), 0, -1)
        return [value.decode() for value in values]

    async def forget(self, object_id: str, key_id: str, kind: str) -> None:
        await self._db.call("ZREM", name("objects", key_id, kind), object_id)
        await self._db.call("DEL", name("object", object_id))
