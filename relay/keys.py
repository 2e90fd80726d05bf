"""What a key is: who may use the relay, and for which models.

A key itself is shown once, when it is made; Redis holds a keyed hash of it. Authentication
only finds out whose key it is: whether that key may do what it asks is decided by the
admission script, on the state of that moment.
"""

import fnmatch
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay import rules
from relay.errors import Unauthorized
from relay.store import Store
from relay.vault import Vault, new_id, new_key

_CACHE_SIZE = 4096
_UNKNOWN_LIVES_S = 2.0
_HINT_LENGTH = 14

NO_KEY = "No API key. Send the relay's key as `Authorization: Bearer …` or as `x-api-key`."
INVALID_KEY = "Invalid API key. Ask whoever runs this relay for a key of your own."
TWO_KEYS = "Two different API keys in one request. Send one of them only."
DISABLED_KEY = "This API key is disabled."


def expired_key(when: datetime) -> str:
    """The sentence about a key that expired at `when` (UTC)."""
    return f"This API key expired at {when:%Y-%m-%d %H:%M} UTC."


@dataclass(frozen=True, slots=True)
class Key:
    """A key's settings. `hint` is the start of the key, enough to recognise it.

    `groups` are those of the accounts that may serve it, all of them when empty;
    `shows_account` lets its holder see which account served.
    """

    id: str
    name: str
    hint: str
    enabled: bool
    created_at: datetime
    expires_at: datetime | None
    models: tuple[str, ...]
    groups: tuple[str, ...]
    shows_account: bool
    note: str


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key that was presented: its id, and the hash that admission checks again."""

    id: str
    hash: str


class KeyProblem(Exception):
    """A sentence about why a key cannot be found, made or changed."""


class Keys:
    """Makes, reads and changes keys; knows a presented one by its hash."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._ids: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> KeyRef:
        """Whose key the request carries.

        Raises:
            Unauthorized: there is none, it is nobody's, or there are two different ones.
        """
        key_hash = self._vault.key_hash(presented(headers))
        key_id = await self._id_of(key_hash)
        if key_id is None:
            raise Unauthorized(INVALID_KEY)
        return KeyRef(key_id, key_hash)

    async def _id_of(self, key_hash: str) -> str | None:
        cached = self._ids.get(key_hash)
        now = time.monotonic()
        if cached and (cached[0] is not None or cached[1] > now):
            return cached[0]
        key_id = await self._store.key_id_of_hash(key_hash)
        self._ids[key_hash] = (key_id, now + _UNKNOWN_LIVES_S)
        if len(self._ids) > _CACHE_SIZE:
            self._ids.popitem(last=False)
        return key_id

    async def check(self, ref: KeyRef) -> Key:
        """The key's state of this moment, for calls that need no admission.

        Raises:
            Unauthorized: it is unknown, disabled or expired.
        """
        fields = await self._store.read_key(ref.id)
        if not fields or fields["hash"] != ref.hash:
            self.forget(ref)
            raise Unauthorized(INVALID_KEY)
        key = _key(ref.id, fields)
        if not key.enabled:
            raise Unauthorized(DISABLED_KEY)
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise Unauthorized(expired_key(key.expires_at))
        return key

    def forget(self, ref: KeyRef) -> None:
        """Admission did not know this key: ask Redis again next time."""
        self._ids.pop(ref.hash, None)

    async def create(
        self,
        name: str,
        *,
        models: Sequence[str] = (),
        expires_at: datetime | None = None,
        groups: Sequence[str] = (),
        shows_account: bool = False,
        note: str = "",
    ) -> tuple[Key, str]:
        """A new key and its secret text, which cannot be read again.

        Args:
            name: unique among keys, one line.
            models: globs of the models it may use; none means all.
            expires_at: UTC; from then on it is refused.
            groups: only accounts of one of these serve it; none means every account.
            shows_account: answers carry the serving account's name.
        """
        kept = _checked(name, models, groups, note)
        if any(key.name == name for key in await self.list()):
            raise KeyProblem(f"There is a key named {name} already.")
        text = new_key()
        key_id = new_id("key")
        fields = {
            **kept,
            "hint": text[:_HINT_LENGTH],
            "hash": self._vault.key_hash(text),
            "enabled": "1",
            "created_at": str(int(datetime.now(UTC).timestamp() * 1000)),
            "expires_at": "" if expires_at is None else str(int(expires_at.timestamp() * 1000)),
            "shows_account": "1" if shows_account else "",
        }
        await self._store.add_key(key_id, fields)
        return _key(key_id, fields), text

    async def list(self) -> Sequence[Key]:
        """All keys, oldest first."""
        keys = []
        for key_id in await self._store.key_ids():
            fields = await self._store.read_key(key_id)
            if fields:
                keys.append(_key(key_id, fields))
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    async def find(self, name_or_id: str) -> Key:
        """The key with this id or name; KeyProblem when there is none."""
        for key in await self.list():
            if name_or_id in (key.id, key.name):
                return key
        raise KeyProblem(f"There is no key with the name or id {name_or_id}.")

    async def set_enabled(self, name_or_id: str, *, enabled: bool) -> Key:
        """A disabled key stops at its next request."""
        key = await self.find(name_or_id)
        await self._store.change_key(key.id, {"enabled": "1" if enabled else "0"})
        return await self.find(key.id)

    async def delete(self, name_or_id: str) -> Key:
        """Remove a key for good; its usage stays on the books."""
        key = await self.find(name_or_id)
        fields = await self._store.read_key(key.id)
        await self._store.remove_key(key.id, fields["hash"])
        return key


def presented(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The one key that a request's headers carry, as text; Unauthorized otherwise."""
    found: set[bytes] = set()
    for name, value in headers:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization":
            scheme, _, credential = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                found.add(credential.strip())
    found.discard(b"")
    if not found:
        raise Unauthorized(NO_KEY)
    if len(found) > 1:
        raise Unauthorized(TWO_KEYS)
    return found.pop().decode("latin-1")


def may_use(models: Sequence[str], model: str) -> bool:
    """Whether `model` matches one of a key's globs; none of them means every model."""
    return not models or any(fnmatch.fnmatchcase(model, glob) for glob in models)


def _checked(name: str, models: Sequence[str], groups: Sequence[str], note: str) -> dict[str, str]:
    """What a person gives, as it is kept. Raises KeyProblem."""
    try:
        return {
            "name": rules.name(name),
            "models": rules.globs(models),
            "groups": rules.words(groups),
            "note": rules.line(note),
        }
    except ValueError as rule:
        raise KeyProblem(str(rule)) from None


def _key(key_id: str, fields: dict[str, str]) -> Key:
    return Key(
        id=key_id,
        name=fields["name"],
        hint=fields["hint"],
        enabled=fields["enabled"] == "1",
        created_at=_time(fields["created_at"]),
        expires_at=_time(fields["expires_at"]) if fields["expires_at"] else None,
        models=rules.lines(fields["models"]),
        groups=rules.lines(fields.get("groups", "")),
        shows_account=fields.get("shows_account") == "1",
        note=fields["note"],
    )


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(int(text) / 1000, UTC)
