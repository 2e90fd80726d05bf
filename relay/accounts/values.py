"""An account as people see it, and what its settings may be."""

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import urlsplit

from relay import limits, rules, versions
from relay.settings import api_base

AUTH_HEADERS = ("x-api-key", "bearer")
GEOS = ("us", "global")
USUAL_PRIORITY = 50
_FAR_MS = 2**53

# What ends a state, in words for its operator.
_BY_ITSELF = "It comes back by itself."
_ADVICE = {
    "cooling": _BY_ITSELF,
    "overloaded": _BY_ITSELF,
    "failing": "It comes back by itself; if not, see what `relay account test {name}` says.",
    "exhausted": "Raise its limit at the provider, then `relay account reset {name}`.",
    "unauthorized": "Give it a new secret: `relay account edit {name} --secret-file FILE`.",
    "disabled": "`relay account enable {name}` lets it serve again.",
}
_SIGN_IN_AGAIN = {
    "session_key": _ADVICE["unauthorized"],
    "oauth": "Sign in: `relay oauth login {name}`.",
    "federation": "Look whether its identity token file is renewed, and at its rule's ids.",
}


class AccountProblem(rules.Problem):
    """A sentence about why an account cannot be found, made, changed or used."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as people see it: everything but the secrets.

    Args:
        state: "ok", or why it does not serve; `until` (UTC) is None when that does not pass by
            itself. `advice` says what its operator can do.
        class_states: the same for single classes of models, e.g. opus.
        max_concurrency: requests at one time; 0 is no limit.
        inference_geo: where its workspace serves requests that name no place, "us" or "global";
            empty when that is not known, so that strict budgets take the dearer one.
        organization, workspace: at its provider, as its answers say; empty before one did.
        options: what else its kind needs; nothing secret.
        proxy: the outbound proxy without its password, or empty.
    """

    id: str
    name: str
    kind: str
    base_url: str
    auth: str
    enabled: bool
    state: str
    reason: str
    since: datetime | None
    until: datetime | None
    advice: str
    class_states: Mapping[str, str]
    email: str
    note: str
    priority: int
    weight: int
    max_concurrency: int
    models: tuple[str, ...]
    model_map: Mapping[str, str]
    groups: tuple[str, ...]
    inference_geo: str
    proxy: str
    options: Mapping[str, str]
    budgets: Mapping[str, str]
    headroom: float | None
    organization: str
    workspace: str
    created_at: datetime

    @property
    def version(self) -> str:
        """A word that changes with every setting."""
        return versions.version_of(settings(self))


# What an account is set to be, in contrast to what has become of it.
_SETTINGS = (
    "name", "kind", "base_url", "auth", "enabled", "email", "note", "priority", "weight",
    "max_concurrency", "models", "model_map", "groups", "inference_geo", "proxy", "options",
    "budgets",
)  # fmt: skip


def settings(account: Account) -> dict[str, object]:
    """What a person set of an account; nothing secret."""
    return {name: getattr(account, name) for name in _SETTINGS}


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request to an account needs: where to, by which way and header, and as which model.

    `sentence` is what a client is told when the upstream refuses the credential; `beta` is a value
    of `anthropic-beta` without which the upstream does not know this kind of credential.
    """

    base_url: str
    header: tuple[bytes, bytes]
    proxy: str | None = None
    judges_host: bool = False
    judges_proxy: bool = False
    sentence: str = ""
    beta: bytes = b""
    model_map: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"Credential({self.base_url!r}, ***)"


def base_url(value: object) -> str:
    """The base address of an API, also of an address that leads to one of its paths."""
    text = str(value)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a base URL: {error}.") from None
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(f"{text!r} is not a base URL such as https://api.anthropic.com.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("A base URL has no user, query or fragment.")
    return api_base(text)


def origin(url: str) -> tuple[str, str, int]:
    """The scheme, host and port of a base URL, as a connection knows them."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").rstrip("."), port


def _auth(value: object) -> str:
    if value not in AUTH_HEADERS:
        raise ValueError(f"{value!r} is not a header that carries a secret; use x-api-key, bearer.")
    return str(value)


def _geo(value: object) -> str:
    if value not in ("", *GEOS):
        raise ValueError(f"{value!r} is no place to serve at; use us, global or nothing.")
    return str(value)


def _email(value: object) -> str:
    text = str(value)
    if text and not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,190}", text):
        raise ValueError(f"{text!r} is not an email address.")
    return rules.line(text)


def _model_map(value: object) -> str:
    pairs = dict(value) if isinstance(value, Mapping) else {}
    for model, target in pairs.items():
        for one in (model, target):
            if set("*?") & set(rules.glob(one)):
                raise ValueError(
                    "A model that is mapped, and what it is mapped to, are plain names."
                )
    return json.dumps(pairs) if pairs else ""


def _budgets(value: object) -> str:
    amounts = dict(value) if isinstance(value, Mapping) else {}
    mode = str(amounts.pop("mode", ""))
    if mode and not amounts:
        raise ValueError("A mode goes with budgets.")
    return limits.budgets(amounts, mode)


def _options(value: object) -> str:
    pairs = dict(value) if isinstance(value, Mapping) else {}
    return json.dumps({name: rules.line(text) for name, text in pairs.items() if text})


# Every setting that is kept as it is given, and its rule.
RULES: Mapping[str, Callable[..., str]] = {
    "name": rules.name,
    "email": _email,
    "note": rules.line,
    "base_url": base_url,
    "auth": _auth,
    "priority": lambda value: rules.whole(value, 0, 1000),
    "weight": lambda value: rules.whole(value, 1, 1000),
    "max_concurrency": lambda value: rules.whole(value, 0, 100_000),
    "allowed_models": rules.globs,
    "model_map": _model_map,
    "groups": rules.words,
    "inference_geo": _geo,
    "options": _options,
    "budgets": _budgets,
}


def checked(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as they are kept. Raises AccountProblem with the field's name."""
    kept = {}
    for setting, value in settings.items():
        try:
            kept[setting] = RULES[setting](value)
        except ValueError as rule:
            raise AccountProblem(f"{setting}: {rule}", setting) from None
    return kept


def served_models(fields: Mapping[str, str]) -> str:
    """What the admission script matches: the allow-list, in which mapped names stand as well."""
    allowed = fields.get("allowed_models", "")
    return "\n".join([allowed, *mapped(fields)]) if allowed else ""


def not_signed_in(since: str) -> dict[str, str]:
    """The state of an account that has no token yet; the fields of lua/states.lua."""
    return {
        "token_until": "0",
        "state": "expired",
        "state_since": since,
        "state_until": "",
        "state_reason": "not signed in yet",
    }


def mapped(fields: Mapping[str, str]) -> dict[str, str]:
    """An account's models by the names that clients use."""
    return dict(json.loads(fields.get("model_map") or "{}"))


def options(fields: Mapping[str, str]) -> dict[str, str]:
    """What else an account's kind needs."""
    return dict(json.loads(fields.get("options") or "{}"))


def account(account_id: str, fields: Mapping[str, str], proxy: str) -> Account:
    """An account of its fields in Redis."""
    enabled = fields["enabled"] == "1"
    state, reason = fields.get("state", "ok"), fields.get("state_reason", "")
    if not enabled:
        state, reason = "disabled", "by a person"
    elif state == "ok" and _figure(fields.get("token_until"), _FAR_MS) <= time.time() * 1000:
        state, reason = "expired", "its token has run out"
    kind = fields["kind"]
    advice = _SIGN_IN_AGAIN.get(kind, "") if state == "expired" else _ADVICE.get(state, "")
    return Account(
        id=account_id,
        name=fields["name"],
        kind=kind,
        base_url=api_base(fields["base_url"]),
        auth=fields["auth"],
        enabled=enabled,
        state=state,
        reason=reason,
        since=_time(fields.get("state_since")) if enabled else None,
        until=_time(fields.get("state_until")) if enabled else None,
        advice=advice.format(name=fields["name"]),
        class_states={
            name.removeprefix("state:"): value
            for name, value in fields.items()
            if name.startswith("state:")
        },
        email=fields.get("email", ""),
        note=fields["note"],
        priority=int(fields.get("priority", USUAL_PRIORITY)),
        weight=int(fields.get("weight", 1)),
        max_concurrency=int(fields.get("max_concurrency", 0)),
        models=rules.lines(fields.get("allowed_models", "")),
        model_map=mapped(fields),
        groups=rules.lines(fields.get("groups", "")),
        inference_geo=fields.get("inference_geo", ""),
        proxy=proxy,
        options=options(fields),
        budgets=limits.shown(fields.get("budgets", "")),
        headroom=_headroom(fields),
        organization=fields.get("organization", ""),
        workspace=fields.get("workspace", ""),
        created_at=datetime.fromtimestamp(int(fields["created_at"]) / 1000, UTC),
    )


def _headroom(fields: Mapping[str, str]) -> float | None:
    """The part of the upstream's limits that was left when it last told, while that holds."""
    until = _time(fields.get("headroom_until"))
    if until is None or until <= datetime.now(UTC):
        return None
    return min(1.0, _figure(fields.get("headroom"), 1000) / 1000)


def _figure(text: str | None, usual: float) -> float:
    """A stored figure; the usual one for what is none, left by an upstream's mistake."""
    try:
        number = float(text or "")
    except ValueError:
        return usual
    return number if math.isfinite(number) else usual


def _time(text: str | None) -> datetime | None:
    """A stored time (Unix ms); none for what no calendar has, left by an upstream's mistake."""
    try:
        return datetime.fromtimestamp(int(float(text)) / 1000, UTC) if text else None
    except (ValueError, OverflowError, OSError):
        return None
