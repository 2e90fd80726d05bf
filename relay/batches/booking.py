"""What a batch's results add up to, and how it goes on the books."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from relay import homes
from relay.context import Context
from relay.dialects import messages, meters
from relay.pricing import Bill, Part, Prices, Tokens
from relay.store import KeptBatch
from relay.usage import Attempt, Record, counters, decision

ENDINGS = ("succeeded", "errored", "canceled", "expired")
_LONGEST_LINE = 64 * 1024 * 1024
_LONGEST_NAMES = 500
_MOST_REMARKS = 8
# Of a batch's answers so many things are remembered; it has no threads, and no refunds.
_MOST_MADE, _MADE = 10_000, ("container", "thinking")


@dataclass(slots=True)
class _Sum:
    tokens: Tokens
    pico: int = 0
    uses: int = 0
    remarks: dict[str, None] = field(default_factory=dict)
    # By how they were served: the tokens of all results that were served alike.
    parts: dict[Part, Part] = field(default_factory=dict)

    def add_part(self, part: Part) -> None:
        """Add tokens to those that were served alike; `pass_tokens` becomes the largest prompt."""
        # Types of iterations are the upstream's to invent.
        kind = part.kind if part.kind in ("message", "unbilled") else "iteration"
        way = Part(part.model, Tokens(), kind, part.is_fast, part.is_us)
        before = self.parts.get(way, way)
        self.parts[way] = replace(
            before,
            tokens=before.tokens.plus(part.tokens),
            pass_tokens=max(before.pass_tokens, part.pass_tokens or part.tokens.prompt),
            unknown_tokens=before.unknown_tokens + part.unknown_tokens,
            unknown_uses=before.unknown_uses + part.unknown_uses,
        )


class Tally:
    """Reads a batch's results as they pass, one line of JSON after another, and adds them up."""

    def __init__(self, prices: Prices) -> None:
        self.results = dict.fromkeys(ENDINGS, 0)
        self.sums: dict[str, _Sum] = {}
        # Kind and id of what the answers name and later requests may name.
        self.made: dict[tuple[str, str], None] = {}
        self._prices = prices
        self._parts: list[bytes] = []
        self._held = 0
        self._is_broken = False

    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the results."""
        while not self._is_broken:
            line, newline, data = data.partition(b"\n")
            self._parts.append(line)
            self._held += len(line)
            self._is_broken = self._held > _LONGEST_LINE
            if not newline:
                return
            self._see_line()

    def finish(self) -> None:
        """The results have ended; the last line may lack its end."""
        if not self._is_broken:
            self._see_line()

    def _see_line(self) -> None:
        line = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        if not line.strip():
            return
        try:
            ending, bill, made = meters.result_of(line)
            self.results[ending] += 1
        except (ValueError, KeyError):
            self._is_broken = True
            return
        if ending == "succeeded":
            self._add(bill)
            if len(self.made) < _MOST_MADE:
                self.made |= dict.fromkeys(one for one in made if one[0] in _MADE)

    def _add(self, bill: Bill) -> None:
        for part in bill.parts:
            so_far = self.sums.setdefault(part.model, _Sum(Tokens()))
            so_far.tokens = so_far.tokens.plus(part.tokens)
            so_far.pico += self._prices.pico(part)
            so_far.uses += self._prices.uses(part)
            if self._prices.is_stand_in(part.model):
                so_far.add_part(part)
            so_far.remarks |= dict.fromkeys(bill.remarks[: _MOST_REMARKS - len(so_far.remarks)])

    def is_whole(self, requests: int) -> bool:
        """Whether these are the results of a batch of so many requests, all of them."""
        return not self._is_broken and sum(self.results.values()) == requests


async def book(ctx: Context, batch: KeptBatch, tally: Tally) -> bool:
    """Book a batch by its whole results, once; whether it was this time. Raises RedisAway."""
    shares = {
        model: replace(
            _attempt(batch, one.tokens, ctx.prices.rounded(one.pico, one.uses, batch=True)),
            remarks=tuple(one.remarks),
            parts=tuple(one.parts.values()),
            unpriced=ctx.prices.unpriced(one.parts),
        )
        for model, one in tally.sums.items()
    }
    if not shares:
        shares = {_counted(ctx, next(iter(batch.models))): _attempt(batch, Tokens(), 0)}
    made = [homes.entry(batch.key_id, kind, made_id) for kind, made_id in tally.made]
    return await _book(ctx, batch, shares, tally.results, "", made)


async def book_estimated(ctx: Context, batch: KeptBatch, why: str) -> bool:
    """Book a batch whose results nobody can have: what it was expected to cost."""
    shares: dict[str, Attempt] = {}
    for asked, (_, expected, input_tokens) in batch.models.items():
        model, tokens = _counted(ctx, asked), Tokens(input=input_tokens)
        if before := shares.get(model):
            tokens, expected = before.tokens.plus(tokens), before.cost_micros + expected
        shares[model] = replace(_attempt(batch, tokens, expected), outcome=why, is_estimated=True)
    return await _book(ctx, batch, shares, None, why)


def _counted(ctx: Context, asked: str) -> str:
    """The model to count under; names that nobody serves are the client's to invent."""
    return ctx.prices.row_of(asked) or "unknown"


def _attempt(batch: KeptBatch, tokens: Tokens, cost_micros: int) -> Attempt:
    return Attempt(
        account_id=batch.account_id,
        account_name=batch.account_name,
        outcome="ok",
        status=200,
        upstream_request_id="",
        tokens=tokens,
        cost_micros=cost_micros,
        is_estimated=False,
        first_byte_ms=None,
        duration_ms=_age_ms(batch),
    )


def _age_ms(batch: KeptBatch) -> int:
    return max(0, round(time.time() * 1000) - batch.started_at_ms)


async def _book(
    ctx: Context,
    batch: KeptBatch,
    shares: Mapping[str, Attempt],
    results: dict[str, int] | None,
    error: str,
    made: Sequence[str] = (),
) -> bool:
    """Book what each model has cost, with a record for each: counters are kept by model."""
    for model, attempt in shares.items():
        ctx.leases.remarks.of([attempt], model)
    records = {
        model: _record(batch, model, attempt, number, results, error, ctx.prices.version)
        for number, (model, attempt) in enumerate(shares.items())
    }
    first = next(iter(records.values()))
    why = replace(
        decision(first, 1, {}, f"the account that took the batch {batch.id}; it is booked"),
        attempts=tuple(shares.values()),
    )
    parts = [
        (
            model,
            record.to_json(),
            {name: count for (_, _, name), count in counters(record, model).items()},
        )
        for model, record in records.items()
    ]
    return await ctx.store.batches.book(batch.id, parts, why.to_json(), made)


def _record(
    batch: KeptBatch,
    model: str,
    attempt: Attempt,
    part: int,
    results: dict[str, int] | None,
    error: str,
    prices: str,
) -> Record:
    started = datetime.fromtimestamp(batch.started_at_ms / 1000, UTC)
    return Record(
        request_id=f"{batch.lease}.{part}" if part else batch.lease,
        time=started.isoformat(timespec="milliseconds"),
        key_id=batch.key_id,
        key_name=batch.key_name,
        session="",
        agent="",
        client=batch.client,
        dialect=messages.name,
        model=", ".join(batch.models)[:_LONGEST_NAMES],
        model_served=model,
        stream=False,
        status=200,
        stop_reason="",
        error=error,
        affinity="",
        cost_micros=attempt.cost_micros,
        first_byte_ms=None,
        duration_ms=attempt.duration_ms,
        attempts=(attempt,),
        kind="batch",
        batch_id=batch.id,
        part=part,
        results=None if part else results,
        prices=prices,
    )
