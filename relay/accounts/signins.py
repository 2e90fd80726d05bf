"""Signing accounts in: OAuth in a browser or by a pasted code, and tokens renewed in time.

A refresh token works once at many providers, so one process renews at a time (a lock in Redis),
and what comes back is stored before it is used.
"""

import json
import logging
import secrets
import time
from collections.abc import Mapping

import trio

from relay import oauth
from relay.accounts.register import Accounts
from relay.accounts.values import Account, AccountProblem
from relay.audit import Audit
from relay.store import Store
from relay.vault import Vault

log = logging.getLogger("relay.accounts")

_PENDING_LIFE_S = 600
_RENEW_BEFORE_S = 300.0
_RENEW_DEADLINE_S = 30.0
_UNLOCK_DEADLINE_S = 5.0
# Longer than a renewal may take.
_LOCK_LIFE_MS = 45_000
# A federation's refusal may heal at the provider; a refused refresh token never does.
_REFUSED_AGAIN_S = 300.0
NOT_SET = (
    "There is no OAuth provider: set CLAUDE_OAUTH_CLIENT_ID, CLAUDE_OAUTH_REDIRECT_URI,"
    " CLAUDE_OAUTH_AUTHORIZE_URL and CLAUDE_OAUTH_TOKEN_URL."
)


class SignIns:
    """Tokens of the accounts that sign in."""

    def __init__(
        self, store: Store, vault: Vault, accounts: Accounts, provider: oauth.Provider | None
    ) -> None:
        self._store = store
        self._vault = vault
        self._accounts = accounts
        self._audit = Audit(store, vault)
        self._provider = provider
        self._owner = secrets.token_hex(8)

    async def begin(self, name_or_id: str) -> oauth.SignIn:
        """Start the sign-in of an account of kind oauth: the address to open in a browser."""
        account = await self._accounts.find(name_or_id)
        if account.kind != "oauth":
            raise AccountProblem(
                f"{account.name} is of kind {account.kind}; nobody signs in there."
            )
        if self._provider is None:
            raise AccountProblem(NOT_SET)
        begun = oauth.begin(self._provider)
        pending = json.dumps({"account": account.id, "verifier": begun.verifier})
        record = self._vault.encrypt(pending, purpose=f"signin:{begun.state}")
        await self._store.signins.keep(begun.state, record, _PENDING_LIFE_S)
        return begun

    async def finish(self, state: str, code: str) -> Account:
        """Exchange the code that came back for tokens; a state works once.

        Raises:
            AccountProblem: nobody waits for this sign-in (any more).
            oauth.OAuthProblem: the provider does not give tokens for it.
        """
        record = await self._store.signins.take(state)
        if record is None:
            await self._store.confirm()
        if record is None or self._provider is None:
            raise AccountProblem("Nobody waits for this sign-in, or it came too late. Begin again.")
        pending = json.loads(self._vault.decrypt(record, purpose=f"signin:{state}"))
        account_id, verifier = pending["account"], pending["verifier"]
        fields = await self._accounts.fields(account_id)
        proxy = self._accounts.kept(account_id, fields).proxy
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _RENEW_DEADLINE_S):
            grant = await oauth.exchange(self._provider, code, verifier, proxy=proxy)
            await self._store.accounts.change(account_id, self._granted(account_id, grant))
            await self._store.accounts.reset(account_id)
            account = await self._accounts.find(account_id)
            await self._audit.note("account.sign_in", account.name, None, {"email": account.email})
            return account
        raise AccountProblem("The provider took too long. Begin again.")

    async def is_pending(self, state: str) -> bool:
        """Whether a sign-in still waits for its answer."""
        return await self._store.signins.has(state)

    def _granted(self, account_id: str, grant: oauth.Grant) -> dict[str, str]:
        lifetime_s = grant.expires_at - time.time()
        renew_at = grant.expires_at - min(_RENEW_BEFORE_S, lifetime_s / 2)
        secrets_now = {"token": grant.access_token, "secret": grant.refresh_token}
        return {
            **self._accounts.sealed(account_id, secrets_now),
            "token_until": _ms(grant.expires_at),
            "token_renew_at": _ms(renew_at),
        }

    async def renew_due(self) -> None:
        """Renew every token that is near its end, unless another process is at it."""
        async with trio.open_nursery() as nursery:
            for account_id in await self._store.accounts.ids():
                if self._is_due(await self._store.accounts.read(account_id)):
                    nursery.start_soon(self._renew_alone, account_id)

    def _is_due(self, fields: Mapping[str, str]) -> bool:
        if not fields or not self._accounts.kind(fields).signs_in or fields["enabled"] != "1":
            return False
        due_at = fields.get("token_renew_at")
        if due_at is None:
            # It never had a token: federation gets one by itself, OAuth by a person.
            return fields["kind"] == "federation"
        return due_at != "" and int(due_at) <= time.time() * 1000

    async def _renew_alone(self, account_id: str) -> None:
        what = f"renew:{account_id}"
        if not await self._store.lock(what, self._owner, _LOCK_LIFE_MS):
            return
        try:
            # Finished once begun: a refresh token that was used and not stored is lost.
            with trio.move_on_after(_RENEW_DEADLINE_S, shield=True):
                fields = await self._store.accounts.read(account_id)
                if self._is_due(fields):
                    await self._renew(account_id, fields)
        finally:
            with trio.move_on_after(_UNLOCK_DEADLINE_S, shield=True):
                await self._store.unlock(what, self._owner)

    async def _renew(self, account_id: str, fields: Mapping[str, str]) -> None:
        kind = self._accounts.kind(fields)
        try:
            grant = await kind.renew(self._accounts.kept(account_id, fields))
        except oauth.GrantRefused as error:
            log.warning("account=%s cannot renew its token: %s", fields["name"], error)
            again = _ms(time.time() + _REFUSED_AGAIN_S) if fields["kind"] == "federation" else ""
            await self._store.accounts.change(account_id, {"token_renew_at": again})
            await self._store.accounts.book_check(
                account_id, "refused", kind.refused, str(error), 1
            )
        except (oauth.OAuthProblem, AccountProblem) as error:
            log.warning("account=%s will try to renew its token again: %s", fields["name"], error)
        else:
            granted = self._granted(account_id, grant)
            # Somebody may have signed in anew meanwhile, which is the newer grant, or moved the
            # account, which must not send this token there.
            field = "secret" if fields.get("secret") else "version"
            if await self._store.accounts.change(
                account_id, granted, field=field, before=fields.get(field, "")
            ):
                await self._store.accounts.book_check(account_id, "ok", "", "", 1)


def _ms(unix_s: float) -> str:
    return str(round(unix_s * 1000))
