"""Accounts: a hash for each, with its state and the history of it."""

from collections.abc import Mapping

from relay.store.database import Arg, pairs
from relay.store.names import NAMES, name
from relay.store.records import Records


class AccountTable(Records):
    """What is kept of accounts."""

    kind = "account"
    index = "accounts"

    async def ids(self) -> list[str]:
        values = await self._db.call("SMEMBERS", NAMES["accounts"])
        return sorted(value.decode() for value in values)

    async def add(self, account_id: str, fields: Mapping[str, str]) -> None:
        """Keep a new account. Raises NameTaken."""
        await self._create(account_id, {**fields, "version": "1"})

    async def reset(self, account_id: str) -> None:
        """Forget how an account failed; see lua/reset.lua."""
        await self._db.run("reset", [name("account", account_id)], [account_id])

    async def book_check(
        self,
        account_id: str,
        outcome: str,
        state: str,
        reason: str,
        failures: int,
        rest_ms: int = 0,
    ) -> tuple[str, str]:
        """An account's state before and after a check; see lua/check.lua."""
        args: list[Arg] = [account_id, outcome, state, reason, failures, rest_ms]
        before, after = await self._db.run("check", [NAMES["accounts"]], args)
        return before.decode(), after.decode()

    async def state_changes(self, account_id: str, count: int) -> list[dict[str, str]]:
        """The last changes of an account's state, newest first, of the newest thousand."""
        rows = await self._db.call("XREVRANGE", NAMES["states"], "+", "-", "COUNT", 1000)
        changes = (pairs(fields) for _, fields in rows)
        return [change for change in changes if change["account"] == account_id][:count]

    async def remove(self, account_id: str) -> None:
        await self._db.call("SREM", NAMES["accounts"], account_id)
        await self._db.call("DEL", name("account", account_id))
        await self._db.call("HDEL", name("models"), account_id)
        await self._db.fsync()

    async def open_leases(self, account_id: str) -> int:
        return int(await self._db.call("ZCARD", name("inflight_account", account_id)))
