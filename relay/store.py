"""The relay's data in Redis: every key name and every script stands here and nowhere else.

The other rooms see typed methods. Scripts lie in lua/ and decide atomically; the table of names
and what they share stand before each. All names share one hash tag, so the scripts run on a
Cluster as well.
"""

import contextlib
import hashlib
import importlib.resources
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.redis_link import CALL_DEADLINE_S, Arg, RedisAway, RedisLink, ReplyError, linked

__all__ = [
    "Admitted",
    "Again",
    "Booking",
    "Moved",
    "Orphan",
    "RedisAway",
    "Refused",
    "ReplyError",
    "Rest",
    "Store",
    "opened",
]

SCHEMA_VERSION = "1"

NAMES = {
    "schema": "{relay}:schema",
    "key": "{relay}:key:%s",
    "key_by_hash": "{relay}:key:by-hash",
    "account": "{relay}:account:%s",
    "accounts": "{relay}:accounts",
    "lease": "{relay}:lease:%s",
    "leases": "{relay}:leases",
    "leases_seen": "{relay}:leases:seen",
    "booked": "{relay}:booked:%s",
    "inflight_key": "{relay}:inflight:key:%s",
    "inflight_account": "{relay}:inflight:account:%s",
    "object": "{relay}:object:%s",
    "objects": "{relay}:objects:%s:%s",
    "affinity": "{relay}:affinity:%s",
    "turn": "{relay}:turn",
    "states": "{relay}:states",
    "alerts": "{relay}:alerts",
    "lock": "{relay}:lock:%s",
    "signin": "{relay}:signin:%s",
    "owner": "{relay}:owner:%s",
    "owners": "{relay}:owners",
    "spend": "{relay}:spend:%s",
    "window": "{relay}:window:%s:%s",
    "tokens": "{relay}:tokens:%s",
    "average": "{relay}:average:%s",
    "usage": "{relay}:usage",
    "count": "{relay}:count:%s",
    "decision": "{relay}:decision:%s",
    "fsync": "{relay}:fsync",
}

# Each script and what of the shared parts stands before it.
_STATES = ("common", "states")
_CHOOSE = (*_STATES, "limits", "choose")
_SCRIPTS = {
    "admit": _CHOOSE,
    "move_on": _CHOOSE,
    "settle": (*_STATES, "limits"),
    "check": _STATES,
    "reset": _STATES,
    "heartbeat": ("common",),
    "orphans": ("common",),
    "swap": (),
    "unlock": (),
}
_DECISION_LIFE_S = 7 * 24 * 3600
_COUNTERS_LIFE_S = 400 * 24 * 3600
_CORRECTION_LIFE_S = 24 * 3600
# Three missed heartbeats and a little: a process that is silent this long is dead.
_DEATH_MS = 10_000
# Nobody looked for this long: Redis was away or its clock jumped.
_GAP_MS = 8_000
_FSYNC_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A lease was granted; `account_version` changes with each edit of the account.

    Args:
        shows_account: the key's holder may know which account serves.
        candidates: how many accounts could have served.
        affinity: whether a conversation is new, kept its account or had to move.
        budget: the key's fullest one: period, mode, limit and used (micro-dollars), till (ms).
        skipped: names of the accounts that could not serve, by reason.
    """

    account_id: str
    account_version: str
    account_name: str
    key_name: str
    key_models: tuple[str, ...]
    shows_account: bool
    candidates: int
    affinity: str = ""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    budget: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may use, told before it runs.

    Args:
        most_micros: no less than it can cost, micro-dollars.
        input_micros: what its input costs at least by its size.
        input_tokens: its input by its size.
        unbounded: the field whose cost nobody can bound, or empty.
    """

    most_micros: int = 0
    input_micros: int = 0
    input_tokens: int = 0
    unbounded: str = ""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What counts for every key: requests per window (0 = any), all at one time, and money."""

    rate_max: int = 0
    rate_ms: int = 60_000
    concurrency: int = 0
    budgets: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the ids of the clients it may be, and its address in 32 hex digits."""

    clients: tuple[str, ...] = ()
    address: str = "0" * 32


NOTHING, NO_LIMITS, NOBODY = Estimate(), RelayLimits(), Caller()


@dataclass(frozen=True, slots=True)
class Moved:
    """A lease goes on at another account."""

    account_id: str
    account_version: str
    account_name: str
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """There is no other account: a lease may ask the same one again."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What an account's failure does to it.

    Args:
        state: the account's state while it rests; empty when it does not.
        model_class: only this class of models rests; empty for the whole account.
        rest_ms: doubled with each failure in a row up to `longest_ms`.
        failures: so many in a row before it rests.
    """

    state: str = ""
    model_class: str = ""
    reason: str = ""
    rest_ms: int = 0
    longest_ms: int = 0
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing may run.

    Args:
        code: unknown, disabled, key_expired, key_model, no_account, void, or `account_` and what
            keeps the accounts from serving: a state, full, model, group or disabled.
        detail: what belongs to the code, or empty.
        back_s: seconds until the first account is back; empty when nobody knows.
    """

    code: str
    detail: str
    back_s: str = ""


@dataclass(frozen=True, slots=True)
class Booking:
    """What settling a lease writes: counters, the record, the decision (JSON or empty).

    `state` is settled, recovered (a floor estimate, open to correction) or void (never to run);
    `counters` are by account and name; `is_well` clears the account's failures; `headroom` is
    what the upstream says is left of its limits (per mille) and until when (Unix ms);
    `tokens` are those that count for a key's tokens per minute.
    """

    lease: str
    state: str
    model: str = ""
    counters: Mapping[tuple[str, str], int] = field(default_factory=dict)
    record: bytes = b""
    decision: bytes = b""
    is_well: bool = False
    headroom: tuple[int, int] | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Orphan:
    """A lease whose process died, with how far it is known to have come."""

    lease: str
    key_id: str
    account_id: str
    model: str
    kind: str
    started_at_ms: int
    input_tokens: int
    output_chars: int


class _Script:
    def __init__(self, name: str, shared: Sequence[str]) -> None:
        folder = importlib.resources.files("relay") / "lua"
        names = ",".join(f"{kind}='{value}'" for kind, value in NAMES.items())
        parts = [folder / f"{part}.lua" for part in (*shared, name)]
        self.text = f"local NAME = {{{names}}}\n" + "\n".join(
            part.read_text(encoding="utf-8") for part in parts
        )
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def name(kind: str, *parts: str) -> str:
    """The Redis key of `kind`, e.g. name("lease", "req_…")."""
    return NAMES[kind] % parts if parts else NAMES[kind]


class Store:
    """Typed access to what the relay keeps. Raises RedisAway when Redis cannot serve."""

    def __init__(self, link: RedisLink, scripts: Mapping[str, _Script]) -> None:
        self._link = link
        self._scripts = scripts

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    async def ping(self, patience_s: float = CALL_DEADLINE_S) -> None:
        """Raise RedisAway unless Redis answers within `patience_s`; at once if it refuses us."""
        await self._link.call("PING", deadline_s=patience_s)

    async def _eval(self, script_name: str, keys: Sequence[str], args: Iterable[Arg]) -> Any:
        script = self._scripts[script_name]
        command = (len(keys), *keys, *args)
        try:
            return await self._link.call("EVALSHA", script.sha, *command)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await self._link.call("EVAL", script.text, *command)

    # One request's way.

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
    ) -> Admitted | Refused:
        """Ask for a lease; see lua/admit.lua.

        Args:
            bound: the account that must serve, or ''.
            affinity: a conversation that should stay where it was, or ''.
        """
        args: list[Arg] = [lease, process, key_id, key_hash, model, model_class, kind, bound]
        args += [affinity, "\n".join(caller.clients), caller.address, estimate.most_micros]
        args += [estimate.input_micros, estimate.input_tokens, estimate.unbounded]
        args += [limits.rate_max, limits.rate_ms, limits.concurrency, limits.budgets]
        reply = await self._eval("admit", [NAMES["leases"]], args)
        if reply[0] == b"refused":
            return Refused(*(part.decode() for part in reply[1:]))
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
        )

    async def move_on(
        self,
        lease: str,
        rest: Rest,
        tried: Sequence[str],
        *,
        may_repeat: bool = False,
        lost_micros: int = 0,
    ) -> Moved | Again | None:
        """Another account for a lease, the same one again, or None; see lua/move_on.lua.

        Args:
            lost_micros: what the failed attempt is booked with.
        """
        args: list[Arg] = [lease, rest.state, rest.model_class, rest.reason, rest.rest_ms]
        args += [rest.longest_ms, rest.failures, int(may_repeat), lost_micros, *tried]
        reply = await self._eval("move_on", [NAMES["leases"]], args)
        if reply[0] != b"moved":
            return Again() if reply[0] == b"again" else None
        account, version, account_name = (part.decode() for part in reply[1:4])
        return Moved(account, version, account_name, _skipped(reply[4]))

    async def settle(self, booking: Booking) -> int:
        """Book a lease once; see lua/settle.lua. Safe to repeat."""
        figures: list[Arg] = []
        for (account_id, counter), amount in booking.counters.items():
            figures += (account_id, counter, amount)
        args: list[Arg] = [booking.lease, booking.state, booking.record, booking.decision]
        args += [_DECISION_LIFE_S, _COUNTERS_LIFE_S, _CORRECTION_LIFE_S]
        args += [int(booking.is_well), booking.model, *(booking.headroom or ("", ""))]
        args += [booking.tokens]
        return int(await self._eval("settle", [NAMES["leases"]], args + figures))

    async def heartbeat(self, progress: Iterable[tuple[str, int, int]]) -> int:
        """Keep leases alive: (lease, input tokens, characters sent). Returns how many still are."""
        args = [part for row in progress for part in row]
        return int(await self._eval("heartbeat", [NAMES["leases"]], args))

    async def orphans(self) -> list[Orphan]:
        """Leases of dead processes; looking also tells Redis that somebody looks."""
        keys = [NAMES["leases"], NAMES["leases_seen"]]
        rows = await self._eval("orphans", keys, [_DEATH_MS, _GAP_MS])
        return [_orphan([part.decode() for part in row]) for row in rows]

    # Keys.

    async def key_id_of_hash(self, key_hash: str) -> str | None:
        value = await self._link.call("HGET", NAMES["key_by_hash"], key_hash)
        return None if value is None else value.decode()

    async def key_ids(self) -> list[str]:
        values = await self._link.call("HVALS", NAMES["key_by_hash"])
        return sorted({value.decode() for value in values})

    async def read_key(self, key_id: str) -> dict[str, str]:
        return await self._read_hash(name("key", key_id))

    async def add_key(self, key_id: str, fields: Mapping[str, str]) -> None:
        await self._link.call("HSET", name("key", key_id), *_flat(fields))
        await self._link.call("HSET", NAMES["key_by_hash"], fields["hash"], key_id)
        await self.fsync()

    async def change_key(self, key_id: str, fields: Mapping[str, str]) -> None:
        await self._link.call("HSET", name("key", key_id), *_flat(fields))
        await self.fsync()

    async def rotate_key(self, key_id: str, fields: Mapping[str, str]) -> None:
        """Give a key a new hash; `fields` say which one it had and until when that is good."""
        await self._link.call("HSET", NAMES["key_by_hash"], fields["hash"], key_id)
        await self.change_key(key_id, fields)

    async def remove_key(self, key_id: str, hashes: Sequence[str]) -> None:
        await self._link.call("HDEL", NAMES["key_by_hash"], *hashes)
        await self._link.call("DEL", name("key", key_id))
        await self.fsync()

    # Accounts.

    async def account_ids(self) -> list[str]:
        values = await self._link.call("SMEMBERS", NAMES["accounts"])
        return sorted(value.decode() for value in values)

    async def read_account(self, account_id: str) -> dict[str, str]:
        return await self._read_hash(name("account", account_id))

    async def save_account(self, account_id: str, fields: Mapping[str, str]) -> None:
        """Write `fields` and give the account a new version, so that no cache keeps the old one."""
        await self._link.call("HSET", name("account", account_id), *_flat(fields))
        await self._link.call("HINCRBY", name("account", account_id), "version", 1)
        await self._link.call("SADD", NAMES["accounts"], account_id)
        await self.fsync()

    async def reset_account(self, account_id: str) -> None:
        """Forget how an account failed; see lua/reset.lua."""
        await self._eval("reset", [name("account", account_id)], [account_id])

    async def book_check(
        self, account_id: str, outcome: str, state: str, reason: str, failures: int
    ) -> tuple[str, str]:
        """An account's state before and after a check; see lua/check.lua."""
        args: list[Arg] = [account_id, outcome, state, reason, failures]
        before, after = await self._eval("check", [NAMES["accounts"]], args)
        return before.decode(), after.decode()

    async def swap_account(
        self, account_id: str, field: str, before: str, fields: Mapping[str, str]
    ) -> bool:
        """Write `fields` of an account if its `field` still is `before`."""
        args = [field, before, *_flat(fields)]
        done = bool(await self._eval("swap", [name("account", account_id)], args))
        await self.fsync()
        return done

    async def state_changes(self, account_id: str, count: int) -> list[dict[str, str]]:
        """The last changes of an account's state, newest first, of the newest thousand."""
        rows = await self._link.call("XREVRANGE", NAMES["states"], "+", "-", "COUNT", 1000)
        changes = (_pairs(fields) for _, fields in rows)
        return [change for change in changes if change["account"] == account_id][:count]

    async def alerts(self, count: int) -> list[dict[str, str]]:
        """The newest alerts, newest first."""
        rows = await self._link.call("XREVRANGE", NAMES["alerts"], "+", "-", "COUNT", count)
        return [_pairs(fields) for _, fields in rows]

    async def remove_account(self, account_id: str) -> None:
        await self._link.call("SREM", NAMES["accounts"], account_id)
        await self._link.call("DEL", name("account", account_id))
        await self.fsync()

    async def open_leases_of_account(self, account_id: str) -> int:
        return int(await self._link.call("ZCARD", name("inflight_account", account_id)))

    async def open_leases(self) -> int:
        return int(await self._link.call("ZCARD", NAMES["leases"]))

    # Locks and sign-ins.

    async def lock(self, what: str, owner: str, life_ms: int) -> bool:
        """Whether `owner` has the lock now; it ends by itself after `life_ms`."""
        command = ("SET", name("lock", what), owner, "NX", "PX", life_ms)
        return await self._link.call(*command) is not None

    async def unlock(self, what: str, owner: str) -> None:
        """Give a lock back, unless it has gone to somebody else."""
        await self._eval("unlock", [name("lock", what)], [owner])

    async def keep_signin(self, state: str, record: str, life_s: int) -> None:
        """Keep what a sign-in needs when its answer comes back."""
        await self._link.call("SET", name("signin", state), record, "EX", life_s)

    async def has_signin(self, state: str) -> bool:
        return bool(await self._link.call("EXISTS", name("signin", state)))

    async def take_signin(self, state: str) -> str | None:
        """What was kept of a sign-in; it can be taken once."""
        value = await self._link.call("GETDEL", name("signin", state))
        return None if value is None else value.decode()

    # Owners.

    async def save_owner(self, owner: str, budgets: str) -> None:
        await self._link.call("HSET", name("owner", owner), "budgets", budgets)
        await self._link.call("SADD", NAMES["owners"], owner)
        await self.fsync()

    async def owners(self) -> dict[str, str]:
        """Every owner's budgets, by name."""
        found = {}
        for member in await self._link.call("SMEMBERS", NAMES["owners"]):
            fields = await self._read_hash(name("owner", member.decode()))
            found[member.decode()] = fields.get("budgets", "")
        return found

    # Batches and files.

    async def remember_object(
        self, object_id: str, kind: str, key_id: str, account_id: str, created_at_ms: int
    ) -> None:
        """Keep who made a batch or file, and where it lives, for as long as it exists."""
        fields = {"key": key_id, "account": account_id, "kind": kind}
        await self._link.call("HSET", name("object", object_id), *_flat(fields))
        await self._link.call("ZADD", name("objects", key_id, kind), created_at_ms, object_id)

    async def read_object(self, object_id: str) -> dict[str, str]:
        return await self._read_hash(name("object", object_id))

    async def object_ids(self, key_id: str, kind: str) -> list[str]:
        """A key's objects of one kind, newest first."""
        values = await self._link.call("ZREVRANGE", name("objects", key_id, kind), 0, -1)
        return [value.decode() for value in values]

    async def forget_object(self, object_id: str, key_id: str, kind: str) -> None:
        await self._link.call("ZREM", name("objects", key_id, kind), object_id)
        await self._link.call("DEL", name("object", object_id))

    # Usage.

    async def counters(self, day: str) -> dict[str, int]:
        """All counters of a UTC day, `key|account|model|counter` → amount."""
        fields = await self._read_hash(name("count", day))
        return {field: int(amount) for field, amount in fields.items()}

    async def records(self, count: int) -> list[bytes]:
        """The newest usage records, newest first."""
        rows = await self._link.call("XREVRANGE", NAMES["usage"], "+", "-", "COUNT", count)
        return [fields[1] for _, fields in rows]

    async def trim_records(self, older_than_ms: int) -> int:
        return int(await self._link.call("XTRIM", NAMES["usage"], "MINID", "~", older_than_ms))

    async def decision(self, request_id: str) -> bytes | None:
        value: bytes | None = await self._link.call("GET", name("decision", request_id))
        return value

    async def fsync(self) -> None:
        """Return once everything written so far would survive a power cut.

        WAITAOF does it where Redis has it (7.2, Valkey). An older Redis is told to fsync each
        write for the length of one write. Without an AOF there is nothing to wait for.
        """
        try:
            await self._link.call("WAITAOF", 1, 0, 4000, deadline_s=_FSYNC_DEADLINE_S)
        except ReplyError as error:
            if "unknown command" in str(error):
                await self._fsync_by_writing()

    async def _fsync_by_writing(self) -> None:
        with contextlib.suppress(ReplyError):
            await self._link.call("CONFIG", "SET", "appendfsync", "always")
            try:
                await self._link.call("SET", NAMES["fsync"], "1", deadline_s=_FSYNC_DEADLINE_S)
            finally:
                with trio.move_on_after(_FSYNC_DEADLINE_S, shield=True):
                    await self._link.call("CONFIG", "SET", "appendfsync", "everysec")

    async def _read_hash(self, redis_key: str) -> dict[str, str]:
        return _pairs(await self._link.call("HGETALL", redis_key))


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """A Store over the Redis at `url`; connects by itself and reconnects when it must."""
    scripts = {script: _Script(script, shared) for script, shared in _SCRIPTS.items()}

    async def prepare(link: RedisLink) -> None:
        schema = await link.now("SET", NAMES["schema"], SCHEMA_VERSION, "NX", "GET")
        if schema not in (None, SCHEMA_VERSION.encode()):
            raise ReplyError(
                f"SCHEMA the data is of schema {schema.decode()}, this relay reads {SCHEMA_VERSION}"
            )
        for script in scripts.values():
            await link.now("SCRIPT", "LOAD", script.text)

    async with linked(url, prepare) as link:
        yield Store(link, scripts)


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [part.decode() for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _skipped(text: bytes) -> dict[str, list[str]]:
    """Accounts that could not serve, as choose.lua tells them; mostly there are none."""
    return json.loads(text) if text else {}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


def _orphan(row: Sequence[str]) -> Orphan:
    lease, key, account, model, kind, started, tokens, chars = row
    return Orphan(lease, key, account, model, kind, int(started), int(tokens), int(chars))
