"""What a key is set to be: as people see it, as Redis keeps it, and the rules of what they give."""

import fnmatch
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from relay import limits, rules, versions

# So much of a key's random part is shown, enough to recognise it.
_HINT_LENGTH = 5
USUAL_PREFIX = "sk-relay-"
_ADMINS = "sk-relay-admin"


class KeyProblem(rules.Problem):
    """A sentence about why a key cannot be found, made or changed."""


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


def hint(text: str, prefix: str) -> str:
    return text[: len(prefix) + _HINT_LENGTH]


def _rate(value: object) -> dict[str, str]:
    if not value:
        return {"rate_max": "", "rate_ms": ""}
    count, window_ms = limits.rate(value)
    return {"rate_max": str(count), "rate_ms": str(window_ms)}


def checked(given: Mapping[str, object]) -> dict[str, str]:
    """What a person gives, as it is kept. Raises KeyProblem with the field's name."""
    settings = dict(given)
    kept: dict[str, str] = {}
    amounts, mode = settings.pop("budgets", None), settings.pop("budget_mode", "")
    if mode and amounts is None:
        raise KeyProblem("budget_mode: A mode goes with budgets.", "budget_mode")
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


def is_hash_of(fields: Mapping[str, str], key_hash: str) -> bool:
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


def key(key_id: str, fields: dict[str, str]) -> Key:
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
