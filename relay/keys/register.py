"""Keys as they are kept: who may use the relay.

A key itself is shown once, when it is made; Redis holds a keyed hash of it. Authentication
only finds out whose key it is: whether that key may do what it asks is decided by the
admission script, on the state of that moment.
"""

import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay import rules, versions
from relay.audit import Audit
from relay.errors import Unauthorized, UnknownKey
from relay.keys import values
from relay.keys.values import USUAL_PREFIX, Key, KeyProblem
from relay.limits import PREDEFINED_CLIENTS
from relay.store import NameTaken, Store
from relay.vault import Vault, new_id, new_key
from relay.versions import Changed

_CACHE_SIZE = 4096
_UNKNOWN_LIVES_S = 2.0
# Each of them is a question to Redis.
_MOST_CREDENTIALS = 4

NO_KEY = "No API key. Send the relay's key as `Authorization: Bearer …` or as `x-api-key`."
INVALID_KEY = "Invalid API key. Ask whoever runs this relay for a key of your own."
TWO_KEYS = "Two different API keys in one request. Send one of them only."
NEITHER_KEY = f"Two different API keys in one request, and none of them is known. {INVALID_KEY}"
DISABLED_KEY = "This API key is disabled."


def expired_key(when: datetime) -> str:
    """The sentence about a key that expired at `when` (UTC)."""
    return f"This API key expired at {when:%Y-%m-%d %H:%M} UTC."


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key that was presented: its id, and the hash that admission checks again."""

    id: str
    hash: str


class Keys:
    """Makes, reads and changes keys; knows a presented one by its hash.

    Args:
        clients: ids of the clients that a key may be held to.
    """

    def __init__(
        self, store: Store, vault: Vault, clients: Sequence[str] = tuple(PREDEFINED_CLIENTS)
    ) -> None:
        self._store = store
        self._clients = clients
        self._vault = vault
        self._audit = Audit(store, vault)
        self._ids: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> KeyRef:
        """Whose key the request carries; credentials that are no key of ours do not count, where
        there is one.

        Raises:
            Unauthorized: there is no credential, or there are different keys of ours.
            UnknownKey: none of them is anybody's.
        """
        texts = presented(headers)
        found: dict[str, KeyRef] = {}
        for text in texts:
            key_hash = self._vault.key_hash(text)
            key_id = await self._id_of(key_hash)
            if key_id is not None:
                found.setdefault(key_id, KeyRef(key_id, key_hash))
        if not found:
            sentence = INVALID_KEY if len(texts) == 1 else NEITHER_KEY
            raise UnknownKey(sentence, self._vault.key_hash(texts[0]))
        if len(found) > 1:
            raise Unauthorized(TWO_KEYS)
        return next(iter(found.values()))

    async def _id_of(self, key_hash: str) -> str | None:
        cached = self._ids.get(key_hash)
        now = time.monotonic()
        if cached and (cached[0] is not None or cached[1] > now):
            return cached[0]
        key_id = await self._store.keys.id_of_hash(key_hash)
        if key_id is None:
            await self._store.confirm()
        self._ids[key_hash] = (key_id, now + _UNKNOWN_LIVES_S)
        if len(self._ids) > _CACHE_SIZE:
            self._ids.popitem(last=False)
        return key_id

    async def check(self, ref: KeyRef) -> Key:
        """The key's state of this moment, for calls that need no admission.

        Raises:
            Unauthorized: it is unknown, disabled or expired.
        """
        fields = await self._store.keys.read(ref.id)
        if not fields or not values.is_hash_of(fields, ref.hash):
            self.forget(ref)
            await self._store.confirm()
            raise Unauthorized(INVALID_KEY)
        key = values.key(ref.id, fields)
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
        prefix: str = USUAL_PREFIX,
        **settings: object,
    ) -> tuple[Key, str]:
        """A new key and its secret text, which cannot be read again.

        Args:
            name: unique among keys, one line.
            models: globs of the models it may use; none means all.
            expires_at: UTC; from then on it is refused.
            groups: only accounts of one of these serve it; none means every account.
            shows_account: answers carry the serving account's name.
            prefix: how the key's text begins.
            settings: what else a key has, see edit().
        """
        kept = values.checked(
            {"name": name, "models": models, "groups": groups, "note": note, "prefix": prefix}
            | settings
        )
        self._check_clients(settings, ())
        text = new_key(prefix)
        key_id = new_id("key")
        fields = {
            **kept,
            "hint": values.hint(text, prefix),
            "hash": self._vault.key_hash(text),
            "enabled": "1",
            "created_at": str(int(datetime.now(UTC).timestamp() * 1000)),
            **values.checked({"expires_at": expires_at, "shows_account": shows_account}),
        }
        with _unique(name):
            await self._store.keys.add(key_id, fields)
        key = values.key(key_id, fields)
        await self._audit.note("key.create", name, None, key.to_json())
        return key, text

    async def list(self) -> Sequence[Key]:
        """All keys, oldest first."""
        keys = []
        for key_id in await self._store.keys.ids():
            fields = await self._store.keys.read(key_id)
            if fields:
                keys.append(values.key(key_id, fields))
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    async def find(self, name_or_id: str) -> Key:
        """The key with this id or name; KeyProblem when there is none, or several of the name."""
        found = rules.by_name_or_id(await self.list(), name_or_id)
        if not found:
            raise KeyProblem(f"There is no key with the name or id {name_or_id}.")
        if len(found) > 1:
            raise KeyProblem(rules.twins("keys", name_or_id, found))
        return found[0]

    async def set_enabled(self, name_or_id: str, *, enabled: bool, seen: str = "") -> Key:
        """A disabled key stops at its next request; see edit() for `seen`."""
        key = await self.find(name_or_id)
        await self._write(key.id, values.checked({"enabled": enabled}), seen)
        return await self._changed("key.enable" if enabled else "key.disable", key)

    async def edit(self, name_or_id: str, *, seen: str = "", **changes: object) -> Key:
        """Change a key's settings; what is not named stays.

        Args:
            seen: the version of the key that is to be changed; empty for any.
            changes: name, enabled, models, groups, note, owner, tags, expires_at, shows_account,
                the fields of Limits, and budget_mode; budgets are US dollars by period.

        Raises:
            Changed: there is another version by now.
        """
        key = await self.find(name_or_id)
        if not changes:
            if seen not in ("", key.version):
                raise Changed
            return key
        self._check_clients(changes, key.limits.clients)
        await self._write(key.id, values.checked(changes), seen)
        return await self._changed("key.edit", key)

    def _check_clients(self, settings: Mapping[str, object], before: Sequence[str]) -> None:
        """Refuse clients that nobody knows, but for those that the key was held to `before`: their
        ids have left the settings, and without them it would work from everywhere."""
        given = settings.get("clients", ())
        for client in given if isinstance(given, Iterable) else ():
            if client not in self._clients and client not in before:
                known = ", ".join(self._clients)
                raise KeyProblem(
                    f"clients: There is no client {client}; there are {known}.", "clients"
                )

    async def _write(self, key_id: str, fields: Mapping[str, str], seen: str) -> None:
        def version(kept: Mapping[str, str]) -> str:
            return values.key(key_id, dict(kept)).version

        with _unique(fields.get("name", "")):
            await versions.write(self._store.keys, key_id, fields, seen, version)

    async def _changed(self, action: str, before: Key) -> Key:
        """The key as it is now; its change is kept."""
        after = await self.find(before.id)
        await self._audit.note(action, before.name, before.to_json(), after.to_json())
        return after

    async def delete(self, name_or_id: str) -> Key:
        """Remove a key for good; its usage stays on the books."""
        key = await self.find(name_or_id)
        fields = await self._store.keys.read(key.id)
        hashes = [fields[name] for name in ("hash", "hash_before") if fields.get(name)]
        await self._store.keys.remove(key.id, hashes)
        await self._audit.note("key.delete", key.name, key.to_json())
        return key

    async def rotate(self, name_or_id: str, grace_s: float) -> tuple[Key, str]:
        """A new secret text for a key; the one before is good for `grace_s` more seconds.

        Of an earlier rotation, what was good before that ends now.

        Raises:
            Changed: somebody else rotates it at this moment.
        """
        key = await self.find(name_or_id)
        before = (await self._store.keys.read(key.id))["hash"]
        text = new_key(key.prefix)
        fields = {
            "hash": self._vault.key_hash(text),
            "hint": values.hint(text, key.prefix),
            "hash_before": before,
            "hash_before_until": str(round((time.time() + grace_s) * 1000)),
        }
        if not await self._store.keys.rotate(key.id, fields):
            raise Changed
        return await self._changed("key.rotate", key), text


@contextlib.contextmanager
def _unique(name: str) -> Iterator[None]:
    """Turn a name that another key has into a problem of the field."""
    try:
        yield
    except NameTaken:
        raise KeyProblem(f"There is a key named {name} already.", "name") from None


def presented(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """The different credentials that a request's headers carry, as text, in their order.

    Raises:
        Unauthorized: there is none, or there are more than any client sends.
    """
    found: dict[bytes, None] = {}
    for name, value in headers:
        if name == b"x-api-key":
            found[value.strip()] = None
        elif name == b"authorization":
            scheme, _, credential = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                found[credential.strip()] = None
    found.pop(b"", None)
    if not found:
        raise Unauthorized(NO_KEY)
    if len(found) > _MOST_CREDENTIALS:
        raise Unauthorized(TWO_KEYS)
    return [credential.decode("latin-1") for credential in found]
