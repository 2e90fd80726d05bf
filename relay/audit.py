"""Who changed what, when and from where: a list in which a removed or altered line is found.

Each entry is sealed with a keyed hash over itself and the seal before it, so nobody who can write
to Redis but lacks JWT_SECRET can change, insert or take out a line unseen. The newest lines could
be cut off together with the note of which was the last; therefore each seal stands in the log too.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from relay.store import Store
from relay.vault import Vault, same_secret

log = logging.getLogger("relay.audit")

_PAGE = 500
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a person's or program's name with its kind before it, and its address."""

    name: str
    address: str = ""


_RELAY = Actor("relay")
_actor: ContextVar[Actor] = ContextVar("relay_audit_actor", default=_RELAY)


@contextlib.contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """What changes within the block was changed by `actor`; else by the relay itself."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def acting_name() -> str:
    """Who acts: a person's or program's name with its kind before it."""
    return _actor.get().name


def by_machine() -> bool:
    """Whether the relay itself or its command line acts, not somebody by a role."""
    name = _actor.get().name
    return name == _RELAY.name or name.startswith("cli:")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `before` and `after` hold the fields that changed, never a secret.

    Args:
        id: its place, for reading on.
        number: counts from 1 without a gap.
        action: NOUN.VERB, such as key.create.
        subject: the name of what was changed.
    """

    id: str
    number: int
    time: str
    actor: str
    address: str
    action: str
    subject: str
    before: Mapping[str, object]
    after: Mapping[str, object]


class Audit:
    """Keeps changes and checks that all of them are still there."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def note(
        self,
        action: str,
        subject: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Keep that the acting one did `action` to `subject`; of both states what differs."""
        old, new = dict(before or {}), dict(after or {})
        same = {name for name in old.keys() & new.keys() if old[name] == new[name]}
        actor = _actor.get()
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": actor.name,
            "address": actor.address,
            "action": action,
            "subject": subject,
            "before": {name: value for name, value in old.items() if name not in same},
            "after": {name: value for name, value in new.items() if name not in same},
        }
        text = json.dumps(entry, ensure_ascii=False, sort_keys=True, default=str)
        for _ in range(_TRIES):
            last = await self._store.audit.last_mark()
            mark = self._mark(last, text)
            if await self._store.audit.append(last, mark, text):
                log.info(
                    "audit=%s actor=%s action=%s subject=%s", mark, actor.name, action, subject
                )
                return
        raise RuntimeError("The audit changed under every try to write to it.")

    def _mark(self, last: str, text: str) -> str:
        number = int(last.partition(":")[0] or 0) + 1
        return f"{number}:{self._vault.seal(f'{number}|{last}|{text}', purpose='audit')}"

    async def newest(self, count: int, before: str = "") -> list[Entry]:
        """The newest entries, newest first; those before the one with an id."""
        rows = await self._store.audit.newest(count, before)
        return [_entry(*row) for row in rows]

    async def verify(self) -> tuple[int, str]:
        """How many entries are sound, and a sentence about the first fault, or an empty one."""
        count, last, after = 0, "", ""
        while True:
            rows = await self._store.audit.page(after, _PAGE)
            if not rows:
                end = await self._store.audit.last_mark()
                # What was written since the page was read comes next.
                rows = await self._store.audit.page(after, _PAGE) if end != last else []
                if not rows:
                    return count, "" if end == last else f"What followed entry {count} is gone."
            for row, text, mark in rows:
                if not same_secret(mark, self._mark(last, text)):
                    entry = json.loads(text)
                    return count, (
                        f"Entry {count + 1} ({entry['time']}, {entry['action']} {entry['subject']})"
                        " was altered, or one before it was taken out."
                    )
                count, last, after = count + 1, mark, row


def _entry(row: str, text: str, mark: str) -> Entry:
    number = int(mark.partition(":")[0])
    return Entry(id=row, number=number, **json.loads(text))
