"""The log of a webhook: a line for each delivery that was tried."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from relay.alerts import texts
from relay.alerts.outbound import Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery that was tried: which alert (`id`), when (UTC), for the how manieth time, and how
    it ended; `error` is empty when it was taken."""

    id: str
    event: str
    title: str
    at: datetime
    tries: int
    status: int | None
    error: str
    duration_ms: int


def log_line(
    alert_id: str, fields: Mapping[str, str], tries: int, outcome: Outcome, started: float
) -> str:
    """A delivery that began at `started` (trio's clock) and has just ended, as it is kept."""
    line = {
        "id": alert_id,
        "event": fields["event"],
        "title": texts.told(fields).title,
        "at": round(time.time() * 1000),
        "tries": tries,
        "status": outcome.status,
        "error": outcome.error,
        "duration_ms": round((trio.current_time() - started) * 1000),
    }
    return json.dumps(line)


def sent(line: str) -> Sent:
    """A line of the log, read again."""
    row = json.loads(line)
    return Sent(**{**row, "at": datetime.fromtimestamp(row["at"] / 1000, UTC)})
