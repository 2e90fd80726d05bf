"""Tokens of the admin API: a hash for each, and the way from a secret's hash to it."""

from collections.abc import Mapping

from relay.store.names import NAMES, name
from relay.store.records import Records


class TokenTable(Records):
    """What is kept of admin tokens."""

    kind = "token"
    index = "token_by_hash"

    async def id_of_hash(self, token_hash: str) -> str | None:
        value = await self._db.call("HGET", NAMES["token_by_hash"], token_hash)
        return None if value is None else value.decode()

    async def ids(self) -> list[str]:
        values = await self._db.call("HVALS", NAMES["token_by_hash"])
        return sorted(value.decode() for value in values)

    async def add(self, token_id: str, fields: Mapping[str, str]) -> None:
        """Keep a new token. Raises NameTaken."""
        await self._create(token_id, fields, fields["hash"])

    async def note_use(self, token_id: str, before: str, now: str) -> None:
        """Note when a token was used, unless another one did or it is gone."""
        await self._change(token_id, {"used_at": now}, "used_at", before)

    async def remove(self, token_id: str, token_hash: str) -> None:
        await self._db.call("HDEL", NAMES["token_by_hash"], token_hash)
        await self._db.call("DEL", name("token", token_id))
        await self._db.fsync()
