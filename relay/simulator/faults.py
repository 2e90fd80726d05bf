"""What can go wrong with an upstream, as values: one Fault spoils one answer.

A fault comes from the header `anthropic-sim-fault` (one of the names in NAMED, or JSON with the
fields below) or from a test through the simulator's script. It only says what shall happen;
connection.py and api.py let it happen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Fault:
    """How one answer goes wrong. Several fields may be set; each does its part.

    Places are bytes of the answer as it goes over the wire, its head and its framing included.

    Args:
        status: answer with this status and `body`, by default an error in the API's envelope.
        headers: go over those of any answer, a good one too.
        error_type: by default the one that belongs to the status.
        details: `error.details` of the envelope.
        delay_s: wait so long before the head of the answer.
        cut_at: close the connection there; 0 means before any byte of the answer.
        reset_at: reset it there (RST).
        silent_at: send nothing more from there on, and keep the connection open.
        garbage_at: send bytes that are no HTTP there, and close.
        of_body: places count from the first byte after the head.
        at_accept: do it to the next connection, before a request is read.
        drip: send `drip_bytes` at a time, with so many seconds between them.
        error_event: end a stream with this error type after `after_events` events.
        insert: put this text into a stream after `after_events` events, and go on.
        pack: compress the answer with gzip, a stream too.
        text: answer this; not a failure, but steered as one.
        usage: figures to report instead of the rule's.
        refusal: the model refuses, for this category; steered as well.
        is_open_batch: a batch that is made stays in progress until it is cancelled or ended.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    error_type: str | None = None
    message: str = "A fault was asked for."
    details: dict[str, Any] | None = None
    delay_s: float = 0.0
    cut_at: int | None = None
    reset_at: int | None = None
    silent_at: int | None = None
    garbage_at: int | None = None
    of_body: bool = False
    at_accept: bool = False
    drip: float | None = None
    drip_bytes: int = 1
    error_event: str | None = None
    insert: str | None = None
    after_events: int = 3
    pack: bool = False
    text: str | None = None
    usage: dict[str, Any] | None = None
    refusal: str | None = None
    is_open_batch: bool = False

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """A fault from its name or its JSON. Raises ValueError with what would be right."""
        if text in NAMED:
            return NAMED[text]
        try:
            given = msgspec.json.decode(text, type=dict[str, Any])
            fault = msgspec.convert(given, cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            known = ", ".join(NAMED)
            raise ValueError(f"{error}; a fault is a JSON object or one of {known}") from None
        if unknown := given.keys() - {one.name for one in fields(cls)}:
            raise ValueError(f"there is no {min(unknown)}")
        if min(fault.delay_s, fault.drip or 0, fault.breaks_at or 0) < 0:
            raise ValueError("a fault has no negative place or time")
        return fault

    @property
    def breaks_at(self) -> int | None:
        """The place at which the connection stops to be of use."""
        places = (self.cut_at, self.reset_at, self.silent_at, self.garbage_at)
        return min((place for place in places if place is not None), default=None)


# What operators meet most, in the API's own words where they matter to who reads them.
NAMED: Mapping[str, Fault] = MappingProxyType(
    {
        "rate_limit": Fault(
            status=429, headers={"retry-after": "7"}, message="Too many requests per minute."
        ),
        "spend_cap": Fault(
            status=429,
            message="The organization's spend limit is reached.",
            details={"error_code": "enforced_spend_limit_reached"},
        ),
        "usage_limit": Fault(
            status=400,
            message="You have reached your specified API usage limits."
            " You will regain access on 2100-01-01 at 00:00 UTC.",
        ),
        "unauthorized": Fault(status=401, message="invalid x-api-key"),
        "forbidden": Fault(status=403, message="This credential may not use the resource."),
        "broken": Fault(status=500, message="Internal server error"),
        "overloaded": Fault(status=529, message="Overloaded"),
        "overloaded_midway": Fault(error_event="overloaded_error", message="Overloaded"),
    }
)
