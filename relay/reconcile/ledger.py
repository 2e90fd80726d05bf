"""The relay's own books for a comparison: what its counters hold of each day."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from relay.store import Store

# Counters by account and model.
Amounts = Mapping[tuple[str, str], Mapping[str, int]]


async def counted(store: Store, days: Sequence[str]) -> dict[str, Amounts]:
    """What the counters hold of each day (UTC); refusals, which have no account, are left out."""
    found: dict[str, Amounts] = {}
    for period in await store.usage.counted(days):
        amounts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for cell in period.cells:
            for counter, amount in cell.amounts.items() if cell.account_id else ():
                amounts[cell.account_id, cell.model][counter] += amount
        found[period.period] = amounts
    return found
