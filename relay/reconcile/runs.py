"""A comparison: reads both books, books hours, stores what came of it, and reports what drifts."""

import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import trio

from relay.accounts import Accounts
from relay.alerts import Alerts
from relay.audit import Audit
from relay.pricing import Prices
from relay.reconcile import hours, ledger, places
from relay.reconcile.admin_api import AdminApi
from relay.reconcile.compare import Day, compare, settled
from relay.reconcile.keys import AdminKey, AdminKeyProblem, AdminKeys, ReconcileProblem
from relay.reconcile.places import Places
from relay.reconcile.reports import AdminApiProblem
from relay.reconcile.standings import Result, Standing, standing_of, standings
from relay.store import Store
from relay.upstream import Upstreams
from relay.usage import dollars
from relay.vault import VaultError

log = logging.getLogger("relay.reconcile")

# Days that are compared each day, since they may still change; and the most that one run compares.
_USUAL_DAYS, MOST_DAYS = 7, 60
# Results, and what hours were booked, are remembered longer than any run looks back.
_REMEMBERED_DAYS = 100
# Reports lag by minutes; by then nearly all of a day is there.
_DUE_AT = timedelta(hours=3)
_AGAIN_AFTER = timedelta(hours=1)
_LOCK_MS = 20 * 60_000
RUN_DEADLINE_S = 15 * 60.0
_TOO_LONG = "Comparing the books took too long and was given up."
_UNLOCK_DEADLINE_S = 2.0
_MOST_STORED, _MOST_TOLD = 20, 10
_ONCE_FOR_S = 100 * 86_400.0


class Reconciler:
    """Compares the ledger with the books of each organisation that has an admin key.

    Args:
        proxy: the outbound proxy, as of accounts that name none.
        wait: how a pause before another try at the Admin API is made.
    """

    def __init__(
        self,
        store: Store,
        keys: AdminKeys,
        accounts: Accounts,
        upstreams: Upstreams,
        prices: Prices,
        alerts: Alerts,
        audit: Audit,
        proxy: str | None = None,
        wait: Callable[[float], Awaitable[object]] = trio.sleep,
    ) -> None:
        self._store = store
        self._keys = keys
        self._accounts = accounts
        self._upstreams = upstreams
        self._prices = prices
        self._alerts = alerts
        self._audit = audit
        self._proxy = proxy
        self._wait = wait

    async def run_due(self, now: datetime | None = None) -> None:
        """Compare what is due: each day once, at once for a new key, hourly while it fails.

        Of all processes one does it.

        Args:
            now: UTC; the present when None.
        """
        now = now or datetime.now(UTC)
        for key in await self._keys.list():
            if not _is_due(key, now):
                continue
            try:
                await self.run(key.id, now=now)
            except (ReconcileProblem, AdminKeyProblem) as problem:
                log.warning("admin_key=%s was not compared: %s", key.name, problem)

    async def run(
        self,
        name_or_id: str,
        since: date | None = None,
        until: date | None = None,
        now: datetime | None = None,
    ) -> Sequence[Result]:
        """Compare the days (UTC) from `since` to `until`; the last week when they are left out.

        Args:
            now: UTC; the present when None.

        Raises:
            AdminKeyProblem: there is no such admin key.
            ReconcileProblem: the days cannot be compared, the reports cannot be read, or another
                run is under way.
        """
        key = await self._keys.find(name_or_id)
        now = now or datetime.now(UTC)
        days = _days(since, until, now)
        owner, lock = os.urandom(8).hex(), f"reconcile:{key.id}"
        if not await self._store.lock(lock, owner, _LOCK_MS):
            raise ReconcileProblem(f"The books of {key.name} are being compared already.")
        found, why, at = None, "", str(round(now.timestamp() * 1000))
        try:
            # A run that is broken off is not begun again at once.
            await self._keys.note(key.id, {"tried_at": at})
            try:
                with trio.move_on_after(RUN_DEADLINE_S):
                    found = await self._compare(key, days)
                if found is None:
                    why = _TOO_LONG
            except (AdminApiProblem, VaultError, ReconcileProblem) as problem:
                why = str(problem)
            await self._keys.note(key.id, {"checked_at": at, "error": why})
            if found is None:
                await self._report_failure(key, why, now)
                raise ReconcileProblem(why)
            return found
        finally:
            with trio.move_on_after(_UNLOCK_DEADLINE_S, shield=True):
                await self._store.unlock(lock, owner)

    async def standings(self) -> Sequence[Standing]:
        """How the books of each organisation compare, as of the last runs."""
        return await standings(self._store)

    async def standing(self, name_or_id: str) -> Standing:
        """The same of one organisation. Raises AdminKeyProblem."""
        return await standing_of(self._store, await self._keys.find(name_or_id))

    async def _compare(self, key: AdminKey, days: Sequence[str]) -> Sequence[Result]:
        secret = await self._keys.secret(key.id)
        api = AdminApi(self._upstreams, key.base_url, secret, self._proxy, self._wait)
        where = await places.of(key, api, self._keys, self._accounts)
        before = await self._store.admin_keys.results(key.id)
        ours = await ledger.counted(self._store, days)
        # Before its first request the relay had no part in the books.
        used = [day for day in days if ours[day]]
        first = min([*before, *used], default=days[-1])
        days = [day for day in days if day >= first and (before or used)]
        if not days:
            return []
        compared = await self._days_of(api, where, ours, days)
        booked = await hours.book(self._store, self._audit, where, key, compared, ours)
        await hours.report_anew(self._store, self._prices, booked)
        names = {account.id: account.name for account in await self._accounts.list()}
        results = [_result(day, names) for day in compared]
        for result in results:
            await self._report_drift(key, result)
        limit = f"{datetime.now(UTC).date() - timedelta(days=_REMEMBERED_DAYS)}"
        stored = {result.day: msgspec.json.encode(result).decode() for result in results}
        await self._store.admin_keys.store_results(key.id, stored, limit)
        await self._store.admin_keys.forget_hours(limit)
        return results

    async def _days_of(
        self,
        api: AdminApi,
        where: Places,
        ours: Mapping[str, ledger.Amounts],
        days: Sequence[str],
    ) -> Sequence[Day]:
        """Each day by both books."""
        first, last = (date.fromisoformat(day) for day in (days[0], days[-1]))
        used, costs = await api.usage(first, last), await api.cost(first, last)
        return settled(
            [
                compare(
                    day,
                    where,
                    ours[day],
                    [row for row in used if row.day == day],
                    [row for row in costs if row.day == day],
                    self._prices,
                )
                for day in days
            ]
        )

    async def _report_drift(self, key: AdminKey, result: Result) -> None:
        """Tell the webhooks of a day that differs, once for the same models and classes."""
        if not result.differs:
            return
        worst = result.lines[0]
        what = [f"{line['account']}/{line['model']}/{line['tokenClass']}" for line in result.lines]
        text = "\n".join(_in_words(line) for line in result.lines[:_MOST_TOLD])
        await self._alerts.add(
            "reconcile",
            f"The books of {key.name} differ from Anthropic's on {result.day}",
            f"{text}\n`relay reconcile {key.name} --from {result.day}` shows all of it.",
            once=f"reconcile:{key.id}:{result.day}:{_digest(what)}",
            once_for_s=_ONCE_FOR_S,
            organization=key.name,
            day=result.day,
            **{name: str(worst[name]) for name in ("workspace", "account", "model", "tokenClass")},
            oursMicros=str(result.ours),
            theirsMicros=str(result.theirs),
        )

    async def _report_failure(self, key: AdminKey, why: str, now: datetime) -> None:
        """Tell the webhooks, once a day, that an organisation's books cannot be compared."""
        await self._alerts.add(
            "reconcile",
            f"The books of {key.name} could not be compared with Anthropic's",
            why,
            once=f"reconcile:{key.id}:failed:{now:%Y-%m-%d}",
            organization=key.name,
        )


def _is_due(key: AdminKey, now: datetime) -> bool:
    if key.tried_at is None:
        return True
    if key.error or key.checked_at is None or key.checked_at < key.tried_at:
        return now - key.tried_at >= _AGAIN_AFTER
    today = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DUE_AT
    return now >= today > key.checked_at


def _days(since: date | None, until: date | None, now: datetime) -> list[str]:
    """The whole days (UTC) that are compared.

    Raises:
        ReconcileProblem: there are none, or too many.
    """
    last = min(until or date.max, now.date() - timedelta(days=1))
    first = since or last - timedelta(days=_USUAL_DAYS - 1)
    if first > last:
        raise ReconcileProblem("Only whole days are compared, from one day to a later one.")
    if first < now.date() - timedelta(days=MOST_DAYS):
        raise ReconcileProblem(f"Days of the last {MOST_DAYS} are compared, none before.")
    return [f"{first + timedelta(days=number)}" for number in range((last - first).days + 1)]


def _result(day: Day, names: Mapping[str, str]) -> Result:
    lines = [
        {
            "workspace": line.unit.workspace,
            "account": names.get(line.unit.account, line.unit.account),
            "model": line.model,
            "oursMicros": line.ours,
            "theirsMicros": line.theirs,
            "tokenClass": line.class_name,
            "because": line.because,
            "ourTokens": line.our_tokens,
            "theirTokens": line.their_tokens,
        }
        for line in day.differing[:_MOST_STORED]
    ]
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(day.day, day.ours, day.theirs, sum(day.hours.values()), lines, at)


def _in_words(line: Mapping[str, object]) -> str:
    ours, theirs = int(str(line["oursMicros"])), int(str(line["theirsMicros"]))
    text = f"{line['model'] or 'no model'}"
    if line["account"]:
        text += f" at {line['account']}"
    text += f": {dollars(ours)} here, {dollars(theirs)} there"
    match line["because"]:
        case "tokens":
            return (
                f"{text}; {line['tokenClass']} drifts most: {line['ourTokens']} here,"
                f" {line['theirTokens']} there"
            )
        case "price":
            return f"{text}; the tokens are equal, the price of {line['tokenClass']} is not"
    return f"{text}; no model alone, but the sum differs"


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()[:16]
