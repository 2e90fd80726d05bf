"""What is booked anew: costs share by share, and the record that corrects another one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import msgspec

from relay.pricing import Tokens
from relay.store import Correction, Entry
from relay.usage.records import Attempt, Record, Share


class _Share(msgspec.Struct, frozen=True):
    cost_micros: int


class _Attempt(msgspec.Struct, frozen=True):
    cost_micros: int
    unpriced: tuple[str, ...] = ()
    shares: tuple[_Share, ...] = ()


class _Peek(msgspec.Struct, frozen=True):
    """As much of a record as says whether it is corrected."""

    attempts: tuple[_Attempt, ...]
    prices: str = ""
    corrects: str = ""


PEEK = msgspec.json.Decoder(_Peek)
# Micro-dollars by attempt, and in it by share.
Costs = list[list[int]]


def costs_of(attempts: Sequence[Attempt | _Attempt]) -> Costs:
    """What attempts are booked with."""
    return [
        [share.cost_micros for share in attempt.shares] or [attempt.cost_micros]
        for attempt in attempts
    ]


def sums(some: Costs, more: Costs) -> Costs:
    """Costs, share by share. An older release corrects a whole attempt, by its first share."""
    return [
        [a + b for a, b in zip_longest(one, other, fillvalue=0)]
        for one, other in zip_longest(some, more, fillvalue=())
    ]


def models_of(entry: Entry, attempt: Attempt) -> list[str]:
    """The models that an attempt's costs count under."""
    return [share.model for share in attempt.shares] or [entry.model]


def correction(entry: Entry, record: Record, differences: Costs, version: str) -> Correction:
    """The difference as a record of its own, that counts as no request and has no tokens."""
    attempts = tuple(
        Attempt(
            account_id=attempt.account_id,
            account_name=attempt.account_name,
            outcome="repriced",
            status=None,
            upstream_request_id="",
            tokens=Tokens(),
            cost_micros=sum(some),
            is_estimated=False,
            first_byte_ms=None,
            duration_ms=0,
            shares=tuple(
                Share(share.model, Tokens(), micros)
                for share, micros in zip(attempt.shares, some, strict=True)
            )
            if attempt.shares
            else (),
        )
        for attempt, some in zip(record.attempts, differences, strict=True)
    )
    made = replace(
        record,
        request_id=f"{record.request_id}.repriced",
        cost_micros=sum(attempt.cost_micros for attempt in attempts),
        attempts=attempts,
        kind="correction",
        part=1,
        results=None,
        prices=version,
        corrects=entry.id,
        error="",
        stop_reason="",
        affinity="",
        first_byte_ms=None,
        duration_ms=0,
    )
    amounts: dict[tuple[str, str], int] = defaultdict(int)
    for attempt, some in zip(attempts, differences, strict=True):
        for model, micros in zip(models_of(entry, attempt), some, strict=True):
            amounts[attempt.account_id, model] += micros
    return Correction(record.key_id, entry.model, entry.at_ms, made.to_json(), amounts)
