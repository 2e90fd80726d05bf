"""Keys: a hash for each, and the way from a secret's hash to it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relay.store.names import NAMES, name
from relay.store.records import Records


class KeyTable(Records):
    """What is kept of keys."""

    kind = "key"
    index = "key_by_hash"

    async def id_of_hash(self, key_hash: str) -> str | None:
        value = await self._db.call("HGET", NAMES["key_by_hash"], key_hash)
        return None if value is None else value.decode()

    async def ids(self) -> list[str]:
        values = await self._db.call("HVALS", NAMES["key_by_hash"])
        return sorted({value.decode() for value in values})

    async def standing(self, key_id: str, rate_max: int, rate_ms: int) -> dict[str, Any]:
        """What a key has used of its limits; see lua/standing.lua.

        Args:
            rate_max, rate_ms: the usual window of keys without one of their own.
        """
        reply = await self._db.run("standing", [name("key", key_id)], [key_id, rate_max, rate_ms])
        found: dict[str, Any] = json.loads(reply)
        return found

    async def add(self, key_id: str, fields: Mapping[str, str]) -> None:
        """Keep a new key. Raises NameTaken."""
        await self._create(key_id, fields, fields["hash"])

    async def rotate(self, key_id: str, fields: Mapping[str, str]) -> bool:
        """Give a key a new hash, if it still has the one before.

        Args:
            fields: the new hash, and as `hash_before` which one it had.
        """
        new, before = fields["hash"], fields["hash_before"]
        await self._db.call("HSET", NAMES["key_by_hash"], new, key_id)
        if await self.change(key_id, fields, field="hash", before=before):
            return True
        await self._db.call("HDEL", NAMES["key_by_hash"], new)
        return False

    async def remove(self, key_id: str, hashes: Sequence[str]) -> None:
        await self._db.call("HDEL", NAMES["key_by_hash"], *hashes)
        await self._db.call("DEL", name("key", key_id))
        await self._db.fsync()
