"""Keys: a hash for each, and the way from a secret's hash to it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relay.store.database import Database, flat
from relay.store.names import NAMES, name


class KeyTable:
    """What is kept of keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def id_of_hash(self, key_hash: str) -> str | None:
        value = await self._db.call("HGET", NAMES["key_by_hash"], key_hash)
        return None if value is None else value.decode()

    async def ids(self) -> list[str]:
        values = await self._db.call("HVALS", NAMES["key_by_hash"])
        return sorted({value.decode() for value in values})

    async def read(self, key_id: str) -> dict[str, str]:
        return await self._db.hash(name("key", key_id))

    async def standing(self, key_id: str, rate_max: int, rate_ms: int) -> dict[str, Any]:
        """What a key has used of its limits; see lua/standing.lua.

        Args:
            rate_max, rate_ms: the usual window of keys without one of their own.
        """
        reply = await self._db.run("standing", [name("key", key_id)], [key_id, rate_max, rate_ms])
        found: dict[str, Any] = json.loads(reply)
        return found

    async def add(self, key_id: str, fields: Mapping[str, str]) -> None:
        await self._db.call("HSET", name("key", key_id), *flat(fields))
        await self._db.call("HSET", NAMES["key_by_hash"], fields["hash"], key_id)
        await self._db.fsync()

    async def change(self, key_id: str, fields: Mapping[str, str]) -> None:
        await self._db.call("HSET", name("key", key_id), *flat(fields))
        await self._db.fsync()

    async def swap(self, key_id: str, field: str, before: str, fields: Mapping[str, str]) -> bool:
        """Write `fields` of a key if its `field` still is `before`, empty for none."""
        args = [field, before, *flat(fields)]
        done = bool(await self._db.run("swap", [name("key", key_id)], args))
        await self._db.fsync()
        return done

    async def rotate(self, key_id: str, fields: Mapping[str, str]) -> None:
        """Give a key a new hash; `fields` say which one it had and until when that is good."""
        await self._db.call("HSET", NAMES["key_by_hash"], fields["hash"], key_id)
        await self.change(key_id, fields)

    async def remove(self, key_id: str, hashes: Sequence[str]) -> None:
        await self._db.call("HDEL", NAMES["key_by_hash"], *hashes)
        await self._db.call("DEL", name("key", key_id))
        await self._db.fsync()
