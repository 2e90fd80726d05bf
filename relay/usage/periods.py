"""Times as people write them, and the hours and days that cover a period. All UTC."""

import re
from datetime import UTC, date, datetime, timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Counters live a little longer; what is asked for begins at a whole day.
COUNTERS_LIFE = timedelta(days=399)
# The cells of so many are in memory at one time: there may be a million.
PERIODS_AT_ONCE = 200
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class UsageProblem(Exception):
    """A sentence about why a question about usage has no answer."""


def a_day(text: str) -> date:
    """A day as YYYY-MM-DD and in no other way. Raises ValueError where it is none."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    return date.fromisoformat(text)


def moment(text: str, now: datetime, *, is_end: bool = False) -> datetime:
    """A time as people write it: 2026-11-23, 2026-11, 2026-11-23T14:00, 7d, 12h, 90m, yesterday.

    A day or a month begins a period at its own beginning, and ends one at its end. What counts
    back in days or hours goes on to the beginning of that hour.

    Raises:
        UsageProblem: it is none of these.
    """
    names = {"today": now.date(), "yesterday": now.date() - DAY}
    if text in names:
        return midnight(names[text]) + (DAY if is_end else timedelta())
    if match := re.fullmatch(r"(\d{1,5})([dhm])", text):
        back = now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        return back if match[2] == "m" else start_of_hour(back)
    try:
        if re.fullmatch(r"\d{4}-\d\d", text):
            first = midnight(date.fromisoformat(f"{text}-01"))
            return _next_month(first) if is_end else first
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return midnight(date.fromisoformat(text)) + (DAY if is_end else timedelta())
        given = datetime.fromisoformat(text)
        return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageProblem(
            f"{text[:40]!r} is not a time; use 2026-11-23, 2026-11, 2026-11-23T14:00, 7d or 12h."
        ) from None


def midnight(day: date) -> datetime:
    """The beginning of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1)


def start_of_hour(at: datetime) -> datetime:
    """The beginning of the hour that holds a time."""
    return at.replace(minute=0, second=0, microsecond=0)


def start_of_day(at: datetime) -> datetime:
    """The beginning of the UTC day that holds a time."""
    return start_of_hour(at).replace(hour=0)


def is_on_the_hour(at: datetime) -> bool:
    """Whether counters can tell what was before a time and what after it."""
    return at == start_of_hour(at)


def hour_of(at: datetime) -> str:
    """The hour that holds a time, as counters name it: 2026-11-23T14."""
    return f"{at:%Y-%m-%dT%H}"


def covering(since: datetime, until: datetime, *, in_hours: bool = False) -> list[str]:
    """The days, and where they are cut the hours, from `since` to `until`; both on the hour.

    Args:
        in_hours: only hours, no days.
    """
    found, at = [], since
    while at < until:
        if not in_hours and at == start_of_day(at) and at + DAY <= until:
            found.append(f"{at:%Y-%m-%d}")
            at += DAY
        else:
            found.append(hour_of(at))
            at += HOUR
    return found
