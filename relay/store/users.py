"""People who may use the console: their settings, open sessions, tokens and failed attempts."""

import time
from collections.abc import Mapping, Sequence

from relay.store.database import flat
from relay.store.names import NAMES, name
from relay.store.records import NameTaken, Records

_MOST_KNOWN = 20
_KNOWN_LIFE_S = 180 * 24 * 3600


class UserTable(Records):
    """What is kept of users."""

    kind = "user"
    index = "users"

    async def names(self) -> list[str]:
        values = await self._db.call("SMEMBERS", NAMES["users"])
        return sorted(value.decode() for value in values)

    async def add(self, user: str, fields: Mapping[str, str]) -> bool:
        """Keep a new user; False when there is one of this name."""
        try:
            await self._create(user, fields)
        except NameTaken:
            return False
        return True

    async def remove(self, user: str) -> None:
        await self._db.call("SREM", NAMES["users"], user)
        await self._db.call("DEL", name("user", user), name("recovery", user))
        await self._db.fsync()

    # Recovery codes.

    async def keep_recovery(self, user: str, hashes: list[str]) -> None:
        """Keep these instead of all before."""
        await self._db.call("DEL", name("recovery", user))
        if hashes:
            await self._db.call("SADD", name("recovery", user), *hashes)
        await self._db.fsync()

    async def take_recovery(self, user: str, code_hash: str) -> bool:
        """Whether the code was good; it works once."""
        return bool(await self._db.call("SREM", name("recovery", user), code_hash))

    async def has_recovery(self, user: str, code_hash: str) -> bool:
        """Whether the code is good; it stays so."""
        return bool(await self._db.call("SISMEMBER", name("recovery", user), code_hash))

    async def recovery_count(self, user: str) -> int:
        return int(await self._db.call("SCARD", name("recovery", user)))

    # Sessions, by the hash of their token.

    async def open_session(
        self, session: str, user: str, fields: Mapping[str, str], life_s: int, end_s: int
    ) -> None:
        """Keep a session that ends `life_s` after its last use; `end_s` is its last moment."""
        await self._db.call("HSET", name("session", session), *flat(fields))
        await self._db.call("EXPIRE", name("session", session), life_s)
        await self._db.call("ZADD", name("sessions", user), end_s, session)
        await self._db.call("EXPIREAT", name("sessions", user), end_s)

    async def read_session(self, session: str) -> dict[str, str]:
        return await self._db.hash(name("session", session))

    async def use_session(self, session: str, fields: Mapping[str, str], life_s: int) -> None:
        """Note a session's use, unless it was closed meanwhile."""
        if await self._db.call("EXPIRE", name("session", session), life_s):
            await self._db.call("HSET", name("session", session), *flat(fields))
            await self._db.call("EXPIRE", name("session", session), life_s)

    async def sessions(self, user: str) -> list[str]:
        """A user's sessions, those that have ended among them."""
        values = await self._db.call("ZRANGE", name("sessions", user), 0, -1)
        return [value.decode() for value in values]

    async def close_sessions(self, user: str, sessions: list[str]) -> None:
        if sessions:
            await self._db.call("DEL", *(name("session", one) for one in sessions))
            await self._db.call("ZREM", name("sessions", user), *sessions)

    # Attempts to sign in.

    async def attempt(
        self, what: str, scopes: Sequence[str], life_ms: int, limits: Sequence[int]
    ) -> tuple[int, int]:
        """Count an attempt in all scopes or in none, or undo one; see lua/attempt.lua."""
        keys = [name("attempts", scope) for scope in scopes]
        wait_ms, count = await self._db.run("attempt", keys, [what, life_ms, *limits])
        return int(wait_ms), int(count)

    async def is_known(self, user: str, place: str) -> bool:
        """Whether a user has signed in from a place before."""
        return await self._db.call("ZSCORE", name("known", user), place) is not None

    async def note_known(self, user: str, place: str) -> None:
        """Keep from where a user signed in; of the newest places, for a while."""
        await self._db.call("ZADD", name("known", user), round(time.time()), place)
        await self._db.call("ZREMRANGEBYRANK", name("known", user), 0, -_MOST_KNOWN - 1)
        await self._db.call("EXPIRE", name("known", user), _KNOWN_LIFE_S)

    async def forget_known(self, user: str) -> None:
        await self._db.call("DEL", name("known", user))

    async def note_attempt(self, what: str, life_s: int, count: int = 1) -> tuple[int, int]:
        """One attempt more (or `count`); all are forgotten `life_s` after the first.

        Returns:
            How many there are, and in how many seconds they are forgotten.
        """
        await self._db.call("SET", name("attempts", what), 0, "NX", "EX", life_s)
        found = await self._db.call("INCRBY", name("attempts", what), count)
        left_s = await self._db.call("TTL", name("attempts", what))
        return int(found), max(0, int(left_s))

    async def attempts(self, what: str) -> tuple[int, int]:
        """How many there are, and in how many seconds they are forgotten."""
        found = await self._db.call("GET", name("attempts", what))
        left_s = await self._db.call("TTL", name("attempts", what)) if found else 0
        return int(found or 0), max(0, int(left_s))

    async def forget_attempts(self, what: str) -> None:
        await self._db.call("DEL", name("attempts", what))
