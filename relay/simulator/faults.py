"""What can go wrong with an upstream, as values: one Fault spoils one answer.

A fault comes from the header `anthropic-sim-fault` (JSON with the fields below) or from the
simulator's script. Several fields may be set; each does its part.
"""

import json
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """How one answer goes wrong.

    Args:
        status: answer with this status, `headers` and `body` (an error envelope by default).
        delay_s: wait so long before the head of the answer.
        cut_at: close the connection after so many bytes of the answer (head included).
        reset_at: reset it there instead; 0 means before any byte of the answer.
        silent_at: send nothing more after so many bytes, and keep the connection open.
        garbage_at: send bytes that are no HTTP there, and close.
        drip: send the answer one byte at a time, with so many seconds between them.
        error_event: end a stream with this error type after `after_events` events.
        pack: compress the answer with gzip, a stream too.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    error_type: str = "api_error"
    message: str = "A fault was asked for."
    delay_s: float = 0.0
    cut_at: int | None = None
    reset_at: int | None = None
    silent_at: int | None = None
    garbage_at: int | None = None
    drip: float | None = None
    error_event: str | None = None
    after_events: int = 3
    pack: bool = False

    @classmethod
    def from_json(cls, text: str) -> "Fault":
        """Raises ValueError when `text` is not an object of the fields above."""
        given: Any = json.loads(text)
        known = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise ValueError(f"a fault is an object of {sorted(known)}")
        return cls(**given)

    @property
    def breaks_at(self) -> int | None:
        """The byte of the answer at which the connection stops to be of use."""
        places = (self.cut_at, self.reset_at, self.silent_at, self.garbage_at)
        return min((place for place in places if place is not None), default=None)
