"""One request's way through the store, and what happens to a lease whose process dies."""

import json
from collections.abc import Iterable, Mapping, Sequence

from relay.store.database import Arg, Database, flat
from relay.store.names import NAMES
from relay.store.values import (
    COUNTERS_LIFE_S,
    NO_LIMITS,
    NOBODY,
    NOTHING,
    PLACES,
    Admitted,
    Again,
    Booking,
    BrokenLease,
    Caller,
    Estimate,
    Moved,
    Orphan,
    Refused,
    RelayLimits,
    Rest,
    Waiting,
)

_DECISION_LIFE_S = 7 * 24 * 3600
_CORRECTION_LIFE_S = 24 * 3600
# Three missed heartbeats and a little: a process that is silent this long is dead.
_DEATH_MS = 10_000
# A call that has not been heard of for so long waits no more: its process is dead or stuck.
_SILENCE_MS = 2_000
# Nobody looked for this long: Redis was away or its clock jumped. Living processes look every three
# seconds; with a missed heartbeat before it, a jump of less than this does not look like a death.
_GAP_MS = 5_000


class LeaseTable:
    """Open leases: each is granted, moved, booked and found again by one script."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def admit(
        self,
        lease: str,
        process: str,
        key_id: str,
        key_hash: str,
        *,
        kind: str,
        model: str = "",
        model_class: str = "",
        bound: str = "",
        affinity: str = "",
        caller: Caller = NOBODY,
        estimate: Estimate = NOTHING,
        limits: RelayLimits = NO_LIMITS,
        waited: str = "",
        named: Sequence[str] = (),
        also: Iterable[str] = (),
    ) -> Admitted | Refused | Waiting:
        """Ask for a lease; see lua/admit.lua.

        Args:
            bound: the account that must serve, or ''.
            affinity: a conversation that should stay where it was, or ''.
            waited: '', or 'waits' when it has stood in line, or 'last' when it may not any more.
            named: what it names that lives in one account; see homes.entry().
            also: models that it names beside its own.
        """
        args: list[Arg] = [lease, process, key_id, key_hash, model, model_class, kind, bound]
        args += [affinity, "\n".join(caller.clients), caller.address, estimate.most_micros]
        args += [estimate.input_micros, estimate.input_tokens, estimate.unbounded]
        args += [limits.rate_max, limits.rate_ms, limits.concurrency, limits.budgets]
        args += [limits.most_waiting, limits.wait_ms, waited]
        args += [estimate.max_tokens, estimate.output_micros, limits.soft_burst]
        args += [limits.key_percent, estimate.most_global_micros]
        args += ["\n".join(named), "\n".join(also)]
        reply = await self._db.run("admit", [NAMES["leases"]], args)
        if reply[0] == b"refused":
            code, detail, back_s = (part.decode() for part in reply[1:4])
            return Refused(code, detail, back_s, reply[4])
        if reply[0] == b"wait":
            return Waiting(reply[1].decode(), reply[2])
        _, account, version, account_name, key_name, models, shows, able, stays = reply[:9]
        return Admitted(
            account_id=account.decode(),
            account_version=version.decode(),
            account_name=account_name.decode(),
            key_name=key_name.decode(),
            key_models=_lines(models.decode()),
            shows_account=shows == b"1",
            candidates=able,
            affinity=stays.decode(),
            skipped=_skipped(reply[9]),
            budget=json.loads(reply[10]) if reply[10] else None,
            is_trial=reply[11] == 1,
        )

    async def wait(
        self, waiting: Mapping[str, str], left: Mapping[str, str], limits: RelayLimits
    ) -> set[str]:
        """Which of the waiting leases have a slot before them now; see lua/wait.lua.

        Args:
            waiting: scope by lease.
            left: key by lease, of those that wait no more.
        """
        args: list[Arg] = [_SILENCE_MS, limits.concurrency, limits.key_percent]
        args += [len(left), *flat(left), *flat(waiting)]
        reply = await self._db.run("wait", [NAMES["waiting_seen"]], args)
        return {lease.decode() for lease in reply}

    async def move_on(
        self,
        lease: str,
        rest: Rest,
        tried: Sequence[str],
        *,
        most_pause_ms: int | None = None,
        lost_micros: int = 0,
        lost: bytes = b"",
        limits: RelayLimits = NO_LIMITS,
        waited: str = "last",
    ) -> Moved | Again | Waiting | None:
        """Another account for a lease, the same one again, a place in line, or None.

        See lua/move_on.lua.

        Args:
            most_pause_ms: it may wait for so long before it asks the same account again; None
                when it may not ask it again.
            lost_micros: what the failed attempt is booked with.
            lost: that attempt as JSON, kept in case that the process dies.
            waited: '', or 'waits' when it has stood in line, or 'last' when it may not any more.
        """
        args: list[Arg] = [lease, rest.state, rest.model_class, rest.reason, rest.rest_ms]
        args += [rest.least, "" if most_pause_ms is None else most_pause_ms, lost_micros, lost]
        args += [int(rest.may_be_shared), limits.most_waiting, waited, limits.key_percent, *tried]
        reply = await self._db.run("move_on", [NAMES["leases"]], args)
        if reply[0] == b"wait":
            return Waiting("accounts", limits.wait_ms)
        if reply[0] == b"again":
            return Again(int(reply[1]))
        if reply[0] != b"moved":
            return None
        account, version, account_name = (part.decode() for part in reply[1:4])
        return Moved(account, version, account_name, _skipped(reply[4]), reply[5] == 1)

    async def served(self, lease: str) -> None:
        """A trial of an account is being answered well: end its cooldown; see lua/served.lua."""
        await self._db.run("served", [NAMES["leases"]], [lease])

    async def settle(self, booking: Booking) -> int:
        """Book a lease once; see lua/settle.lua. Safe to repeat.

        Cancellation: the answer, or its deadline, comes first.
        """
        groups: dict[tuple[str, str], list[Arg]] = {}
        for (account_id, model, counter), amount in booking.counters.items():
            groups.setdefault((account_id, model), []).extend((PLACES[counter], amount))
        args: list[Arg] = [booking.lease, booking.state, booking.record, booking.decision]
        args += [_DECISION_LIFE_S, COUNTERS_LIFE_S, _CORRECTION_LIFE_S]
        args += [int(booking.is_well), booking.model, *(booking.headroom or ("", ""))]
        args += [booking.tokens, booking.key_id, booking.account_id, "\n".join(booking.made)]
        args += [*booking.place, booking.account_version]
        for (account_id, model), figures in groups.items():
            args += (account_id, model, len(figures), *figures)
        return int(await self._db.run("settle", [NAMES["leases"]], args, bound=True))

    async def heartbeat(self, progress: Iterable[tuple[str, int, int, int]]) -> int:
        """Keep leases alive: (lease, attempt, input tokens, characters sent).

        Returns how many still are.
        """
        args = [part for row in progress for part in row]
        return int(await self._db.run("heartbeat", [NAMES["leases"]], args))

    async def orphans(self) -> list[Orphan | BrokenLease]:
        """Leases of dead processes; looking also tells Redis that somebody looks."""
        keys = [NAMES["leases"], NAMES["leases_seen"]]
        rows = await self._db.run("orphans", keys, [_DEATH_MS, _GAP_MS])
        return [_orphan(*row) for row in rows]

    async def set_aside(self, lease: str, why: str) -> bool:
        """Close a lease that cannot be settled; whether it was open. See lua/set_aside.lua."""
        keys = [NAMES["leases"], NAMES["leases_aside"]]
        return bool(await self._db.run("set_aside", keys, [lease, why]))

    async def aside(self, since_ms: int) -> list[BrokenLease]:
        """Leases that were put aside since a time (Unix ms), newest first."""
        rows = await self._db.call("XREVRANGE", NAMES["leases_aside"], "+", since_ms)
        return [BrokenLease(fields[1].decode(), fields[3].decode()) for _, fields in rows]

    async def count(self) -> int:
        return int(await self._db.call("ZCARD", NAMES["leases"]))


def _skipped(text: bytes) -> dict[str, list[str]]:
    """Accounts that could not serve, as choose.lua tells them; mostly there are none."""
    return json.loads(text) if text else {}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


def _orphan(lease: bytes, *fields: bytes) -> Orphan | BrokenLease:
    try:
        key, account, model, kind, started, tokens, chars, lost = (one.decode() for one in fields)
        figures = int(started), int(tokens), int(chars)
    except ValueError as error:
        return BrokenLease(lease.decode(), f"its fields cannot be read: {error}")
    return Orphan(lease.decode(), key, account, model, kind, *figures, _lines(lost.rstrip("\n")))
