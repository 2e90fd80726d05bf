"""Alerts: what somebody is to be told, and what each webhook is still to get of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from relay.store.database import Arg, Database, flat, pairs
from relay.store.names import NAMES, name


@dataclass(frozen=True, slots=True)
class Handed:
    """An alert that was handed out for delivery.

    Args:
        id: its id, by which receivers know it again.
        fields: as they were added; `event` and `at` (Unix ms) are always there.
        tries: how often it was handed out, with this time.
        failures: how often its webhook failed in a row before.
    """

    id: str
    fields: Mapping[str, str]
    tries: int
    failures: int


@dataclass(frozen=True, slots=True)
class Dead:
    """An alert that was given up; `died_at_ms` is Unix time."""

    id: str
    fields: Mapping[str, str]
    tries: int
    error: str
    died_at_ms: int


class AlertTable:
    """What is kept of alerts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def newest(self, count: int) -> list[dict[str, str]]:
        """The newest alerts, newest first."""
        rows = await self._db.call("XREVRANGE", NAMES["alerts"], "+", "-", "COUNT", count)
        return [pairs(fields) for _, fields in rows]

    async def add(
        self, event: str, fields: Mapping[str, str], once: str = "", life_ms: int = 1
    ) -> bool:
        """Add an alert; see lua/tell.lua.

        Args:
            once: a word under which it is added once within `life_ms`; empty for always.
        """
        args: list[Arg] = [event, once, life_ms, *flat(fields)]
        return bool(await self._db.run("tell", [NAMES["alerts"]], args))

    async def tell_marks(self, most: int, relay_budgets: str, marks: Iterable[int]) -> int:
        """Tell of limits that are used up to one of `marks` (per mille); see lua/marks.lua.

        Returns how many scopes were looked at, at most `most`.
        """
        args: list[Arg] = [most, relay_budgets, *sorted(marks)]
        return int(await self._db.run("marks", [NAMES["touched"]], args))

    async def tell_expiring(self, key_ids: Sequence[str], within_ms: Iterable[int]) -> None:
        """Tell of keys that end within one of these times; see lua/expiring.lua."""
        times = " ".join(str(one) for one in sorted(within_ms))
        await self._db.run("expiring", [NAMES["key_by_hash"]], [times, *key_ids])

    async def claim(
        self,
        webhook: str,
        token: str,
        life_ms: int,
        age_ms: int,
        events: Iterable[str],
        marks: Iterable[int],
        *,
        only_take_in: bool = False,
    ) -> Handed | None:
        """The next alert that a webhook is to get, for `life_ms`; see lua/claim.lua.

        Args:
            token: a word of the one who asks.
            age_ms: an older one is given up while the webhook fails.
            marks: per mille; of alerts that have one only these are meant.
        """
        args: list[Arg] = [webhook, token, life_ms, age_ms, "\n".join(events)]
        args += ["\n".join(str(mark) for mark in marks), int(only_take_in)]
        reply = await self._db.run("claim", [name("webhook", webhook)], args)
        if not reply:
            return None
        return Handed(reply[0].decode(), json.loads(reply[1]), reply[2], reply[3])

    async def book(
        self,
        webhook: str,
        token: str,
        alert: str,
        error: str,
        again_ms: int,
        rest_ms: int,
        age_ms: int,
        line: str,
    ) -> int:
        """Book how a delivery ended; an empty `error` is a good end. See lua/outcome.lua.

        Args:
            line: for the webhook's log.
        """
        args: list[Arg] = [webhook, token, alert, error, again_ms, rest_ms, age_ms, line]
        return int(await self._db.run("outcome", [name("webhook", webhook)], args))

    async def standing(self, webhook: str) -> tuple[dict[str, str], int, int]:
        """A webhook's fields, and how many alerts wait for it and are dead."""
        fields = await self._db.hash(name("webhook", webhook))
        waiting = await self._db.call("ZCARD", name("webhook_due", webhook))
        dead = await self._db.call("LLEN", name("webhook_dead", webhook))
        return fields, int(waiting), int(dead)

    async def note_delivery(self, webhook: str, line: str) -> None:
        """Add a line to a webhook's log; see lua/noted.lua."""
        await self._db.run("noted", [name("webhook_log", webhook)], [webhook, line])

    async def deliveries(self, webhook: str) -> list[str]:
        """The lines of a webhook's log, newest first."""
        rows = await self._db.call("LRANGE", name("webhook_log", webhook), 0, -1)
        return [row.decode() for row in rows]

    async def dead(self, webhook: str) -> list[Dead]:
        """What a webhook did not get, oldest first."""
        rows = await self._db.call("LRANGE", name("webhook_dead", webhook), 0, -1)
        return [_dead(json.loads(row)) for row in rows]

    async def revive(self, webhook: str, alert: str = "") -> int:
        """Let a webhook have its dead alerts after all, or one of them; how many there were."""
        keys = [name("webhook_dead", webhook)]
        return int(await self._db.run("revive", keys, [webhook, alert]))


def _dead(row: Mapping[str, str]) -> Dead:
    fields = json.loads(row["alert"])
    return Dead(row["id"], fields, int(row["tries"]), row["error"], int(row["at"]))
