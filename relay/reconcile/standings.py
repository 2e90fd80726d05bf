"""What the comparisons came to, as they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from relay.reconcile.keys import AdminKey, listed
from relay.store import Store


@dataclass(frozen=True, slots=True)
class Result:
    """What comparing a day came to, in micro-dollars.

    Args:
        hours: container and session hours that are booked for the day.
        lines: those that differ, the largest difference first.
        at: when it was compared (ISO, UTC).
    """

    day: str
    ours: int
    theirs: int
    hours: int
    lines: Sequence[Mapping[str, object]]
    at: str

    @property
    def differs(self) -> bool:
        return bool(self.lines)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an organisation's books compare.

    Args:
        equal_until: the last day (UTC) up to which every compared day is equal, or empty.
        differing: the days that differ, oldest first.
        results: all that are stored, newest first.
    """

    key: AdminKey
    equal_until: str
    differing: Sequence[Result]
    results: Sequence[Result]

    @property
    def difference(self) -> int:
        """How much more Anthropic's books say of the days that differ, in micro-dollars."""
        return sum(result.theirs - result.ours for result in self.differing)


async def standings(store: Store) -> Sequence[Standing]:
    """How the books of each organisation compare, as of the last runs."""
    return [await standing_of(store, key) for key in await listed(store)]


async def standing_of(store: Store, key: AdminKey) -> Standing:
    """The same of one organisation."""
    stored = await store.admin_keys.results(key.id)
    results = [result for day in sorted(stored) if (result := _result(stored[day])) is not None]
    differing = [result for result in results if result.differs]
    equal = [result.day for result in results if not differing or result.day < differing[0].day]
    return Standing(key, equal[-1] if equal else "", differing, results[::-1])


def _result(text: str) -> Result | None:
    """A stored result; None for what another release stored in another way."""
    try:
        return msgspec.json.decode(text, type=Result)
    except msgspec.DecodeError:
        return None
