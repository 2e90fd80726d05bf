"""What Redis and the relay's data in it tell."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from relay import tariff
from relay.accounts import Account, AccountProblem, Accounts, kinds
from relay.alerts import Alerts
from relay.monitor.seen import Stored
from relay.pricing import PricesError
from relay.reconcile import standings
from relay.settings import Settings
from relay.store import DatabaseLost, RedisAway, ReplyError, Store
from relay.usage import Unpriced, unpriced
from relay.vault import Vault, VaultError

_PATIENCE_S = 3.0
_SPAN_MS = 5 * 60 * 1000
_DAY_MS = 24 * 3600 * 1000
# Of a busier relay the newest tell enough.
_MOST_RECORDS = 5000
# Ends that are nobody's failure, or the client's.
_NO_FAILURE = {"", "client_gone", "shutdown"}
_REFUSED = "credential_refused"


class _Ended(msgspec.Struct):
    """How a request ended, of its record."""

    status: int | None
    error: str
    kind: str = "messages"


async def look(opened: Store, settings: Settings, alerts: Alerts) -> Stored:
    """What Redis tells now."""
    try:
        await opened.ping(_PATIENCE_S)
        figures = await opened.upkeep.figures()
        accounts, sealed, problem = await _accounts(opened, settings)
        requests, failures = await _requests(opened)
        return Stored(
            unwritable=await _unwritable(opened),
            figures=figures,
            backups=await opened.upkeep.backup_notes(),
            accounts=accounts,
            accounts_problem=problem,
            sealed=sealed,
            requests=requests,
            failures=failures,
            own_errors=await _own_errors(opened),
            aside=await opened.leases.aside(await opened.upkeep.now_ms() - _DAY_MS),
            webhooks=await alerts.standings(),
            unpriced=await _unpriced(opened, settings),
            books=await standings(opened),
        )
    except DatabaseLost as lost:
        return Stored(problem=str(lost), is_lost=True)
    except RedisAway as away:
        reason = str(away)
        return Stored(problem=reason, is_refused=reason.startswith("Redis refuses"))


async def _unpriced(opened: Store, settings: Settings) -> Sequence[Unpriced]:
    """Models without a row; a table that cannot be read is another check's."""
    try:
        prices = await tariff.in_force(opened, settings)
    except PricesError:
        return ()
    return await unpriced(opened, prices)


async def _unwritable(opened: Store) -> str:
    try:
        await opened.upkeep.try_writing()
    except (RedisAway, ReplyError) as error:
        return str(error)
    return ""


async def _accounts(
    opened: Store, settings: Settings
) -> tuple[Sequence[Account] | None, Mapping[str, str], str]:
    """The accounts, which of them do not open and why, and why there are none to be seen."""
    sealed = {}
    try:
        safe = _vault(settings)
        accounts = Accounts(opened, safe, kinds.table(None), settings.proxy)
        found = await accounts.list()
    except VaultError as error:
        return None, {}, str(error)
    for one in found:
        try:
            accounts.kept(one.id, await accounts.fields(one.id))
        except VaultError as error:
            sealed[one.name] = str(error)
        except AccountProblem:
            # Removed a moment ago.
            continue
    return found, sealed, ""


def _vault(settings: Settings) -> Vault:
    reveal: Callable[..., str | None] = lambda one: one and one.reveal()  # noqa: E731
    return Vault(
        settings.encrypt_key.reveal(),
        settings.jwt_secret.reveal(),
        reveal(settings.previous_encrypt_key),
    )


async def _requests(opened: Store) -> tuple[int, int]:
    """How many requests ended in the last five minutes, and how many of them failed."""
    since_ms = await opened.upkeep.now_ms() - _SPAN_MS
    ended = [
        msgspec.json.decode(entry.record, type=_Ended)
        for entry in await opened.usage.newest_first(_MOST_RECORDS, since_ms=since_ms)
        if entry.record and entry.state != "repriced"
    ]
    ended = [one for one in ended if one.kind != "hours"]
    return len(ended), sum(is_failure(one.status, one.error) for one in ended)


async def _own_errors(opened: Store) -> Mapping[str, int]:
    """What failed in the last five minutes and left no record."""
    now_ms = await opened.upkeep.now_ms()
    return await opened.usage.own_errors(now_ms - _SPAN_MS, now_ms)


def is_failure(status: int | None, error: str) -> bool:
    """Whether a request failed through no fault of its client."""
    if error == _REFUSED or (status is not None and status >= 500):
        return True
    return (status is None or status < 400) and error not in _NO_FAILURE
