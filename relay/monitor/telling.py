"""Telling the webhooks: by Redis, whose queue repeats what fails, or straight while it is away."""

import contextlib
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import trio

from relay.alerts import Alerts
from relay.monitor.findings import Finding
from relay.monitor.notes import Notes, Problem
from relay.monitor.site import Site
from relay.store import RedisAway, ReplyError

_DELIVERY_DEADLINE_S = 15.0


class Teller:
    """Tells of problems and of their ends, each once.

    Args:
        redis_answers: alerts can go into their queue.
        is_served: an instance runs that delivers from there; else that is done here.
    """

    def __init__(self, alerts: Alerts, site: Site, *, redis_answers: bool, is_served: bool) -> None:
        self._alerts = alerts
        self._site = site
        self._redis_answers = redis_answers
        self._is_served = is_served

    async def tell(
        self, notes: Notes, problems: Sequence[Finding], over: Sequence[str]
    ) -> list[str]:
        """Tell of these, and let the notes say so; returns the names that somebody heard of."""
        told: list[str] = []

        async def tell_problem(one: Finding) -> None:
            if await self._problem(one, notes.problems[one.name]):
                told.append(one.name)

        async def tell_end(name: str) -> None:
            if await self._end(name, notes.problems[name]):
                told.append(name)

        await self._begin()
        async with trio.open_nursery() as nursery:
            for one in problems:
                nursery.start_soon(tell_problem, one)
            for name in over:
                nursery.start_soon(tell_end, name)
        for name in over:
            # An end of which nobody could be told is told at the next run.
            if name in told or not notes.problems[name].tried:
                del notes.problems[name]
        if told and self._redis_answers and not self._is_served:
            await self._deliver()
        return sorted(told)

    async def _begin(self) -> None:
        """A webhook that no relay has served yet gets what is added from now on."""
        if self._redis_answers:
            with contextlib.suppress(RedisAway, ReplyError):
                await self._alerts.begin()

    async def _problem(self, one: Finding, known: Problem) -> bool:
        known.tried = True
        mend = f" To mend it: {one.mend}" if one.mend else ""
        title = f"{self._site.name}: {one.level}: {one.name}"
        is_new = not known.told
        word = f"{one.name}:{one.level}:{known.since}"
        known.told, known.owed = await self._send(
            word, known.owed, title, f"{one.text}{mend}",
            check=one.check, subject=one.subject, level=one.level, mend=one.mend,
        )  # fmt: skip
        return known.told and is_new

    async def _end(self, name: str, known: Problem) -> bool:
        """Tell that a problem is over, where somebody was to hear of it before."""
        if not known.tried:
            return False
        began = datetime.fromtimestamp(known.since, UTC)
        text = f"It was {known.level} since {began:%Y-%m-%d %H:%M} UTC."
        title = f"{self._site.name}: {name} is well again"
        subject = name.removeprefix(known.check).strip()
        is_told, _ = await self._send(
            f"{name}:over:{known.since}", [], title, text,
            check=known.check, subject=subject, level="ok",
        )  # fmt: skip
        return is_told

    async def _send(
        self, word: str, owed: list[str], title: str, text: str, **given: str
    ) -> tuple[bool, list[str]]:
        """Whether anybody is told, and the ids of webhooks that still are to be."""
        fields: dict[str, Any] = {name: value for name, value in given.items() if value}
        fields["machine"] = self._site.name
        if self._redis_answers and not owed:
            with contextlib.suppress(RedisAway, ReplyError):
                once = f"monitor:{word}"
                await self._alerts.add("monitor", title, text, once=once, **fields)
                return True, []
        alert_id = "monitor-" + hashlib.sha256(word.encode()).hexdigest()[:16]
        ended = await self._alerts.send_now("monitor", alert_id, title, text, only=owed, **fields)
        missed = [webhook for webhook, outcome in ended.items() if outcome.error]
        is_told = bool(owed) or len(missed) < len(ended)
        return is_told, sorted(missed) if is_told else []

    async def _deliver(self) -> None:
        """Do what the instances would: with all of them down this is the news that matters most."""

        async def deliver_one(webhook: str) -> None:
            with contextlib.suppress(RedisAway, ReplyError):
                await self._alerts.deliver(self._alerts.find(webhook))

        with trio.move_on_after(_DELIVERY_DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for one in self._alerts.webhooks:
                    nursery.start_soon(deliver_one, one.id)
