"""Whether accounts are still good: a cheap question at intervals, and when one is suspected.

A client must not be able to bench an account by what it asks for, so a 401, 403 or 404 benches
nobody, nor does a text that says that there is nothing left to spend: they only make us ask the
account's API ourselves. What that costs is booked.
"""

import json
import logging
import re
import secrets
from datetime import UTC, datetime

import trio

from relay import balancer, upstream_errors
from relay.accounts import Account, AccountProblem, Accounts
from relay.dialects import bill
from relay.known_models import KnownModels
from relay.pricing import Prices
from relay.store import Booking, RedisAway, Store
from relay.upstream import UpstreamError, Upstreams
from relay.usage import RELAY_KEY, Attempt, Record, counters, decision
from relay.vault import VaultError, new_id

log = logging.getLogger("relay.checks")

FAILURES_TO_DISABLE = 5
_AT_ONCE = 8
_MOST_SUSPECTS = 100
# How often a client's doing can make us ask.
_SUSPECT_EVERY_MS = 30_000
# The same of a question that may cost something.
_SPENDING_EVERY_MS = 60_000
_LONGEST_REASON = 200
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,255}")
# What an answer of one token takes whose usage cannot be read.
_LEAST_USAGE = {"input_tokens": 10, "output_tokens": 1}


class Checks:
    """Tests accounts for all processes together.

    Args:
        every_s: how often each account is asked, whichever process does it.
    """

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        upstreams: Upstreams,
        prices: Prices,
        models: KnownModels,
        every_s: float,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._upstreams = upstreams
        self._prices = prices
        self._models = models
        self._every_ms = round(every_s * 900)
        self._owner = secrets.token_hex(8)
        self._suspect, self._suspects = trio.open_memory_channel[tuple[str, str]](_MOST_SUSPECTS)

    def suspect(self, account_id: str, *, model: str = "") -> None:
        """An account was refused: ask it soon. Never waits.

        Args:
            model: where it may have nothing left to spend, the account's name of the model that
                was asked for; else empty. What is no model's name is the client's own text,
                which must not stand in a request of ours: nothing is asked then.
        """
        if model and not _MODEL_NAME.fullmatch(model):
            return
        try:
            self._suspect.send_nowait((account_id, model))
        except trio.WouldBlock:
            log.debug("account=%s is checked at the next round", account_id)

    async def watch_suspects(self) -> None:
        """Check what is suspected, until cancelled."""
        async for account_id, model in self._suspects:
            try:
                account = await self._accounts.find(account_id)
                if model:
                    await self._check_spending_alone(account, model)
                else:
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
            if isinstance(error, UpstreamError) and (error.is_ours or error.is_local):
                log.warning("account=%s was not checked: %s", account.name, error)
            else:
                # No answer says less than one of an error: it may lie on the way there.
                outcome = "silent" if isinstance(error, UpstreamError) else "failed"
                await self._book(account, outcome, "", str(error))
            return
        if result.ok:
            await self._book(account, "ok", "", "")
            await self._models.learn(account.id, result.listed)
        elif result.is_refused:
            kind = self._accounts.kind({"kind": account.kind})
            await self._book(account, "refused", kind.refused, result.message)
        elif result.status is None:
            await self._book(account, "silent", "", result.message)
        elif result.status >= 500:
            await self._book(account, "failed", "", result.message)
        # Any other answer says nothing of the credential.

    async def _check_spending_alone(self, account: Account, model: str) -> None:
        if await self._store.lock(f"spending:{account.id}", self._owner, _SPENDING_EVERY_MS):
            await self.check_spending(account, model)

    async def check_spending(self, account: Account, model: str) -> None:
        """Ask an account for the smallest answer, and let it cool down if it has nothing to spend.

        Nothing of a client is in that request but the model's name, which is one word; what is
        looked for in the answer begins with several.
        """
        try:
            answer = await self._accounts.smallest(account.id, model, self._upstreams)
        except (UpstreamError, AccountProblem, VaultError) as error:
            log.info("account=%s could not be asked what it may spend: %s", account.name, error)
            return
        says = upstream_errors.read(answer.headers, answer.body)
        if says.may_be_the_accounts(answer.status) or says.is_spend_cap(answer.status):
            rest_s = says.regained_s() or balancer.SPEND_CAP_REST_S
            reason = says.message[:_LONGEST_REASON]
            await self._book(account, "spent", balancer.EXHAUSTED, reason, round(rest_s * 1000))
        elif answer.status == 200:
            await self._book_answer(account, model, answer.body)

    async def _book_answer(self, account: Account, model: str, body: bytes) -> None:
        """Put a request of our own on the books, as one of the key `relay`."""
        try:
            usage = json.loads(body)["usage"]
            billed = bill.bill_of(usage, bill.Answer(model, model))
        except (ValueError, KeyError, TypeError, AttributeError):
            billed = bill.bill_of(_LEAST_USAGE, bill.Answer(model, model))
        attempt = Attempt(
            account.id, account.name, "ok", 200, "", billed.tokens,
            self._prices.charge(billed.parts), False, None, 0,
        )  # fmt: skip
        record = Record(
            request_id=new_id("req"), time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            key_id=RELAY_KEY, key_name=RELAY_KEY, session="", agent="", client="relay",
            dialect="anthropic", model=model, model_served=model, stream=False, status=200,
            stop_reason="", error="", affinity="", cost_micros=attempt.cost_micros,
            first_byte_ms=None, duration_ms=0, attempts=(attempt,),
        )  # fmt: skip
        why = decision(record, 1, {}, "whether the account has anything left to spend")
        await self._store.leases.settle(
            Booking(
                record.request_id, "settled", model, counters(record, model), record.to_json(),
                why.to_json(), key_id=RELAY_KEY, account_id=account.id,
            )
        )  # fmt: skip

    async def _book(
        self, account: Account, outcome: str, state: str, reason: str, rest_ms: int = 0
    ) -> None:
        before, after = await self._store.accounts.book_check(
            account.id, outcome, state, reason, FAILURES_TO_DISABLE, rest_ms
        )
        if before != after:
            log.warning("account=%s was %s and is %s now. %s", account.name, before, after, reason)
