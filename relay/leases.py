"""The right of one admitted request to run, from admission to settlement, exactly once.

`Leases` is a process's set of open ones. Admission and settlement are each one script; between
them a heartbeat tells how far each request has come, so that the survivors can settle it with
a floor estimate when this process dies.
"""

import contextlib
import enum
import hashlib
import logging
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio

from relay import balancer, errors, homes, limits
from relay.accounts import AccountProblem, Accounts, Credential
from relay.balancer import Verdict
from relay.call import CHARS_PER_TOKEN, Call
from relay.keys import DISABLED_KEY, INVALID_KEY, KeyRef, Keys, expired_key
from relay.lease import UNKNOWN_MODEL, Lease, counted_model, orphan_record
from relay.pricing import Prices, Tokens
from relay.refusals import Refusals
from relay.remarks import Remarks
from relay.settlements import Settlements
from relay.store import (
    NO_LIMITS,
    NOBODY,
    NOTHING,
    Admitted,
    Again,
    Booking,
    BrokenLease,
    Caller,
    DatabaseLost,
    Estimate,
    Moved,
    Orphan,
    RedisAway,
    Refused,
    RelayLimits,
    Rest,
    Store,
    Waiting,
)
from relay.usage import Attempt, counters, decision, refusal
from relay.vault import new_id
from relay.waiting import WaitingRoom

log = logging.getLogger("relay.lease")

ADMIT_DEADLINE_S = 5.0
HEARTBEAT_EVERY_S = 3.0

# Of the reason why a lease cannot be booked so much is stored.
_MOST_REASON = 500
AWAY = "The relay cannot reach its database just now. Nothing was sent; try again in a moment."
FULL = (
    "The relay's database is full. Nothing was sent; try again in a moment. If it stays so, its"
    " operator finds what to do with `relay doctor`."
)
# What keeps the accounts from serving and passes by itself, so that a request may wait for it.
_RECOVERS = ("account_cooling", "account_overloaded", "account_failing")
# What may be taken of the shares of memory once Redis is full.
_WHEN_FULL = 0.5


def unavailable(error: RedisAway) -> errors.Unavailable:
    """What a client is answered while Redis cannot serve, or holds another database."""
    if is_full(error):
        return errors.Unavailable(FULL)
    return errors.Unavailable(str(error) if isinstance(error, DatabaseLost) else AWAY)


def is_full(error: RedisAway) -> bool:
    """Whether Redis takes nothing new because its memory is full."""
    return "OOM" in str(error)


class Step(enum.Enum):
    """Where a lease goes on when its account has failed. NOWHERE: that attempt was its last."""

    ELSEWHERE = enum.auto()
    NOWHERE = enum.auto()


class Leases:
    """The open leases of this process."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        accounts: Accounts,
        prices: Prices,
        limits: RelayLimits = NO_LIMITS,
        blocked_message: str = "",
        patience_s: float = 0.0,
    ) -> None:
        self._limits = limits
        self._patience_s = patience_s
        self._recovering = 0
        self._blocked_message = blocked_message
        self._store = store
        self._keys = keys
        self._accounts = accounts
        self._prices = prices
        self._process = secrets.token_hex(8)
        self._room = WaitingRoom(store, limits)
        self._open: dict[str, Lease] = {}
        self.settlements = Settlements(store)
        self.refusals = Refusals(store)
        self.remarks = Remarks(prices)
        # The dearest of what accounts call a model, where that is dearer than the model itself.
        self._dearest: dict[str, str] = {}
        # Organisation and workspace of accounts at a version, as they are stored already.
        self._places: dict[str, tuple[str, tuple[str, str]]] = {}

    @property
    def open_count(self) -> int:
        return len(self._open)

    async def call_up(self) -> None:
        """Let calls that wait for a slot go on when it is their turn, until cancelled."""
        await self._room.call_up()

    @contextlib.asynccontextmanager
    async def admit(
        self,
        request_id: str,
        key: KeyRef,
        call: Call,
        caller: Caller = NOBODY,
    ) -> AsyncIterator[Lease]:
        """The right to run `call`; settled when the block ends, however it ends.

        Raises:
            errors.RelayError: a limit, the key's state or a lack of accounts forbids it.

        Cancellation: an admission under way is finished first, so that none is leaked.
        """
        lease = await self._admit(request_id, key, call, caller)
        self._open[lease.id] = lease
        try:
            yield lease
        finally:
            await self.settle(lease)  # noqa: ASYNC102  # it shields itself, with a deadline

    def _estimate(self, call: Call) -> Estimate:
        if call.kind == "batch":
            return Estimate(
                call.most_micros,
                call.expected_micros,
                0,
                call.unbounded,
                most_global_micros=call.most_global_micros,
            )
        if call.kind != "messages":
            return NOTHING
        tokens = len(call.body) // CHARS_PER_TOKEN
        dearest = self._dearest.get(call.model, call.model)
        anywhere, in_us = self._most(call, dearest)
        return Estimate(
            anywhere if call.reach.geo == "global" else in_us,
            self._prices.cost(call.model, Tokens(input=tokens)),
            tokens,
            call.unbounded,
            call.max_tokens,
            self._prices.cost(call.model, Tokens(output=call.max_tokens)),
            0 if call.reach.geo else anywhere,
        )

    def _most(self, call: Call, model: str) -> tuple[int, int]:
        """The most that it can cost anywhere, and where it is held to the US."""
        size = len(call.body) + call.spare_bytes
        return self._prices.most_by_place(model, size, call.max_tokens, call.reach)

    def _is_dearer(self, call: Call, credential: Credential) -> bool:
        """Whether an account's own name for the model can cost more than what is reserved.

        It is remembered, so that from then on enough is reserved.
        """
        target = credential.model_map.get(call.model)
        if call.kind != "messages" or target is None:
            return False
        reserved = self._dearest.get(call.model, call.model)
        place = 0 if call.reach.geo == "global" else 1
        if self._most(call, target)[place] <= self._most(call, reserved)[place]:
            return False
        self._dearest[call.model] = target
        return True

    async def _admit(
        self, request_id: str, key: KeyRef, call: Call, caller: Caller = NOBODY
    ) -> Lease:
        began, waited = trio.current_time(), ""
        while True:
            answer = await self._ask(request_id, key, call, caller, waited)
            if isinstance(answer, Lease):
                answer.waits_until = began + self._limits.wait_ms / 1000
                return answer
            if isinstance(answer, Refused):
                if not await self._recovers(answer, began + self._patience_s):
                    self._count_refusal(request_id, key, call, answer.code)
                    raise self._refusal(answer, key, call)
                waited = ""
            else:
                waited = await self._turn(request_id, key, answer, began + answer.wait_ms / 1000)

    async def _recovers(self, answer: Refused, until: float) -> bool:
        """Wait for the first account to recover, if that is soon; whether to ask again then."""
        wait_s = answer.back_ms / 1000 * random.uniform(1.0, 1.1)  # noqa: S311
        is_soon = answer.code in _RECOVERS and wait_s > 0 and trio.current_time() + wait_s < until
        if not is_soon or self._recovering >= self._limits.most_waiting:
            return False
        self._recovering += 1
        try:
            await trio.sleep(wait_s)
        finally:
            self._recovering -= 1
        return True

    async def _ask(
        self, request_id: str, key: KeyRef, call: Call, caller: Caller, waited: str
    ) -> Lease | Waiting | Refused:
        """One admission. Raises errors.RelayError when nothing can be decided."""
        with trio.move_on_after(ADMIT_DEADLINE_S, shield=True):
            try:
                answer = await self._admitted(
                    request_id,
                    self._process,
                    key.id,
                    key.hash,
                    kind=call.kind,
                    model=call.model,
                    model_class="" if call.kind == "batch" else balancer.lane(call),
                    bound=call.account_id,
                    affinity=_affinity(key, call),
                    caller=caller,
                    estimate=self._estimate(call),
                    limits=self._limits,
                    waited=waited,
                    named=homes.entries(key.id, call),
                    also=call.also,
                )
            except RedisAway as error:
                log.warning("request=%s refused: %s", request_id, error)
                if error.maybe_done:
                    self.settlements.keep(_void(request_id))
                raise unavailable(error) from None
            if isinstance(answer, Waiting):
                return answer
            if isinstance(answer, Refused):
                if answer.code == "unknown":
                    self._keys.forget(key)
                if answer.code in ("unknown", "home_unknown"):
                    await self._confirm()
                return answer
            lease = await self._granted(request_id, key, call, answer)
            if not self._is_dearer(call, lease.credential):
                return lease
            if not await self.settlements.book(_void(request_id)):
                # Taken back later, it would take back the next admission under this id.
                raise errors.Unavailable(AWAY)
            return await self._ask(request_id, key, call, caller, waited)
        self.settlements.keep(_void(request_id))
        raise errors.Unavailable(AWAY)

    async def _admitted(
        self, request_id: str, process: str, *who: str, **asked: Any
    ) -> Admitted | Refused | Waiting:
        """What Redis says; once more when it was full and there was something to drop."""
        admit = partial(self._store.leases.admit, request_id, process, *who, **asked)
        try:
            return await admit()
        except RedisAway as error:
            if not is_full(error):
                raise
            full = error
        if not await self._store.usage.trim_shares(_WHEN_FULL):
            raise full
        return await admit()

    async def _confirm(self) -> None:
        """Make sure that Redis misses something because it was removed, not because all is gone."""
        try:
            await self._store.confirm()
        except RedisAway as error:
            raise unavailable(error) from None

    async def _granted(self, request_id: str, key: KeyRef, call: Call, answer: Admitted) -> Lease:
        try:
            credential = await self._accounts.credential(answer.account_id, answer.account_version)
        except (AccountProblem, RedisAway) as error:
            self.settlements.keep(_void(request_id))
            log.warning("request=%s account=%s: %s", request_id, answer.account_name, error)
            raise errors.Unavailable(AWAY) from None
        return Lease(request_id, key, call, answer, credential)

    def _count_refusal(self, request_id: str, key: KeyRef, call: Call, code: str) -> None:
        counter = refusal(code)
        if counter:
            log.info("request=%s key=%s refused=%s", request_id, key.id, code)
            # By reason alone: the models' names are the client's.
            self.refusals.count(key.id, UNKNOWN_MODEL, counter)

    def _refusal(self, answer: Refused, key: KeyRef, call: Call) -> errors.RelayError:
        code, back_s = answer.code, answer.back_s
        if told := homes.refusal(code, answer.detail, back_s, call):
            return told
        if code.startswith("thinking_"):
            code = f"account_{code.removeprefix('thinking_')}"
        match code:
            case "unknown":
                return errors.Unauthorized(INVALID_KEY)
            case "disabled":
                return errors.Unauthorized(DISABLED_KEY)
            case "key_expired":
                when = datetime.fromtimestamp(int(answer.detail) / 1000, UTC)
                return errors.Unauthorized(expired_key(when))
            case "key_model":
                place, model = _place(call, answer.detail), answer.detail
                return errors.ForbiddenModel(
                    f"{place}: {model} is not among the models that this key may use.", model
                )
            case "account_mapped" | "account_model" if answer.detail in call.also and (
                code == "account_mapped" or answer.detail != call.model
            ):
                return balancer.misnamed(call.also[answer.detail], answer.detail, code)
            case "no_account":
                return errors.Unavailable(
                    "This relay has no upstream account yet. Its operator adds one with"
                    " `relay account add`."
                )
            case _ if told := limits.refusal(code, answer.detail, back_s, self._blocked_message):
                return told
            case _:
                return balancer.refusal(code.removeprefix("account_"), answer.detail, back_s)

    async def settle(self, lease: Lease) -> None:
        """Book what the lease used and free its slots. Safe to call again; never raises.

        While Redis is away the booking waits in memory and is written on its return.
        """
        if lease.is_settled:
            return
        lease.is_settled = True
        self._open.pop(lease.id, None)
        booking = self._booking(lease)
        if place := self._new_place(lease):
            version = lease.account.account_version
            booking = replace(booking, place=place, account_version=version)
        await self.settlements.book(booking)
        self._room.slot_is_free()
        lease.has_record = bool(booking.record)

    def _new_place(self, lease: Lease) -> tuple[str, str] | None:
        """Where the lease's account belongs, if its answer says another place than before."""
        account, known = lease.account, self._places.get(lease.account.account_id)
        if not lease.place[0] or known == (account.account_version, lease.place):
            return None
        self._places[account.account_id] = account.account_version, lease.place
        return lease.place

    def _booking(self, lease: Lease) -> Booking:
        is_well = lease.status is not None and lease.status < 400 and not lease.error
        if lease.call.kind == "batch":
            return self._opening(lease, is_well)
        if lease.call.kind != "messages":
            return Booking(lease.id, "settled", is_well=is_well, headroom=lease.headroom)
        lease.attempts.append(lease.attempt(self._prices))
        model = counted_model(lease.model_served, lease.call.model, self._prices)
        record = lease.record(self._prices.version, model)
        self.remarks.of(record.attempts, record.model_served)
        return Booking(
            lease.id,
            "settled",
            model,
            counters(record, model),
            record.to_json(),
            decision(
                record,
                lease.account.candidates,
                lease.account.skipped,
                lease.reason(),
                lease.call.left_out,
            ).to_json(),
            is_well,
            lease.headroom,
            sum(one.tokens.per_minute for one in record.attempts),
            lease.key.id,
            lease.account.account_id,
            homes.made(lease.key.id, lease.call, lease.meter) if lease.meter else (),
        )

    def _opening(self, lease: Lease, is_well: bool) -> Booking:
        """Ends the request that made a batch: what that costs is booked from its results."""
        attempt = replace(lease.attempt(self._prices), is_estimated=False, shares=())
        lease.attempts.append(attempt)
        record = replace(
            lease.record(self._prices.version, ""), model=lease.call.model.replace("\n", ", ")
        )
        account = lease.account
        told = decision(record, account.candidates, account.skipped, lease.reason())
        return Booking(
            lease.id,
            "settled",
            decision=told.to_json(),
            is_well=is_well,
            headroom=lease.headroom,
        )

    async def served(self, lease: Lease) -> None:
        """The lease's answer begins: if it was the trial of its account, the cooldown is over.

        Without a trial this costs nothing. Never raises; the settlement says the same again.
        """
        if not lease.account.is_trial:
            return
        try:
            with trio.move_on_after(ADMIT_DEADLINE_S):
                await self._store.leases.served(lease.id)
        except RedisAway as error:
            log.debug("request=%s: its account's recovery is noted later: %s", lease.id, error)

    async def move_on(
        self, lease: Lease, verdict: Verdict, most_pause_s: float | None
    ) -> Step | Again:
        """Note what a failure means for the lease's account, and go on at another.

        While those that could serve have no free slot it waits, no longer than any call waits.

        Args:
            most_pause_s: the lease can wait for so long before it asks the same account again, when
                there is no other; None when it may not ask it again.

        Returns:
            Again with the pause that the account needs at least, when the same one is asked again.

        Cancellation: a move under way is finished first; waiting is not.
        """
        ended, rest = lease.attempt(self._prices), verdict.rest(lease.error)
        waited = "" if trio.current_time() < lease.waits_until else "last"
        while True:
            step = await self._move_once(lease, ended, rest, most_pause_s, waited)
            # The slot at the account that failed is free.
            self._room.slot_is_free()
            if not isinstance(step, Waiting):
                return step
            # What the failure means for its account stands there already.
            rest = Rest()
            waited = await self._turn(lease.id, lease.key, step, lease.waits_until)

    async def _turn(self, request_id: str, key: KeyRef, place: Waiting, until: float) -> str:
        """Wait for a turn; how the lease asks then."""
        may_wait = await self._room.turn(request_id, key.id, place.scope, until)
        return "waits" if may_wait else "last"

    async def _move_once(
        self,
        lease: Lease,
        ended: Attempt,
        rest: Rest,
        most_pause_s: float | None,
        waited: str,
    ) -> Step | Again | Waiting:
        with trio.move_on_after(ADMIT_DEADLINE_S, shield=True):
            try:
                moved = await self._store.leases.move_on(
                    lease.id,
                    rest,
                    lease.tried,
                    most_pause_ms=None if most_pause_s is None else round(most_pause_s * 1000),
                    lost_micros=ended.cost_micros,
                    lost=ended.to_json(),
                    limits=self._limits,
                    waited=waited,
                )
                if isinstance(moved, Waiting):
                    return moved
                return await self._go_on(lease, ended, moved)
            except (AccountProblem, RedisAway) as error:
                log.warning("request=%s cannot move on: %s", lease.id, error)
        return Step.NOWHERE

    async def _go_on(
        self, lease: Lease, ended: Attempt, moved: Moved | Again | None
    ) -> Step | Again:
        """The step that a move means, with the lease's next attempt begun."""
        if moved is None:
            return Step.NOWHERE
        if isinstance(moved, Again):
            lease.attempts.append(ended)
            lease.begin_attempt()
            return moved
        credential = await self._accounts.credential(moved.account_id, moved.account_version)
        if self._is_dearer(lease.call, credential):
            log.warning("request=%s: more would have to be reserved to move on", lease.id)
            return Step.NOWHERE
        lease.attempts.append(ended)
        lease.go_on_at(moved, credential)
        return Step.ELSEWHERE

    async def beat(self) -> None:
        """Tell Redis that the open leases live, and how far they have come."""
        if self._open:
            await self._store.leases.heartbeat([lease.progress() for lease in self._open.values()])

    async def recover(self) -> None:
        """Settle the leases of dead processes with the floor estimate of what was sent."""
        tried: set[str] = set()
        while orphans := [
            orphan for orphan in await self._store.leases.orphans() if orphan.lease not in tried
        ]:
            for orphan in orphans:
                tried.add(orphan.lease)
                await self._recover(orphan)

    async def _recover(self, orphan: Orphan | BrokenLease) -> None:
        """Settle one lease. What cannot be settled is put aside: those behind it must not wait."""
        log.warning("request=%s was left by a dead process; settling it", orphan.lease)
        if isinstance(orphan, BrokenLease):
            await self._set_aside(orphan.lease, orphan.why)
            return
        try:
            await self._settle_orphan(orphan)
        except RedisAway:
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with this one
            await self._set_aside(orphan.lease, f"{type(error).__name__}: {error}")

    async def _set_aside(self, lease: str, why: str) -> None:
        if await self._store.leases.set_aside(lease, why[:_MOST_REASON]):
            log.error("request=%s cannot be booked and was put aside: %s", lease, why)

    async def _settle_orphan(self, orphan: Orphan) -> None:
        if orphan.kind != "messages":
            await self._store.leases.settle(Booking(orphan.lease, "recovered"))
            return
        model = counted_model("", orphan.model, self._prices)
        record = orphan_record(orphan, self._prices, model)
        await self._store.leases.settle(
            Booking(
                orphan.lease,
                "recovered",
                model,
                counters(record, model),
                record.to_json(),
                tokens=sum(one.tokens.per_minute for one in record.attempts),
            )
        )


def _place(call: Call, model: str) -> str:
    """Where in a request a model stands."""
    if model == call.model:
        return "model"
    return call.places.get(model) or call.also.get(model, "model")


def _affinity(key: KeyRef, call: Call) -> str:
    """Names a conversation within its key, so that no key can steer another one's."""
    if not call.thread:
        return ""
    return hashlib.sha256(f"{key.id}|{call.thread}".encode()).hexdigest()[:32]


def _void(request_id: str) -> Booking:
    """Takes back an admission whose outcome is not known."""
    return Booking(request_id, "void")


def new_request_id() -> str:
    """The id of a request and of its lease."""
    return new_id("req")
