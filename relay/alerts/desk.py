"""Where alerts are added and from where they go out."""

import logging
import random
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import trio

from relay import rules
from relay.alerts import deliveries, formats, texts
from relay.alerts.deliveries import Sent
from relay.alerts.outbound import DEADLINE_S, Outcome
from relay.settings import EVENTS, USUAL_MARKS, Webhook
from relay.store import Dead, Handed, RedisAway, Store

log = logging.getLogger("relay.alerts")

_DAY_MS = 24 * 3600 * 1000
_EXPIRY_WITHIN_MS = (_DAY_MS, 7 * _DAY_MS)
# A script holds Redis up for as long as it runs: about 10 µs for each of these.
_SCOPES_AT_ONCE = 50
_KEYS_AT_ONCE = 100
# Longer than a delivery and its booking take.
_CLAIM_MS = round((DEADLINE_S + 7) * 1000)
_BOOK_DEADLINE_S = 5.0
_RETRY_S = 0.2
# Deliveries of one run of the job, which must end before its minute is over.
_PASS_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 3600.0
_GIVEN_UP_MS = _DAY_MS
_MOST_TEXT = 20_000


class Post(Protocol):
    """Sends a body to a webhook; see outbound.post()."""

    async def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool
    ) -> Outcome: ...


class WebhookProblem(rules.Problem):
    """A sentence about why a webhook cannot be found."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a webhook fares; times are UTC or None.

    Args:
        failures: in a row; `error` says why the last one was.
        rests_until: nothing is sent to it before.
    """

    webhook: Webhook
    waiting: int
    dead: int
    failures: int
    error: str
    delivered_at: datetime | None
    failed_at: datetime | None
    rests_until: datetime | None

    def to_json(self) -> dict[str, object]:
        """As programs see it; its address without what may be secret."""
        one = self.webhook
        return {
            "id": one.id,
            "name": one.name,
            "url": one.shown,
            "format": one.format,
            "signed": one.secret is not None,
            "events": one.events,
            "thresholds": [mark / 1000 for mark in one.marks],
            "allowPrivate": one.allow_private,
            "waiting": self.waiting,
            "dead": self.dead,
            "failures": self.failures,
            "error": self.error,
            "deliveredAt": self.delivered_at,
            "failedAt": self.failed_at,
            "restsUntil": self.rests_until,
        }


@dataclass(frozen=True, slots=True)
class Delivered:
    """How a test of a webhook ended."""

    name: str
    ok: bool
    status: int | None
    error: str
    duration_ms: int


class Note(Protocol):
    """Writes into the audit; see Audit.note()."""

    async def __call__(
        self,
        action: str,
        subject: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None: ...


class Alerts:
    """Adds alerts, notices those that nobody adds, and delivers them.

    Args:
        relay_budgets: the whole relay's, as limits.budgets() writes them.
        post: what sends to a webhook.
        note: writes tests and retries into the audit; None where nobody asks for any.
    """

    def __init__(
        self,
        store: Store,
        webhooks: Sequence[Webhook],
        relay_budgets: str,
        post: Post,
        note: Note | None = None,
    ) -> None:
        self._store = store
        self._note = note
        self._relay_budgets = relay_budgets
        self._post = post
        self.webhooks = tuple(webhooks)
        self._marks = {mark for one in webhooks for mark in one.marks} or set(USUAL_MARKS)

    async def add(
        self,
        event: str,
        title: str,
        text: str = "",
        *,
        once: str = "",
        once_for_s: float = 24 * 3600.0,
        **fields: str,
    ) -> bool:
        """Tell somebody of something. Returns whether it was added.

        Args:
            event: one of settings.EVENTS.
            title: one line.
            once: a word under which it is told once within `once_for_s`; empty for always.
            fields: more that programs are to read.
        """
        if event not in EVENTS:
            raise ValueError(f"There is no event {event}.")
        told = {"title": title, "text": text[:_MOST_TEXT], **fields}
        return await self._store.alerts.add(event, told, once, round(once_for_s * 1000))

    async def tell_marks(self) -> None:
        """Add an alert for each limit that has been used up to a threshold since the last look."""
        most = _SCOPES_AT_ONCE
        while await self._store.alerts.tell_marks(most, self._relay_budgets, self._marks) == most:
            pass

    async def tell_expiring(self) -> None:
        """Add an alert for each key that ends within a week, and again within a day."""
        ids = await self._store.keys.ids()
        for start in range(0, len(ids), _KEYS_AT_ONCE):
            part = ids[start : start + _KEYS_AT_ONCE]
            await self._store.alerts.tell_expiring(part, _EXPIRY_WITHIN_MS)

    async def begin(self) -> None:
        """Let each webhook that is new get what happens from now on."""
        for webhook in self.webhooks:
            await self._claim(webhook, "", only_take_in=True)

    async def deliver(self, webhook: Webhook) -> None:
        """Deliver what is due at a webhook, one after the other, until nothing is or it fails.

        Cancellation: what was under way is delivered again later.
        """
        until = trio.current_time() + _PASS_S
        while trio.current_time() < until:
            token = secrets.token_hex(8)
            handed = await self._claim(webhook, token)
            if handed is None:
                return
            started = trio.current_time()
            outcome = await self._send(webhook, handed.id, handed.fields)
            line = deliveries.log_line(handed.id, handed.fields, handed.tries, outcome, started)
            await self._book(webhook, token, handed, outcome, line)

    async def _claim(
        self, webhook: Webhook, token: str, *, only_take_in: bool = False
    ) -> Handed | None:
        return await self._store.alerts.claim(
            webhook.id,
            token,
            _CLAIM_MS,
            _GIVEN_UP_MS,
            webhook.events,
            webhook.marks,
            only_take_in=only_take_in,
        )

    async def _send(self, webhook: Webhook, alert_id: str, fields: Mapping[str, str]) -> Outcome:
        body = formats.message(webhook, alert_id, fields)
        headers = formats.headers(webhook, alert_id, fields["event"], body, round(time.time()))
        return await self._post(
            webhook.url.reveal(), headers, body, allow_private=webhook.allow_private
        )

    async def _book(
        self, webhook: Webhook, token: str, handed: Handed, outcome: Outcome, line: str
    ) -> None:
        rest_s = max(_pause_s(handed.failures + 1), outcome.pause_s)
        again_s = max(_pause_s(handed.tries), outcome.pause_s)
        words = (webhook.name, handed.fields["event"], handed.id, handed.tries)
        if outcome.error:
            log.warning("webhook=%s event=%s id=%s try=%d: %s", *words, outcome.error)
        else:
            log.info("webhook=%s event=%s id=%s try=%d delivered", *words)
        # What was delivered must not be so again because Redis was away for a moment.
        with trio.move_on_after(_BOOK_DEADLINE_S, shield=True):
            while True:
                try:
                    ended = await self._store.alerts.book(
                        webhook.id, token, handed.id, outcome.error,
                        round(again_s * 1000), round(rest_s * 1000), _GIVEN_UP_MS, line,
                    )  # fmt: skip
                    break
                except RedisAway:
                    await trio.sleep(_RETRY_S)
            if ended == 3:
                log.error("webhook=%s event=%s id=%s given up after %d tries", *words)

    async def test(self, name_or_id: str) -> Delivered:
        """Send a test to a webhook now; it is not repeated."""
        webhook = self.find(name_or_id)
        now_ms = round(time.time() * 1000)
        fields = {
            "event": "test",
            "at": str(now_ms),
            "title": "Relay: a test",
            "text": "Somebody tested this webhook. There is nothing to do.",
        }
        started = trio.current_time()
        outcome = await self._send(webhook, f"test-{now_ms}", fields)
        line = deliveries.log_line(f"test-{now_ms}", fields, 1, outcome, started)
        await self._store.alerts.note_delivery(webhook.id, line)
        duration_ms = round((trio.current_time() - started) * 1000)
        ok = not outcome.error
        await self._audited("webhook.test", webhook, ok=ok)
        return Delivered(webhook.name, ok, outcome.status, outcome.error, duration_ms)

    async def send_now(
        self,
        event: str,
        alert_id: str,
        title: str,
        text: str = "",
        *,
        only: Collection[str] = (),
        **fields: str,
    ) -> Mapping[str, Outcome]:
        """Tell the webhooks of an event straight away, without Redis: once, and not repeated.

        Args:
            alert_id: by which receivers know a repetition.
            only: ids of webhooks; empty for all that want the event.

        Returns how it ended for each, by its id.
        """
        now_ms = str(round(time.time() * 1000))
        told = {"event": event, "at": now_ms, "title": title, "text": text[:_MOST_TEXT], **fields}
        found: dict[str, Outcome] = {}

        async def send(webhook: Webhook) -> None:
            found[webhook.id] = await self._send(webhook, alert_id, told)

        async with trio.open_nursery() as nursery:
            for webhook in self.webhooks:
                if event in webhook.events and (not only or webhook.id in only):
                    nursery.start_soon(send, webhook)
        return found

    def find(self, name_or_id: str) -> Webhook:
        """The webhook with this name or id; WebhookProblem when there is none."""
        for one in self.webhooks:
            if name_or_id in (one.name, one.id):
                return one
        raise WebhookProblem(f"relay.toml has no webhook with the name or id {name_or_id}.")

    async def standings(self) -> Sequence[Standing]:
        """How each webhook fares."""
        found = []
        for one in self.webhooks:
            fields, waiting, dead = await self._store.alerts.standing(one.id)
            found.append(_standing(one, fields, waiting, dead))
        return found

    async def sent(self, webhook: Webhook) -> Sequence[Sent]:
        """The last deliveries to a webhook, newest first."""
        lines = await self._store.alerts.deliveries(webhook.id)
        return [deliveries.sent(line) for line in lines]

    async def dead(self, webhook: Webhook) -> Sequence[Dead]:
        """What a webhook did not get, oldest first."""
        return await self._store.alerts.dead(webhook.id)

    async def retry(self, webhook: Webhook, alert_id: str = "") -> int:
        """Let a webhook have its dead alerts after all, or one of them; how many there were."""
        count = await self._store.alerts.revive(webhook.id, alert_id)
        await self._audited("webhook.retry", webhook, alert=alert_id or "all", count=count)
        return count

    async def _audited(self, action: str, webhook: Webhook, **what: object) -> None:
        if self._note is not None:
            await self._note(action, webhook.name, None, what)


def shown(dead: Dead) -> dict[str, object]:
    """An alert that was given up, as people and programs see it."""
    return {
        "id": dead.id,
        "event": dead.fields["event"],
        "time": texts.iso(dead.fields["at"]),
        "title": texts.told(dead.fields).title,
        "tries": dead.tries,
        "error": dead.error,
        "diedAt": texts.iso(str(dead.died_at_ms)),
    }


def _pause_s(number: int) -> float:
    """How long to wait after the n-th failure in a row: doubling, and a quarter more or less."""
    pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(number - 1, 30), _LONGEST_PAUSE_S)
    return pause_s * random.uniform(0.75, 1.25)  # noqa: S311  # spreads load, guards nothing


def _standing(webhook: Webhook, fields: Mapping[str, str], waiting: int, dead: int) -> Standing:
    def moment(field: str) -> datetime | None:
        return datetime.fromtimestamp(int(fields[field]) / 1000, UTC) if field in fields else None

    return Standing(
        webhook,
        waiting,
        dead,
        int(fields.get("failures", 0)),
        fields.get("error", ""),
        moment("delivered_at"),
        moment("failed_at"),
        moment("rests_until"),
    )
