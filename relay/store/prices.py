"""What is stored about prices: a newer table, and the models that were booked without a row."""

from collections.abc import Iterable, Mapping

from relay.store.database import Database, flat
from relay.store.names import NAMES


class PriceTable:
    """What is stored about prices."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def version(self) -> str:
        """The version of the stored table, or empty."""
        return (await self._db.call("HGET", NAMES["prices"], "version") or b"").decode()

    async def table(self) -> dict[str, str]:
        """The stored table: `version`, `text`, `signed` ('1' or ''), `by` and `at` (ISO, UTC)."""
        return await self._db.hash(NAMES["prices"])

    async def replace(self, before: str, fields: Mapping[str, str]) -> bool:
        """Store a table and wait for the disk; see lua/price_table.lua.

        Args:
            before: the version that it replaces, empty for none; False if that is another by now.
        """
        done = await self._db.run("price_table", [NAMES["prices"]], [before, *flat(fields)])
        if done:
            await self._db.fsync()
        return bool(done)

    async def unpriced(self) -> dict[str, str]:
        """The models without a row, each with the day (UTC) on which that was noticed."""
        return await self._db.hash(NAMES["unpriced"])

    async def note_unpriced(self, models: Mapping[str, str], most: int) -> None:
        """Store models without a row, unless they are stored or there are `most` already; see
        lua/unpriced.lua."""
        await self._db.run("unpriced", [NAMES["unpriced"]], [most, *flat(models)])

    async def forget_unpriced(self, models: Iterable[str]) -> None:
        """Forget models, since they have a row now."""
        if fields := list(models):
            await self._db.call("HDEL", NAMES["unpriced"], *fields)
