"""Accounts: a hash for each, with its state and the history of it."""

from collections.abc import Mapping

from relay.store.database import Arg, Database, flat, pairs
from relay.store.names import NAMES, name


class AccountTable:
    """What is kept of accounts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ids(self) -> list[str]:
        values = await self._db.call("SMEMBERS", NAMES["accounts"])
        return sorted(value.decode() for value in values)

    async def read(self, account_id: str) -> dict[str, str]:
        return await self._db.hash(name("account", account_id))

    async def save(self, account_id: str, fields: Mapping[str, str]) -> None:
        """Write `fields` and give the account a new version, so that no cache keeps the old one."""
        await self._db.call("HSET", name("account", account_id), *flat(fields))
        await self._db.call("HINCRBY", name("account", account_id), "version", 1)
        await self._db.call("SADD", NAMES["accounts"], account_id)
        await self._db.fsync()

    async def reset(self, account_id: str) -> None:
        """Forget how an account failed; see lua/reset.lua."""
        await self._db.run("reset", [name("account", account_id)], [account_id])

    async def book_check(
        self, account_id: str, outcome: str, state: str, reason: str, failures: int
    ) -> tuple[str, str]:
        """An account's state before and after a check; see lua/check.lua."""
        args: list[Arg] = [account_id, outcome, state, reason, failures]
        before, after = await self._db.run("check", [NAMES["accounts"]], args)
        return before.decode(), after.decode()

    async def swap(
        self, account_id: str, field: str, before: str, fields: Mapping[str, str]
    ) -> bool:
        """Write `fields` of an account if its `field` still is `before`, empty for none."""
        args = [field, before, *flat(fields)]
        done = bool(await self._db.run("swap", [name("account", account_id)], args))
        await self._db.fsync()
        return done

    async def state_changes(self, account_id: str, count: int) -> list[dict[str, str]]:
        """The last changes of an account's state, newest first, of the newest thousand."""
        rows = await self._db.call("XREVRANGE", NAMES["states"], "+", "-", "COUNT", 1000)
        changes = (pairs(fields) for _, fields in rows)
        return [change for change in changes if change["account"] == account_id][:count]

    async def remove(self, account_id: str) -> None:
        await self._db.call("SREM", NAMES["accounts"], account_id)
        await self._db.call("DEL", name("account", account_id))
        await self._db.fsync()

    async def open_leases(self, account_id: str) -> int:
        return int(await self._db.call("ZCARD", name("inflight_account", account_id)))
