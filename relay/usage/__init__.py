"""What was used: one record per request, counters by hour and day, and the reports over them.

A record is what one request cost and why; the counters are the same figures added up by key,
account and model. Both are written by the script that settles the lease, so they agree, and
verify() can tell. Records move from Redis to files of a day each when they are many.
"""

from relay.store import COUNTERS
from relay.usage.archive import Archive, is_short, tidy
from relay.usage.daily import daily, kept_reports, prune, save_due
from relay.usage.latest import Speed, programs, speed
from relay.usage.periods import UsageProblem, a_day, moment
from relay.usage.records import (
    HOUR_LINES,
    RELAY_KEY,
    Attempt,
    Decision,
    Record,
    Share,
    counters,
    decision,
    refusal,
)
from relay.usage.report import Ask, KeyUsage, Report, dollars, of_key, report, saved_by_cache
from relay.usage.reprice import LOCK, Line, Plan, book, lock, plan
from relay.usage.searching import Found, Search, is_place, search, when
from relay.usage.sums import BY, Row
from relay.usage.unpriced import Unpriced, note_unpriced, unpriced
from relay.usage.verify import Difference, Verdict, verify

__all__ = [
    "BY", "COUNTERS", "HOUR_LINES", "LOCK", "RELAY_KEY", "Archive", "Ask", "Attempt",
    "Decision",
    "Difference", "Found", "KeyUsage",
    "Line", "Plan", "Record", "Report", "Row", "Search", "Share", "Speed", "Unpriced",
    "UsageProblem", "Verdict",
    "a_day", "book", "counters", "daily", "decision", "dollars", "is_place", "is_short",
    "kept_reports",
    "lock", "moment", "note_unpriced", "of_key", "plan",
    "programs", "prune", "refusal", "report", "save_due", "saved_by_cache", "search",
    "speed", "tidy", "unpriced", "verify", "when",
]  # fmt: skip
