"""What is stored about prices: the models that were booked without one."""

from collections.abc import Iterable, Mapping

from relay.store.database import Database, flat
from relay.store.names import NAMES


class PriceTable:
    """What is stored about prices."""

    def __init__(self, db: Database) -> None:
        self._db = db

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
