"""What accounts, keys, owners, users and tokens have in common: a hash for each of them."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from relay.store.database import Arg, Database, flat
from relay.store.names import NAMES, name


class NameTaken(Exception):
    """Another record of the kind has this name, or this name as its id."""


class Records:
    """Things of one kind; every change of one counts in its field `version`.

    Attributes:
        index: the kind's list of ids, where a name belongs to one record only; the scripts that
            write a name decide whether it is free.
    """

    kind: ClassVar[str]
    index: ClassVar[str] = ""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(self, record_id: str) -> dict[str, str]:
        """All fields of one; none when it is gone."""
        return await self._db.hash(name(self.kind, record_id))

    async def _create(self, record_id: str, fields: Mapping[str, str], place: str = "") -> None:
        """Write a new record and its place in the index; see lua/create.lua.

        Args:
            place: the index' field that leads to it; empty where the index is a set.

        Raises:
            NameTaken: nothing was written.
        """
        keys = [name(self.kind, record_id), NAMES[self.index]]
        args = [self.kind, record_id, place, fields.get("name", ""), *flat(fields)]
        if not await self._db.run("create", keys, args):
            raise NameTaken(fields.get("name", record_id))
        await self._db.fsync()

    async def change(
        self, record_id: str, fields: Mapping[str, str], *, field: str = "", before: str = ""
    ) -> bool:
        """Write `fields` of one in one step, and keep them on the disk; see lua/change.lua.

        Args:
            field: only if this one still is `before`, empty for none.

        Returns:
            Whether they were written; one that is gone stays so.

        Raises:
            NameTaken: nothing was written.
        """
        done = await self._change(record_id, fields, field, before)
        await self._db.fsync()
        return done

    async def _change(
        self, record_id: str, fields: Mapping[str, str], field: str, before: str
    ) -> bool:
        keys = [name(self.kind, record_id), *([NAMES[self.index]] if self.index else [])]
        new_name = fields.get("name", "") if self.index else ""
        args: list[Arg] = [field, before, self.kind, record_id, new_name, *flat(fields)]
        done = int(await self._db.run("change", keys, args))
        if done == 2:
            raise NameTaken(new_name)
        return bool(done)

    async def twins(self) -> Sequence[str]:
        """Names that several records have, which earlier releases let happen."""
        found = await self._db.run("twins", [NAMES[self.index]], [self.kind])
        return sorted(twin.decode() for twin in found)
