"""The right of one admitted request to run, from admission to settlement, exactly once.

`Leases` is a process's set of open ones. Admission and settlement are each one script; between
them a heartbeat tells how far each request has come, so that the survivors can settle it with
a floor estimate when this process dies.
"""

import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from relay import errors
from relay.accounts import AccountProblem, Accounts, Credential
from relay.call import Call, Meter
from relay.keys import DISABLED_KEY, INVALID_KEY, KeyRef, Keys, expired_key
from relay.pricing import Prices, Tokens
from relay.store import Admitted, Booking, Orphan, RedisAway, Refused, Store
from relay.usage import Attempt, Record, counters, decision
from relay.vault import new_id

log = logging.getLogger("relay.lease")

ADMIT_DEADLINE_S = 5.0
SETTLE_DEADLINE_S = 5.0
HEARTBEAT_EVERY_S = 3.0
# Settlements that wait in memory while Redis is away; about 1 KB each.
_MOST_UNSETTLED = 20_000
_RETRY_S = 0.2
# The floor estimate: one token per four characters.
CHARS_PER_TOKEN = 4

UNKNOWN_MODEL = "unknown"
AWAY = "The relay cannot reach its database just now. Nothing was sent; try again in a moment."


@dataclass(slots=True)
class Lease:
    """One open lease and what became of it; the exchange fills in the outcome as it goes."""

    id: str
    key: KeyRef
    call: Call
    account: Admitted
    credential: Credential
    client: str = ""
    dialect: str = ""
    meter: Meter | None = None
    status: int | None = None
    upstream_request_id: str = ""
    error: str = ""
    # Whether anything reached the upstream that it may charge for.
    was_sent: bool = False
    first_byte_at: float | None = None
    started_at: float = field(default_factory=time.monotonic)
    cost_micros: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    is_settled: bool = False

    def progress(self) -> tuple[str, int, int]:
        """What a heartbeat tells: id, input tokens, characters of output."""
        if self.meter is None or self.meter.tokens is None:
            return self.id, self.input_estimate() if self.was_sent else 0, 0
        return self.id, self.meter.tokens.input, self.meter.chars

    def input_estimate(self) -> int:
        """Input tokens of a request whose upstream never said how many they were."""
        return len(self.call.body) // CHARS_PER_TOKEN

    def used(self) -> tuple[Tokens, bool]:
        """The tokens to book, and whether they are a floor estimate."""
        if not self.was_sent or (self.status is not None and self.status != 200):
            return Tokens(), False
        if self.meter is None or self.meter.tokens is None:
            return Tokens(input=self.input_estimate()), True
        tokens = self.meter.tokens
        if self.meter.is_complete:
            return tokens, False
        return _with_output(tokens, max(tokens.output, self.meter.chars // CHARS_PER_TOKEN)), True


class Leases:
    """The open leases of this process."""

    def __init__(self, store: Store, keys: Keys, accounts: Accounts, prices: Prices) -> None:
        self._store = store
        self._keys = keys
        self._accounts = accounts
        self._prices = prices
        self._process = secrets.token_hex(8)
        self._open: dict[str, Lease] = {}
        self._unsettled: deque[Booking] = deque()

    @property
    def open_count(self) -> int:
        return len(self._open)

    @contextlib.asynccontextmanager
    async def admit(self, request_id: str, key: KeyRef, call: Call) -> AsyncIterator[Lease]:
        """The right to run `call`; settled when the block ends, however it ends.

        Raises:
            errors.RelayError: a limit, the key's state or a lack of accounts forbids it.

        Cancellation: an admission under way is finished first, so that none is leaked.
        """
        lease = await self._admit(request_id, key, call)
        self._open[lease.id] = lease
        try:
            yield lease
        finally:
            await self.settle(lease)  # noqa: ASYNC102  # it shields itself, with a deadline

    async def _admit(self, request_id: str, key: KeyRef, call: Call) -> Lease:
        with trio.move_on_after(ADMIT_DEADLINE_S, shield=True):
            try:
                answer = await self._store.admit(
                    request_id, self._process, key.id, key.hash, call.model, call.kind,
                    call.account_id,
                )  # fmt: skip
            except RedisAway as error:
                log.warning("request=%s refused: %s", request_id, error)
                self._keep(_void(request_id))
                raise errors.Unavailable(AWAY) from None
            if isinstance(answer, Refused):
                raise self._refusal(answer, key)
            try:
                credential = await self._accounts.credential(
                    answer.account_id, answer.account_version
                )
            except (AccountProblem, RedisAway) as error:
                self._keep(_void(request_id))
                log.warning("request=%s account=%s: %s", request_id, answer.account_name, error)
                raise errors.Unavailable(AWAY) from None
            return Lease(request_id, key, call, answer, credential)
        self._keep(_void(request_id))
        raise errors.Unavailable(AWAY)

    def _refusal(self, answer: Refused, key: KeyRef) -> errors.RelayError:
        match answer.code:
            case "unknown":
                self._keys.forget(key)
                return errors.Unauthorized(INVALID_KEY)
            case "disabled":
                return errors.Unauthorized(DISABLED_KEY)
            case "expired":
                when = datetime.fromtimestamp(int(answer.detail) / 1000, UTC)
                return errors.Unauthorized(expired_key(when))
            case "model":
                return errors.BadRequest(
                    f"model: {answer.detail} is not among the models that this key may use."
                )
            case _ if answer.detail == "0":
                return errors.Unavailable(
                    "This relay has no upstream account yet. Its operator adds one with"
                    " `relay account add`."
                )
            case _:
                return errors.Unavailable("No upstream account can serve this request now.")

    async def settle(self, lease: Lease) -> None:
        """Book what the lease used and free its slots. Safe to call again; never raises.

        While Redis is away the booking waits in memory and is written on its return.
        """
        if lease.is_settled:
            return
        lease.is_settled = True
        self._open.pop(lease.id, None)
        await self._book(self._booking(lease))

    async def _book(self, booking: Booking) -> None:
        with trio.move_on_after(SETTLE_DEADLINE_S, shield=True):
            try:
                await self._store.settle(booking)
                return
            except RedisAway as error:
                log.warning("request=%s settles later: %s", booking.lease, error)
        self._keep(booking)

    def _keep(self, booking: Booking) -> None:
        """Write a booking later: Redis is away, or may not have understood."""
        if len(self._unsettled) >= _MOST_UNSETTLED:
            lost = self._unsettled.popleft()
            log.error("request=%s not booked: too many settlements wait for Redis", lost.lease)
        self._unsettled.append(booking)

    def _booking(self, lease: Lease) -> Booking:
        if lease.call.kind != "messages":
            return Booking(lease.id, "settled", "", {}, b"", b"")
        lease.tokens, is_estimated = lease.used()
        served = lease.meter.model if lease.meter else ""
        if lease.tokens != Tokens():
            lease.cost_micros = self._prices.cost(served or lease.call.model, lease.tokens)
        record = _record(lease, is_estimated)
        why = decision(record, lease.account.candidates, _reason(lease))
        return Booking(
            lease.id,
            "settled",
            self._counted_model(served, lease.call.model),
            counters(record),
            record.to_json(),
            why.to_json(),
        )

    def _counted_model(self, served: str, asked: str) -> str:
        """The model to count under; names that nobody serves are the client's to invent."""
        return served or (asked if self._prices.is_known(asked) else UNKNOWN_MODEL)

    async def settle_all(self) -> None:
        """Write every settlement that waits; for the end of the process."""
        while self._unsettled:
            try:
                await self.beat()
            except RedisAway:
                await trio.sleep(_RETRY_S)

    async def beat(self) -> None:
        """Write what waits to be settled, and tell Redis that the open leases live."""
        while self._unsettled:
            await self._store.settle(self._unsettled[0])
            self._unsettled.popleft()
        if self._open:
            await self._store.heartbeat([lease.progress() for lease in self._open.values()])

    async def recover(self) -> None:
        """Settle the leases of dead processes with the floor estimate of what was sent."""
        while orphans := await self._store.orphans():
            for orphan in orphans:
                await self._recover(orphan)

    async def _recover(self, orphan: Orphan) -> None:
        log.warning("request=%s was left by a dead process; settling it", orphan.lease)
        if orphan.kind != "messages":
            await self._store.settle(Booking(orphan.lease, "recovered", "", {}, b"", b""))
            return
        tokens = Tokens(input=orphan.input_tokens, output=orphan.output_chars // CHARS_PER_TOKEN)
        record = _orphan_record(orphan, tokens, self._prices.cost(orphan.model, tokens))
        await self._store.settle(
            Booking(
                orphan.lease,
                "recovered",
                self._counted_model("", orphan.model),
                counters(record),
                record.to_json(),
                b"",
            )
        )


def _void(request_id: str) -> Booking:
    """Takes back an admission whose outcome is not known."""
    return Booking(request_id, "void", "", {}, b"", b"")


def new_request_id() -> str:
    """The id of a request and of its lease."""
    return new_id("req")


def _reason(lease: Lease) -> str:
    if lease.call.account_id:
        return "the account that holds the object"
    if lease.account.candidates == 1:
        return "the only enabled account"
    return "the fewest running requests; among equals the one that rested longest"


def _with_output(tokens: Tokens, output: int) -> Tokens:
    return Tokens(
        tokens.input, output, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h,
        tokens.web_searches,
    )  # fmt: skip


def _record(lease: Lease, is_estimated: bool) -> Record:
    now = time.monotonic()
    duration_ms = round((now - lease.started_at) * 1000)
    first_byte_ms = None
    if lease.first_byte_at is not None:
        first_byte_ms = round((lease.first_byte_at - lease.started_at) * 1000)
    attempt = Attempt(
        account_id=lease.account.account_id,
        account_name=lease.account.account_name,
        outcome=lease.error or "ok",
        status=lease.status,
        upstream_request_id=lease.upstream_request_id,
        tokens=lease.tokens,
        cost_micros=lease.cost_micros,
        is_estimated=is_estimated,
        first_byte_ms=first_byte_ms,
        duration_ms=duration_ms,
    )
    return Record(
        request_id=lease.id,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        key_id=lease.key.id,
        key_name=lease.account.key_name,
        session=lease.call.session,
        agent=lease.call.agent,
        client=lease.client,
        dialect=lease.dialect,
        model=lease.call.model,
        model_served=lease.meter.model if lease.meter else "",
        stream=lease.call.stream,
        status=lease.status,
        stop_reason=lease.meter.stop_reason if lease.meter else "",
        error=lease.error,
        cost_micros=lease.cost_micros,
        first_byte_ms=first_byte_ms,
        duration_ms=duration_ms,
        attempts=(attempt,),
    )


def _orphan_record(orphan: Orphan, tokens: Tokens, cost_micros: int) -> Record:
    started = datetime.fromtimestamp(orphan.started_at_ms / 1000, UTC)
    attempt = Attempt(
        orphan.account_id, "", "process_died", None, "", tokens, cost_micros, True, None, 0
    )
    return Record(
        request_id=orphan.lease,
        time=started.isoformat(timespec="milliseconds"),
        key_id=orphan.key_id,
        key_name="",
        session="",
        agent="",
        client="",
        dialect="anthropic",
        model=orphan.model,
        model_served="",
        stream=False,
        status=None,
        stop_reason="",
        error="process_died",
        cost_micros=cost_micros,
        first_byte_ms=None,
        duration_ms=0,
        attempts=(attempt,),
    )
