"""An account's states over the last day, as parts of a line that is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LENGTH = timedelta(days=1)
WIDTH = 1440.0


@dataclass(frozen=True, slots=True)
class Span:
    """A state from one moment to another (UTC); `left` and `width` are parts of WIDTH."""

    state: str
    since: datetime
    until: datetime
    left: float
    width: float


def spans(changes: Sequence[Mapping[str, Any]], state: str, now: datetime) -> Sequence[Span]:
    """The states of the last day, oldest first.

    Args:
        changes: newest first, with `at`, `before`, `state` and `class`; those of single classes
            of models are left out.
        state: the one now.
    """
    begin, until, found = now - LENGTH, now, []
    for change in changes:
        if change["class"]:
            continue
        at = min(max(change["at"], begin), until)
        if at < until:
            found.append(_span(str(change["state"]), at, until, begin))
        until, state = at, str(change["before"])
        if at <= begin:
            break
    if until > begin:
        found.append(_span(state, begin, until, begin))
    return found[::-1]


def _span(state: str, since: datetime, until: datetime, begin: datetime) -> Span:
    left = WIDTH * ((since - begin) / LENGTH)
    return Span(state, since, until, round(left, 2), round(WIDTH * ((until - since) / LENGTH), 2))
