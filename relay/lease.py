"""One admitted request: what became of it at each account, and what it writes into the books."""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from relay.accounts import Credential
from relay.call import CHARS_PER_TOKEN, Call, Meter
from relay.keys import KeyRef
from relay.pricing import NO_BILL, Bill, Part, Prices, Tokens
from relay.store import Admitted, Moved, Orphan
from relay.usage import Attempt, Record, Share

UNKNOWN_MODEL = "unknown"
_AN_HOUR = b'"1h"'


@dataclass(slots=True)
class Lease:
    """One open lease; the exchange fills in the outcome of the attempt under way.

    `attempts` holds those that failed before and were moved on from.
    """

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
    # What is left of the account's limits at its upstream, per mille, and until when (Unix ms).
    headroom: tuple[int, int] | None = None
    # The account's organisation and workspace, as its answer says.
    place: tuple[str, str] = ("", "")
    error: str = ""
    # Whether anything reached the upstream that it may charge for.
    was_sent: bool = False
    first_byte_at: float | None = None
    # Until when it may wait for another account's slot (trio's clock).
    waits_until: float = 0.0
    started_at: float = field(default_factory=time.monotonic)
    attempt_at: float = field(default_factory=time.monotonic)
    attempts: list[Attempt] = field(default_factory=list)
    is_settled: bool = False
    # Whether a usage record of it is written, or waits to be.
    has_record: bool = False

    def progress(self) -> tuple[str, int, int, int]:
        """What a heartbeat tells: id, number of the attempt, input tokens, characters of output."""
        number = len(self.attempts)
        if self.meter is None or self.meter.tokens is None:
            return self.id, number, self.input_estimate() if self.was_sent else 0, 0
        return self.id, number, self.meter.tokens.input, self.meter.chars

    def input_estimate(self) -> int:
        """Input tokens of a request whose upstream never said how many they were."""
        return len(self.call.body) // CHARS_PER_TOKEN

    def used(self) -> tuple[Bill, bool]:
        """What to book for this attempt, and whether it is a floor estimate."""
        if not self.was_sent or (self.status is not None and self.status != 200):
            return NO_BILL, False
        if self.meter is None or not self.meter.has_usage:
            return Bill((Part(self._requested, Tokens(input=self.input_estimate())),)), True
        bill = self.meter.bill(self._requested, writes_long=_AN_HOUR in self.call.body)
        return bill, not self.meter.is_complete

    @property
    def _requested(self) -> str:
        """The model that the account under way is asked for."""
        return self.credential.model_map.get(self.call.model, self.call.model)

    @property
    def model_served(self) -> str:
        """The model that answered, as the upstream names it, or empty."""
        return self.meter.model if self.meter else ""

    @property
    def tried(self) -> list[str]:
        """The ids of the accounts that this lease has been at."""
        return [*(attempt.account_id for attempt in self.attempts), self.account.account_id]

    def attempt(self, prices: Prices) -> Attempt:
        """The attempt under way as it would be booked now, with its exact or estimated cost."""
        bill, is_estimated = self.used()
        unpriced, cost_micros = prices.unpriced(bill.parts), prices.charge(bill.parts)
        return Attempt(
            account_id=self.account.account_id,
            account_name=self.account.account_name,
            outcome=self.error or "ok",
            status=self.status,
            upstream_request_id=self.upstream_request_id,
            tokens=bill.tokens,
            cost_micros=cost_micros,
            is_estimated=is_estimated,
            first_byte_ms=_ms_between(self.attempt_at, self.first_byte_at),
            duration_ms=_ms_between(self.attempt_at, time.monotonic()) or 0,
            parts=bill.parts if unpriced else bill.parts_to_store,
            remarks=bill.remarks,
            unpriced=unpriced,
            shares=self._shares(bill, cost_micros, prices),
        )

    def _shares(self, bill: Bill, cost_micros: int, prices: Prices) -> tuple[Share, ...]:
        """What each model of a bill counts for."""
        if not bill.parts:
            return ()
        if len(bill.parts) == 1:
            return (Share(self._counted(bill.parts[0].model, prices), bill.tokens, cost_micros),)
        return tuple(
            Share(self._counted(model, prices), bill.tokens_of(model), micros)
            for model, micros in prices.shares(bill.parts)
        )

    def _counted(self, model: str, prices: Prices) -> str:
        """The name to count a billed model under, which is its upstream's and not its client's."""
        if model == self._requested and model != self.model_served:
            return counted_model("", model, prices)
        return model

    def go_on_at(self, moved: Moved, credential: Credential) -> None:
        """Begin the next attempt."""
        self.account = replace(
            self.account,
            account_id=moved.account_id,
            account_version=moved.account_version,
            account_name=moved.account_name,
            skipped=moved.skipped,
            is_trial=moved.is_trial,
        )
        self.credential = credential
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """The attempt before has ended; nothing is known of the next one yet."""
        self.meter = self.status = self.first_byte_at = None
        self.headroom, self.place = None, ("", "")
        self.error = self.upstream_request_id = ""
        self.was_sent = False
        self.attempt_at = time.monotonic()

    def reason(self) -> str:
        """Why the account was chosen, in words."""
        if self.call.account_id or self.call.named:
            return "the account that holds what the request names"
        if len(self.attempts) > 1:
            return "the accounts before it failed"
        if self.account.affinity == "kept":
            return "the conversation's account"
        if self.account.candidates == 1:
            return "the only account that could serve"
        return "its turn by priority and weight among those that could serve"

    def record(self, prices: str, model: str) -> Record:
        """The usage record of a lease whose last attempt has ended.

        Args:
            prices: the version of the price table.
            model: the one that the record counts under.
        """
        return Record(
            request_id=self.id,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            key_id=self.key.id,
            key_name=self.account.key_name,
            session=self.call.session,
            agent=self.call.agent,
            client=self.client,
            dialect=self.dialect,
            model=self.call.model,
            model_served=self.model_served,
            stream=self.call.stream,
            status=self.status,
            stop_reason=self.meter.stop_reason if self.meter else "",
            error=self.error,
            affinity="moved" if len(self.attempts) > 1 else self.account.affinity,
            cost_micros=sum(attempt.cost_micros for attempt in self.attempts),
            first_byte_ms=_ms_between(self.started_at, self.first_byte_at),
            duration_ms=_ms_between(self.started_at, time.monotonic()) or 0,
            attempts=tuple(attempt.of_record(model) for attempt in self.attempts),
            prices=prices,
        )


def counted_model(served: str, requested: str, prices: Prices) -> str:
    """The model to count under; names that nobody serves are the client's to invent."""
    return served or prices.row_of(requested) or UNKNOWN_MODEL


def _ms_between(start: float, end: float | None) -> int | None:
    return None if end is None else round((end - start) * 1000)


def orphan_record(orphan: Orphan, prices: Prices, model: str) -> Record:
    """The record of a lease whose process died: what it had lost before, and the floor estimate
    of how far its last attempt came.

    Args:
        model: the one that the record counts under.
    """
    tokens = Tokens(input=orphan.input_tokens, output=orphan.output_chars // CHARS_PER_TOKEN)
    parts = (Part(orphan.model, tokens),)
    unpriced = prices.unpriced(parts)
    started = datetime.fromtimestamp(orphan.started_at_ms / 1000, UTC)
    last = Attempt(
        account_id=orphan.account_id,
        account_name="",
        outcome="process_died",
        status=None,
        upstream_request_id="",
        tokens=tokens,
        cost_micros=prices.charge(parts),
        is_estimated=True,
        first_byte_ms=None,
        duration_ms=0,
        parts=parts if unpriced else (),
        unpriced=unpriced,
    )
    lost = (Attempt.from_json(text).of_record(model) for text in orphan.lost)
    attempts = (*lost, last)
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
        affinity="",
        cost_micros=sum(attempt.cost_micros for attempt in attempts),
        first_byte_ms=None,
        duration_ms=0,
        attempts=attempts,
        prices=prices.version,
    )
