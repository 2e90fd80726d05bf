"""What the upstreams' own lists say of their models: read with each account's regular check.

The lists lie in Redis, one an account, so that every process knows what one of them has read. A
process looks for a change at intervals; finding a model's traits costs a request no look-up.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from relay.dialects import models
from relay.dialects.models import Traits
from relay.store import Store

log = logging.getLogger("relay.models")

FOLLOW_EVERY_S = 15.0
# What one account may list; the bound of what it can store is this times an entry's fields.
_MOST_MODELS = 500
_LONGEST_NAME = 200
# us.anthropic.NAME-20250929-v1:0, NAME@20250929 and NAME[1m] are spellings of NAME.
_AROUND = re.compile(
    r"^(?:[a-z]+\.)?anthropic\.|(?:[-@]20\d{6}|-latest)?(?:-v\d{1,2}(?::\d{1,2})?)?(?:\[1m\])?$"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A model as an upstream lists it.

    Args:
        lifecycle: "active", "deprecated", "retired", another word of the upstream's, or empty.
        retires_at: when it is to retire, UTC; None where that is not said.
    """

    name: str
    traits: Traits
    lifecycle: str = ""
    retires_at: datetime | None = None

    @property
    def has_retired(self) -> bool:
        """Whether it is gone. One that is overdue still answers."""
        return self.lifecycle == "retired"

    def retires_within(self, days: int, now: datetime) -> bool:
        """Whether its retirement is near, or overdue."""
        if self.has_retired or self.retires_at is None:
            return False
        return self.retires_at - now <= timedelta(days=days)


class KnownModels:
    """The models of all accounts, as one process knows them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = ""
        self._by_account: dict[str, dict[str, Known]] = {}
        self._by_name: dict[str, Known] = {}
        # The same models by their names without a date or another seller's spelling.
        self._plain_by_account: dict[str, dict[str, Known]] = {}
        self._by_plain_name: dict[str, Known] = {}

    def find(self, name: str, account_id: str = "") -> Known | None:
        """The model of that name, as that account lists it, else as any does.

        By the name as it is first: of two editions of a model only one may retire, say.
        """
        if exact := self._by_account.get(account_id, {}).get(name):
            return exact
        plain = _plain(name)
        return (
            self._plain_by_account.get(account_id, {}).get(plain)
            or self._by_name.get(name)
            or self._by_plain_name.get(plain)
        )

    def traits(self, name: str, account_id: str = "") -> Traits:
        """A model's traits: by a list that has it, else by its name."""
        known = self.find(name, account_id)
        return known.traits if known else models.traits(name)

    def of(self, account_id: str) -> Iterable[Known]:
        """The models that an account lists, in its upstream's order."""
        return self._by_account.get(account_id, {}).values()

    def everywhere(self) -> Iterable[Known]:
        """Every account's models; one that several list comes several times."""
        return (known for listed in self._by_account.values() for known in listed.values())

    async def learn(self, account_id: str, listed: bytes) -> None:
        """Take over an account's list of models; what is no such list changes nothing.

        Args:
            listed: the upstream's answer to GET /v1/models.
        """
        entries = _entries(listed)
        if not entries:
            return
        text = msgspec.json.encode([_stored(entry) for entry in entries]).decode()
        if await self._store.models.replace(account_id, text):
            await self.follow()

    async def follow(self) -> None:
        """Take over what other processes have read. Raises RedisAway."""
        version = await self._store.models.version()
        if version == self._version:
            return
        stored = await self._store.models.lists()
        by_account = {account_id: _read(text) for account_id, text in stored.items()}
        self._by_account = by_account
        self._by_name = {
            name: known for listed in by_account.values() for name, known in listed.items()
        }
        self._plain_by_account = {
            account_id: _by_plain_name(listed) for account_id, listed in by_account.items()
        }
        self._by_plain_name = _by_plain_name(self._by_name)
        self._version = version


def _entries(listed: bytes) -> list[dict[str, Any]]:
    """The entries of a list that name a model."""
    try:
        answer = msgspec.json.decode(listed)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return []
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        return []
    named = [entry for entry in data if isinstance(entry, dict) and _is_name(entry.get("id"))]
    return named[:_MOST_MODELS]


def _plain(name: str) -> str:
    """A model's name without its seller's prefix, its date, its edition and its window."""
    return _AROUND.sub("", name)


def _by_plain_name(listed: Mapping[str, Known]) -> dict[str, Known]:
    """Models by plain names; of several editions the one that is listed first, the newest."""
    found: dict[str, Known] = {}
    for name, known in listed.items():
        found.setdefault(_plain(name), known)
    return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _stored(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without what nobody here reads, so that a list has a known size at most."""
    kept: dict[str, Any] = {"id": entry["id"]}
    if type(most := entry.get("max_tokens")) is int and 0 < most < 2**53:
        kept["max_tokens"] = most
    if isinstance(word := entry.get("lifecycle"), str) and word.isalpha():
        kept["lifecycle"] = word[:20]
    if moment := _moment(entry.get("retires_at")):
        kept["retires_at"] = moment.isoformat(timespec="seconds")
    given = entry.get("capabilities")
    if isinstance(given, dict):
        kept["capabilities"] = {
            name: _supported(given[name], depth=3)
            for name in ("effort", "thinking", "structured_outputs")
            if isinstance(given.get(name), dict)
        }
    return kept


_WORDS = frozenset(
    {"supported", "types", "adaptive", "between_tools", "disabled", "enabled", "low", "medium",
     "high", "xhigh", "max"}
)  # fmt: skip


def _supported(given: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """What a capability says with words that are read: true, false, and the same below."""
    kept: dict[str, Any] = {}
    for name in _WORDS & given.keys():
        value = given[name]
        if isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, dict) and depth:
            kept[name] = _supported(value, depth - 1)
    return dict(sorted(kept.items()))


def _read(text: str) -> dict[str, Known]:
    try:
        entries = msgspec.json.decode(text, type=list[dict[str, Any]])
    except msgspec.DecodeError as error:
        log.error("a stored list of models cannot be read: %s", error)
        return {}
    found = {}
    for entry in entries:
        if not _is_name(entry.get("id")):
            continue
        word = entry.get("lifecycle")
        found[entry["id"]] = Known(
            entry["id"],
            models.told(entry),
            word if isinstance(word, str) else "",
            _moment(entry.get("retires_at")),
        )
    return found


def _moment(value: object) -> datetime | None:
    """A time or a day as an upstream writes it, UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None
