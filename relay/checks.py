"""Whether accounts are still good: a cheap question at intervals, and when one is suspected.

A client must not be able to bench an account by what it asks for, so a 401, 403 or 404 benches
nobody: it only makes us ask the account's API ourselves.
"""

import logging
import secrets

import trio

from relay.accounts import Account, AccountProblem, Accounts
from relay.store import RedisAway, Store
from relay.upstream import UpstreamError, Upstreams
from relay.vault import VaultError

log = logging.getLogger("relay.checks")

FAILURES_TO_DISABLE = 5
_AT_ONCE = 8
_MOST_SUSPECTS = 100
# How often a client's doing can make us ask.
_SUSPECT_EVERY_MS = 30_000


class Checks:
    """Tests accounts for all processes together.

    Args:
        every_s: how often each account is asked, whichever process does it.
    """

    def __init__(
        self, store: Store, accounts: Accounts, upstreams: Upstreams, every_s: float
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._upstreams = upstreams
        self._every_ms = round(every_s * 900)
        self._owner = secrets.token_hex(8)
        self._suspect, self._suspects = trio.open_memory_channel[str](_MOST_SUSPECTS)

    def suspect(self, account_id: str) -> None:
        """An account was refused: ask it soon. Never waits."""
        try:
            self._suspect.send_nowait(account_id)
        except trio.WouldBlock:
            log.debug("account=%s is checked at the next round", account_id)

    async def watch_suspects(self) -> None:
        """Check what is suspected, until cancelled."""
        async for account_id in self._suspects:
            try:
                account = await self._accounts.find(account_id)
                await self._check_alone(account, "suspect", _SUSPECT_EVERY_MS)
            except (RedisAway, AccountProblem) as error:
                log.debug("account=%s was not checked: %s", account_id, error)
            except Exception:
                # The next suspect must be checked whatever this one was.
                log.exception("account=%s could not be checked", account_id)

    async def check_all(self) -> None:
        """Check every account that a person has not disabled."""
        limit = trio.CapacityLimiter(_AT_ONCE)

        async def check(account: Account) -> None:
            async with limit:
                await self._check_alone(account, "check", self._every_ms)

        async with trio.open_nursery() as nursery:
            for account in await self._accounts.list():
                if account.enabled:
                    nursery.start_soon(check, account)

    async def _check_alone(self, account: Account, why: str, life_ms: int) -> None:
        if await self._store.lock(f"{why}:{account.id}", self._owner, life_ms):
            await self.check(account)

    async def check(self, account: Account) -> None:
        """Ask one account, and let what it says change its state."""
        try:
            result = await self._accounts.test(account.id, self._upstreams)
        except (UpstreamError, AccountProblem, VaultError) as error:
            await self._book(account, "failed", "", str(error))
            return
        if result.ok:
            await self._book(account, "ok", "", "")
        elif result.is_refused:
            kind = self._accounts.kind({"kind": account.kind})
            await self._book(account, "refused", kind.refused, result.message)
        elif result.status is None or result.status >= 500:
            await self._book(account, "failed", "", result.message)
        # Any other answer says nothing of the credential.

    async def _book(self, account: Account, outcome: str, state: str, reason: str) -> None:
        before, after = await self._store.accounts.book_check(
            account.id, outcome, state, reason, FAILURES_TO_DISABLE
        )
        if before != after:
            log.warning("account=%s was %s and is %s now. %s", account.name, before, after, reason)
