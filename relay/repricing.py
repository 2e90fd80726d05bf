"""Booking days anew once a model has a row: one run at a time, with a line in the audit."""

import json
from dataclasses import dataclass
from datetime import date

import trio

from relay import usage
from relay.audit import Audit
from relay.pricing import Prices
from relay.store import Store
from relay.usage import Archive, Plan

_UNLOCK_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Repricing:
    """Books requests anew by the prices in force."""

    store: Store
    archive: Archive
    prices: Prices
    audit: Audit

    async def run(self, since: date, *, older: bool = False, dry_run: bool = False) -> Plan:
        """Book anew what was booked without a row, of the days (UTC) from `since` on.

        Args:
            older: also what was booked by another table.
            dry_run: only say what would change.

        Raises:
            UsageProblem: no records are kept of these days, or another run is under way.
        """
        if dry_run:
            return await usage.plan(self.store, self.archive, self.prices, since, older=older)
        owner = await usage.lock(self.store)
        try:
            made = await usage.plan(self.store, self.archive, self.prices, since, older=older)
            if made.corrections:
                await self._note(made, since, older=older)
            await usage.book(self.store, owner, made.corrections)
            await self._report_anew(made)
            return made
        finally:
            with trio.move_on_after(_UNLOCK_DEADLINE_S, shield=True):
                await self.store.unlock(usage.LOCK, owner)

    async def _note(self, made: Plan, since: date, *, older: bool) -> None:
        """Before anything is booked, so that nothing is without its line."""
        facts = {"from": f"{since}", "older": older, "records": len(made.corrections)}
        await self.audit.note(
            "usage.reprice",
            made.version,
            {"cost_micros": made.before_micros},
            {"cost_micros": made.after_micros, **facts},
        )

    async def _report_anew(self, made: Plan) -> None:
        """Replace the stored reports of the days; a run that was interrupted may not have."""
        stored = await self.store.usage.reports()
        for day in made.days:
            if day in stored:
                told = await usage.daily(self.store, self.prices, date.fromisoformat(day))
                await self.store.usage.replace_report(day, json.dumps(told))
