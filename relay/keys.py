"""What a key is: who may use the relay, and for which models.

A key itself is shown once, when it is made; Redis holds a keyed hash of it. Authentication
only finds out whose key it is: whether that key may do what it asks is decided by the
admission script, on the state of that moment.
"""

import fnmatch
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from relay import limits, rules, versions
from relay.audit import Audit
from relay.errors import Unauthorized, UnknownKey
from relay.store import Store
from relay.vault import Vault, new_id, new_key

_CACHE_SIZE = 4096
_UNKNOWN_LIVES_S = 2.0
# So much of a key's random part is shown, enough to recognise it.
_HINT_LENGTH = 5
USUAL_PREFIX = "sk-relay-"
_ADMINS = "sk-relay-admin"

NO_KEY = "No API key. Send the relay's key as `Authorization: Bearer …` or as `x-api-key`."
INVALID_KEY = "Invalid API key. Ask whoever runs this relay for a key of your own."
TWO_KEYS = "Two different API keys in one request. Send one of them only."
DISABLED_KEY = "This API key is disabled."


def expired_key(when: datetime) -> str:
    """The sentence about a key that expired at `when` (UTC)."""
    return f"This API key expired at {when:%Y-%m-%d %H:%M} UTC."


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use. Numbers are 0 and texts empty where there is no limit.

    Args:
        rate: REQUESTS/SECONDS in a sliding window; empty for the relay's usual one.
        daily, monthly: requests by the UTC calendar.
        budgets: US dollars by period, with the mode: {"daily": "5.00 soft"}.
        wait: seconds that a request waits for a free slot of its key.
        clients: ids of the clients it may be used with.
        networks: addresses and networks it may be used from.
    """

    rate: str = ""
    daily: int = 0
    monthly: int = 0
    concurrency: int = 0
    wait: int = 0
    tokens_per_minute: int = 0
    budgets: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """A key's settings. `hint` is the start of the key, enough to recognise it; it begins with
    `prefix`.

    `groups` are those of the accounts that may serve it, all of them when empty;
    `shows_account` lets its holder see which account served.
    """

    id: str
    name: str
    prefix: str
    hint: str
    enabled: bool
    created_at: datetime
    expires_at: datetime | None
    models: tuple[str, ...]
    groups: tuple[str, ...]
    shows_account: bool
    limits: Limits
    owner: str
    tags: tuple[str, ...]
    note: str

    def fits(self, words: str, owner: str = "", tag: str = "") -> bool:
        """Whether the words stand in what a key is known by, in any case, and it has this owner and
        this tag; an empty one is not asked."""
        told = (self.name, self.id, self.hint, self.owner, self.note, *self.tags)
        return (
            words.lower() in " ".join(told).lower()
            and owner in ("", self.owner)
            and (not tag or tag in self.tags)
        )

    @property
    def version(self) -> str:
        """A word that changes with every setting."""
        return versions.version_of(self.to_json())

    def to_json(self) -> dict[str, object]:
        """The key as programs are told of it, on the command line and by the API."""
        limits = self.limits
        count, _, seconds = limits.rate.partition("/")
        return {
            "id": self.id,
            "name": self.name,
            "keyPrefix": self.prefix,
            "hint": self.hint,
            "enabled": self.enabled,
            "createdAt": self.created_at,
            "expiresAt": self.expires_at,
            "dailyLimit": limits.daily,
            "monthlyLimit": limits.monthly,
            "rateLimitOverride": {"windowMs": int(seconds) * 1000, "maxRequests": int(count)}
            if count
            else None,
            "tokensPerMinute": limits.tokens_per_minute,
            "concurrency": limits.concurrency,
            "concurrencyWait": limits.wait,
            "budgets": limits.budgets,
            "clientRestrictions": limits.clients,
            "allowedIps": limits.networks,
            "models": self.models,
            "accountGroups": self.groups,
            "showAccount": self.shows_account,
            "owner": self.owner,
            "tags": self.tags,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key that was presented: its id, and the hash that admission checks again."""

    id: str
    hash: str


class KeyProblem(rules.Problem):
    """A sentence about why a key cannot be found, made or changed."""


class Keys:
    """Makes, reads and changes keys; knows a presented one by its hash."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._audit = Audit(store, vault)
        self._ids: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    async def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> KeyRef:
        """Whose key the request carries.

        Raises:
            Unauthorized: there is none, or there are two different ones.
            UnknownKey: it is nobody's.
        """
        key_hash = self._vault.key_hash(presented(headers))
        key_id = await self._id_of(key_hash)
        if key_id is None:
            raise UnknownKey(INVALID_KEY, key_hash)
        return KeyRef(key_id, key_hash)

    async def _id_of(self, key_hash: str) -> str | None:
        cached = self._ids.get(key_hash)
        now = time.monotonic()
        if cached and (cached[0] is not None or cached[1] > now):
            return cached[0]
        key_id = await self._store.keys.id_of_hash(key_hash)
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
        if not fields or not _is_hash_of(fields, ref.hash):
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
        kept = _checked(
            {"name": name, "models": models, "groups": groups, "note": note, "prefix": prefix}
            | settings
        )
        await self._check_unused(name)
        text = new_key(prefix)
        key_id = new_id("key")
        fields = {
            **kept,
            "hint": _hint(text, prefix),
            "hash": self._vault.key_hash(text),
            "enabled": "1",
            "created_at": str(int(datetime.now(UTC).timestamp() * 1000)),
            **_checked({"expires_at": expires_at, "shows_account": shows_account}),
        }
        await self._store.keys.add(key_id, fields)
        key = _key(key_id, fields)
        await self._audit.note("key.create", name, None, key.to_json())
        return key, text

    async def list(self) -> Sequence[Key]:
        """All keys, oldest first."""
        keys = []
        for key_id in await self._store.keys.ids():
            fields = await self._store.keys.read(key_id)
            if fields:
                keys.append(_key(key_id, fields))
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    async def find(self, name_or_id: str) -> Key:
        """The key with this id or name; KeyProblem when there is none."""
        for key in await self.list():
            if name_or_id in (key.id, key.name):
                return key
        raise KeyProblem(f"There is no key with the name or id {name_or_id}.")

    async def set_enabled(self, name_or_id: str, *, enabled: bool, seen: str = "") -> Key:
        """A disabled key stops at its next request; see edit() for `seen`."""
        key = await self.find(name_or_id)
        await self._write(key.id, _checked({"enabled": enabled}), seen)
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
        if seen and not changes:
            changes = {"enabled": key.enabled}
        if changes.get("name", key.name) != key.name:
            await self._check_unused(str(changes["name"]))
        await self._write(key.id, _checked(changes), seen)
        return await self._changed("key.edit", key)

    async def _write(self, key_id: str, fields: Mapping[str, str], seen: str) -> None:
        table = self._store.keys
        if not seen:
            await table.change(key_id, fields)
            return
        await versions.write(
            seen,
            lambda: table.read(key_id),
            lambda kept: _key(key_id, dict(kept)).version,
            lambda field, before: table.swap(key_id, field, before, fields),
        )

    async def _changed(self, action: str, before: Key) -> Key:
        """The key as it is now; its change is kept."""
        after = await self.find(before.id)
        await self._audit.note(action, before.name, before.to_json(), after.to_json())
        return after

    async def _check_unused(self, name: str) -> None:
        if any(key.name == name for key in await self.list()):
            raise KeyProblem(f"There is a key named {name} already.", "name")

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
        """
        key = await self.find(name_or_id)
        before = (await self._store.keys.read(key.id))["hash"]
        text = new_key(key.prefix)
        fields = {
            "hash": self._vault.key_hash(text),
            "hint": _hint(text, key.prefix),
            "hash_before": before,
            "hash_before_until": str(round((time.time() + grace_s) * 1000)),
        }
        await self._store.keys.rotate(key.id, fields)
        return await self._changed("key.rotate", key), text


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


_RULES: Mapping[str, Callable[..., dict[str, str]]] = {
    "name": lambda value: {"name": rules.name(value)},
    "enabled": lambda value: {"enabled": "1" if value else "0"},
    "prefix": lambda value: {"prefix": _prefix(value)},
    "models": lambda value: {"models": rules.globs(value)},
    "groups": lambda value: {"groups": rules.words(value)},
    "owner": lambda value: {"owner": rules.words([value] if value else [])},
    "tags": lambda value: {"tags": rules.words(value)},
    "note": lambda value: {"note": rules.line(value)},
    "expires_at": lambda value: {"expires_at": rules.moment(value) if value else ""},
    "shows_account": lambda value: {"shows_account": "1" if value else ""},
    "daily": lambda value: {"daily_limit": rules.whole(value, 0, 10**9)},
    "monthly": lambda value: {"monthly_limit": rules.whole(value, 0, 10**9)},
    "concurrency": lambda value: {"concurrency": rules.whole(value, 0, 100_000)},
    "wait": lambda value: {"concurrency_wait": str(1000 * int(rules.whole(value, 0, 600)))},
    "tokens_per_minute": lambda value: {"tokens_per_minute": rules.whole(value, 0, 10**9)},
    "clients": lambda value: {"clients": rules.words(value)},
    "networks": lambda value: {
        "networks": limits.networks(value),
        "networks_given": "\n".join(str(one) for one in value),
    },
    "rate": lambda value: _rate(value),
}


def _prefix(value: object) -> str:
    text = str(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,19}", text):
        raise ValueError("A prefix is at most 20 letters, digits, _ and -.")
    if text.startswith(_ADMINS):
        raise ValueError(f"{_ADMINS}… is how tokens of the admin API begin.")
    if text.startswith("sk-ant-"):
        raise ValueError(
            "sk-ant- is Anthropic's own; programs would take the key for one of theirs."
        )
    return text


def _hint(text: str, prefix: str) -> str:
    return text[: len(prefix) + _HINT_LENGTH]


def _rate(value: object) -> dict[str, str]:
    if not value:
        return {"rate_max": "", "rate_ms": ""}
    count, window_ms = limits.rate(value)
    return {"rate_max": str(count), "rate_ms": str(window_ms)}


def _checked(given: Mapping[str, object]) -> dict[str, str]:
    """What a person gives, as it is kept. Raises KeyProblem with the field's name."""
    settings = dict(given)
    kept: dict[str, str] = {}
    amounts, mode = settings.pop("budgets", None), settings.pop("budget_mode", "")
    try:
        if isinstance(amounts, Mapping):
            kept["budgets"] = limits.budgets(amounts, str(mode))
    except ValueError as rule:
        raise KeyProblem(f"budgets: {rule}", "budgets") from None
    for name, value in settings.items():
        try:
            kept |= _RULES[name](value)
        except ValueError as rule:
            raise KeyProblem(f"{name}: {rule}", name) from None
    return kept


def _is_hash_of(fields: Mapping[str, str], key_hash: str) -> bool:
    """Whether a key has this hash, or had it before a rotation whose grace lasts."""
    until_ms = int(fields.get("hash_before_until", 0))
    is_before = fields.get("hash_before") == key_hash and until_ms > time.time() * 1000
    return fields["hash"] == key_hash or is_before


def _limits(fields: Mapping[str, str]) -> Limits:
    most, window_ms = fields.get("rate_max", ""), fields.get("rate_ms", "")
    return Limits(
        rate=f"{most}/{int(window_ms) // 1000}" if most else "",
        daily=int(fields.get("daily_limit", 0)),
        monthly=int(fields.get("monthly_limit", 0)),
        concurrency=int(fields.get("concurrency", 0)),
        wait=int(fields.get("concurrency_wait", 0)) // 1000,
        tokens_per_minute=int(fields.get("tokens_per_minute", 0)),
        budgets=limits.shown(fields.get("budgets", "")),
        clients=rules.lines(fields.get("clients", "")),
        networks=rules.lines(fields.get("networks_given", "")),
    )


def _key(key_id: str, fields: dict[str, str]) -> Key:
    return Key(
        id=key_id,
        name=fields["name"],
        prefix=fields.get("prefix", USUAL_PREFIX),
        hint=fields["hint"],
        enabled=fields["enabled"] == "1",
        created_at=_time(fields["created_at"]),
        expires_at=_time(fields["expires_at"]) if fields["expires_at"] else None,
        models=rules.lines(fields["models"]),
        groups=rules.lines(fields.get("groups", "")),
        shows_account=fields.get("shows_account") == "1",
        limits=_limits(fields),
        owner=fields.get("owner", ""),
        tags=rules.lines(fields.get("tags", "")),
        note=fields["note"],
    )


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(int(text) / 1000, UTC)
