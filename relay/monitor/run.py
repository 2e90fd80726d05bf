"""One run of the monitor: look, judge, mend, tell, remember."""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from relay import store
from relay.alerts import Alerts, post
from relay.monitor import checks, mending
from relay.monitor.findings import CRITICAL, WARNING, Finding
from relay.monitor.look import take
from relay.monitor.notes import Notes, Place
from relay.monitor.report import Report
from relay.monitor.seen import Look
from relay.monitor.site import Site, site
from relay.monitor.telling import Teller
from relay.pricing import Prices, PricesError
from relay.settings import Settings, SettingsError, load_or_salvage

# Longer than a run takes, even when nothing answers.
_LOCK_DEADLINE_S = 60.0
_LOCK_POLL_S = 0.1


async def watch(environ: Mapping[str, str]) -> Report:
    """Look at everything, start what is down, and tell of what is new.

    Args:
        environ: the environment, which names the settings and the machine's values.
    """
    try:
        settings, problem = read_settings(environ)
    except SettingsError as error:
        return Report(datetime.now(UTC), [Finding("settings", CRITICAL, str(error))])
    here = site(settings, environ)
    async with (
        alone(settings.home) as is_alone,
        store.opened(here.redis_url, settings.home) as opened,
    ):
        alerts = Alerts(opened, settings.webhooks, "", post)
        look = await take(here, settings, opened, alerts)
        place = Place(settings.home, opened if look.redis_answers else None)
        notes = await place.read()
        since = datetime.fromtimestamp(notes.since, UTC) if notes.since else look.at
        findings = checks.judged(look, here, settings, problem, since)
        if is_alone:
            return await _Run(settings, here, alerts, look, place, notes).go(findings)
        text = f"{settings.home} is gone, or another run there has not ended for a minute."
        return Report(look.at, [*findings, Finding("monitor", WARNING, text)])


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, str]:
    """The settings as far as they can be read, and why the relay would not start with them."""
    settings, problem = load_or_salvage(environ)
    try:
        Prices.load(settings.prices_file, settings.price_multiplier)
    except PricesError as error:
        problem = problem or str(error)
    return settings, problem


@contextlib.asynccontextmanager
async def alone(home: Path) -> AsyncIterator[bool]:
    """Whether this run has the place for itself for the block; waits a while for another one.

    The folder itself is locked: that works on a disk that is full, and leaves nothing behind.
    """
    try:
        handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        yield await _locked(handle)
    finally:
        os.close(handle)


async def _locked(handle: int) -> bool:
    with trio.move_on_after(_LOCK_DEADLINE_S):
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await trio.sleep(_LOCK_POLL_S)
            else:
                return True
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """What a run has in hand once it has looked."""

    settings: Settings
    site: Site
    alerts: Alerts
    look: Look
    place: Place
    notes: Notes

    async def go(self, findings: Sequence[Finding]) -> Report:
        """Mend, tell and remember."""
        notes, now = self.notes, time.time()
        before = set(notes.problems)
        notes.run += 1
        notes.since, notes.last = notes.since or int(now), int(now)
        # While the relay is stopped on purpose, as for a restore, much is down for a moment.
        is_patient = self.site.is_appliance and not mending.is_meant_to_run(self.look)
        to_tell, over = notes.compare(findings, now, is_patient=is_patient)
        started, note = await self._mend(before, now)
        findings = [_with_start(one, started) for one in findings]
        teller = Teller(
            self.alerts,
            self.site,
            redis_answers=self.look.redis_answers,
            is_served=any(door.ready == 200 for door in (self.look.doors or {}).values()),
        )
        by_name = {one.name: one for one in findings}
        told = await teller.tell(notes, [by_name[one.name] for one in to_tell], over)
        untold = [one.name for one in to_tell if not notes.problems[one.name].told]
        if untold:
            note = " ".join([note, "Nobody could be told."]).strip()
        report = Report(self.look.at, findings, started, told, note)
        if not await self.place.write(notes, json.dumps(report.to_json(), ensure_ascii=False)):
            note = " ".join([note, "There is no place to remember this run."]).strip()
        return dataclasses.replace(report, note=note)

    async def _mend(self, before: set[str], now: float) -> tuple[list[str], str]:
        """Start what may be started; returns the units, and a sentence where that failed."""
        most = self.settings.monitor_starts
        wanted = [
            one
            for one in mending.needed(self.look, self.site, before)
            if mending.may_start(self.notes, one.unit, most, now)
        ]
        for one in wanted:
            mending.note(self.notes, one.unit, now)
        # Before anything is started or told: a run that is killed must not do it again.
        is_kept = await self.place.write(self.notes)
        if not wanted:
            return [], ""
        if not is_kept:
            return [], "Nothing was started, because there is no place to remember it."
        started = [one.unit for one in wanted if await mending.carry_out(one)]
        failed = [one.unit for one in wanted if one.unit not in started]
        return started, f"systemd did not start {', '.join(failed)}." if failed else ""


def _with_start(finding: Finding, started: Sequence[str]) -> Finding:
    """A finding, and that its unit was started a moment ago."""
    if finding.check == "service" and finding.subject in started:
        return dataclasses.replace(finding, text=f"{finding.text} The monitor has started it.")
    return finding
