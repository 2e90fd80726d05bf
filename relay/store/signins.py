"""Sign-ins that have begun."""

from relay.store.database import Database
from relay.store.names import name


class SigninTable:
    """What a sign-in needs when its answer comes back."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, state: str, record: str, life_s: int) -> None:
        """Keep what a sign-in needs when its answer comes back."""
        await self._db.call("SET", name("signin", state), record, "EX", life_s)

    async def has(self, state: str) -> bool:
        return bool(await self._db.call("EXISTS", name("signin", state)))

    async def take(self, state: str) -> str | None:
        """What was kept of a sign-in; it can be taken once."""
        value = await self._db.call("GETDEL", name("signin", state))
        return None if value is None else value.decode()
