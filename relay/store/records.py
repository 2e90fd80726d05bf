"""What accounts, keys, owners, users and tokens have in common: a hash for each of them."""

from collections.abc import Mapping
from typing import ClassVar

from relay.store.database import Database, flat
from relay.store.names import name


class Records:
    """Things of one kind; every change of one counts in its field `version`."""

    kind: ClassVar[str]

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(self, record_id: str) -> dict[str, str]:
        """All fields of one; none when it is gone."""
        return await self._db.hash(name(self.kind, record_id))

    async def _add(self, record_id: str, fields: Mapping[str, str]) -> None:
        await self._db.call("HSET", name(self.kind, record_id), *flat(fields))

    async def change(
        self, record_id: str, fields: Mapping[str, str], *, field: str = "", before: str = ""
    ) -> bool:
        """Write `fields` of one in one step, and keep them on the disk; see lua/change.lua.

        Args:
            field: only if this one still is `before`, empty for none.

        Returns:
            Whether they were written; one that is gone stays so.
        """
        done = await self._change(record_id, fields, field, before)
        await self._db.fsync()
        return done

    async def _change(
        self, record_id: str, fields: Mapping[str, str], field: str, before: str
    ) -> bool:
        args = [field, before, *flat(fields)]
        return bool(await self._db.run("change", [name(self.kind, record_id)], args))
