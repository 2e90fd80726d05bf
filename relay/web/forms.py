"""What people fill in, as the functions below the console take it, and back again."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from relay.accounts import Account
from relay.keys import USUAL_PREFIX, Key, KeyProblem
from relay.limits import PERIODS
from relay.owners import Owner
from relay.web.visit import Visit

_FEDERATION = (
    "federation_rule_id", "organization_id", "identity_token_file", "service_account_id",
    "workspace_id",
)  # fmt: skip


def changed_meanwhile(visit: Visit) -> str:
    """What is said where a form was opened before somebody else's change."""
    return visit.text("Somebody has changed this since you opened it. These are the newest values.")


def several(text: str) -> list[str]:
    """Words with commas or line ends between them."""
    return [one.strip() for one in re.split(r"[,\n]", text) if one.strip()]


# Each setting of a key and of an account, and the form's fields that show it.
_BUDGET_FIELDS = (*(f"budget_{period}" for period in PERIODS), "budget_mode")
_KEY_FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "owner": ("owner",),
    "tags": ("tags",),
    "note": ("note",),
    "models": ("models",),
    "groups": ("groups",),
    "clients": ("clients",),
    "networks": ("networks",),
    "expires_at": ("expires",),
    "shows_account": ("shows_account",),
    "rate": ("rate_count", "rate_seconds"),
    "daily": ("daily",),
    "monthly": ("monthly",),
    "concurrency": ("concurrency",),
    "wait": ("wait",),
    "tokens_per_minute": ("tokens_per_minute",),
    "budgets": _BUDGET_FIELDS,
}
_ACCOUNT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "base_url": ("base_url",),
    "auth": ("auth",),
    "email": ("email",),
    "note": ("note",),
    "priority": ("priority",),
    "weight": ("weight",),
    "max_concurrency": ("max_concurrency",),
    "allowed_models": ("models",),
    "model_map": ("model_map",),
    "groups": ("groups",),
    "inference_geo": ("inference_geo",),
    "budgets": _BUDGET_FIELDS,
}


def _is_changed(visit: Visit, shown: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether one of these fields came back with another text than the form showed.

    A field that was not sent was not shown. Of boxes only those that are ticked are sent, so the
    form names those it showed as `boxes`.
    """
    boxes = visit.form.getlist("boxes")
    for name in names:
        before = shown.get(name, "")
        if name in ("clients", "shows_account"):
            ticked = [before] if isinstance(before, str) and before else list(before)
            if name in boxes and set(visit.form.getlist(name)) != set(ticked):
                return True
        elif name in visit.form and visit.given(name) != str(before).strip():
            return True
    return False


def _number(visit: Visit, name: str) -> str:
    return visit.given(name) or "0"


def _budgets(visit: Visit) -> dict[str, str]:
    return {period: visit.given(f"budget_{period}") for period in PERIODS}


def _budget_fields(budgets: Mapping[str, str]) -> dict[str, str]:
    """Amounts by field, and the mode where all have the same; `mixed_modes` where they differ."""
    pairs = {period: text.split(" ") for period, text in budgets.items()}
    modes = {mode for _, mode in pairs.values()}
    amounts = {
        f"budget_{period}": pairs[period][0] if period in pairs else "" for period in PERIODS
    }
    mixed = "yes" if len(modes) > 1 else ""
    return {**amounts, "budget_mode": "" if mixed else "".join(modes), "mixed_modes": mixed}


def _budgets_after(visit: Visit, before: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Budgets by the form, and the mode that was chosen for all of them.

    Where nobody chose another mode than the form showed, each keeps its own.
    """
    shown = _budget_fields(before)
    mode = visit.form.get("budget_mode", shown["budget_mode"])
    amounts = {
        period: visit.form.get(f"budget_{period}", shown[f"budget_{period}"]).strip()
        for period in PERIODS
    }
    if mode != shown["budget_mode"]:
        return amounts, mode
    own = {period: text.partition(" ")[2] for period, text in before.items()}
    return {
        period: f"{amount} {own.get(period, mode)}".strip()
        if amount and " " not in amount
        else amount
        for period, amount in amounts.items()
    }, ""


def key_changes(visit: Visit, key: Key) -> dict[str, Any]:
    """What the form changes of a key: what it cannot show as it is stored stays as it is.

    Raises:
        KeyProblem: a field makes no sense.
    """
    shown, sent = key_fields(key), key_settings(visit)
    changes = {
        setting: sent[setting]
        for setting, names in _KEY_FIELDS.items()
        if _is_changed(visit, shown, names)
    }
    if "budgets" in changes:
        changes["budgets"], changes["budget_mode"] = _budgets_after(visit, key.limits.budgets)
    return changes


def key_settings(visit: Visit) -> dict[str, Any]:
    """A new key's settings by the form. Raises KeyProblem where a field makes no sense."""
    count, seconds = visit.given("rate_count"), visit.given("rate_seconds")
    return {
        "name": visit.given("name"),
        "owner": visit.given("owner"),
        "tags": several(visit.given("tags")),
        "note": visit.given("note"),
        "models": several(visit.given("models")),
        "groups": several(visit.given("groups")),
        "clients": visit.form.getlist("clients"),
        "networks": several(visit.given("networks")),
        "expires_at": _moment(visit.given("expires")),
        "shows_account": bool(visit.given("shows_account")),
        "rate": f"{count}/{seconds or 60}" if count else "",
        "daily": _number(visit, "daily"),
        "monthly": _number(visit, "monthly"),
        "concurrency": _number(visit, "concurrency"),
        "wait": _number(visit, "wait"),
        "tokens_per_minute": _number(visit, "tokens_per_minute"),
        "budgets": _budgets(visit),
        "budget_mode": visit.given("budget_mode"),
    }


def owner_budgets(visit: Visit, before: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """An owner's budgets by the form, and how they hold; `before` are those that it showed."""
    return _budgets_after(visit, before)


def owner_fields(owner: Owner | None) -> dict[str, str]:
    """What stands in the form of an owner; of a new one when None."""
    name, budgets = (owner.name, owner.budgets) if owner else ("", {})
    return {"name": name, **_budget_fields(budgets)}


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise KeyProblem(
            "expires_at: use a date and a time such as 2027-01-31 12:00.", "expires_at"
        ) from None


def key_fields(key: Key | None) -> dict[str, Any]:
    """What stands in the form of a key; of a new one when None."""
    if key is None:
        fields: dict[str, Any] = dict.fromkeys(
            ("name", "owner", "tags", "note", "models", "groups", "networks", "expires",
             "shows_account", "rate_count", "rate_seconds", "daily", "monthly", "concurrency",
             "wait", "tokens_per_minute"), ""
        )  # fmt: skip
        return {**fields, "clients": [], "prefix": USUAL_PREFIX, **_budget_fields({})}
    limits = key.limits
    count, _, seconds = limits.rate.partition("/")
    return {
        "name": key.name,
        "prefix": key.prefix,
        "owner": key.owner,
        "tags": ", ".join(key.tags),
        "note": key.note,
        "models": ", ".join(key.models),
        "groups": ", ".join(key.groups),
        "clients": list(limits.clients),
        "networks": ", ".join(limits.networks),
        "expires": f"{key.expires_at:%Y-%m-%dT%H:%M}" if key.expires_at else "",
        "shows_account": "on" if key.shows_account else "",
        "rate_count": count,
        "rate_seconds": seconds,
        "daily": limits.daily or "",
        "monthly": limits.monthly or "",
        "concurrency": limits.concurrency or "",
        "wait": limits.wait or "",
        "tokens_per_minute": limits.tokens_per_minute or "",
        **_budget_fields(limits.budgets),
    }


def sent(visit: Visit, fields: dict[str, Any]) -> dict[str, Any]:
    """The form as it was sent, to be shown again; no field for a secret is among `fields`."""
    shown: dict[str, Any] = {name: visit.given(name) for name in fields}
    if "clients" in fields:
        shown["clients"] = visit.form.getlist("clients")
    if "mixed_modes" in fields:
        shown["mixed_modes"] = fields["mixed_modes"]
    return shown


def account_changes(visit: Visit, account: Account) -> dict[str, Any]:
    """What the form changes of an account; see key_changes()."""
    shown, sent = account_fields(account, ""), account_settings(visit, account.kind)
    changes = {
        setting: sent[setting]
        for setting, names in _ACCOUNT_FIELDS.items()
        if setting in sent and _is_changed(visit, shown, names)
    }
    if "budgets" in changes:
        amounts, mode = _budgets_after(visit, account.budgets)
        changes["budgets"] = {**amounts, "mode": mode}
    if options := {
        name: text
        for name, text in sent.get("options", {}).items()
        if _is_changed(visit, shown, (name,))
    }:
        changes["options"] = options
    return changes | {name: sent[name] for name in ("secret", "proxy") if name in sent}


def account_settings(visit: Visit, kind: str) -> dict[str, Any]:
    """A new account's settings by the form, without a secret or proxy that is left empty."""
    pairs = (one.partition("=") for one in several(visit.given("model_map")))
    given: dict[str, Any] = {
        "name": visit.given("name"),
        "base_url": visit.given("base_url"),
        "email": visit.given("email"),
        "note": visit.given("note"),
        "priority": visit.given("priority") or "50",
        "weight": visit.given("weight") or "1",
        "max_concurrency": _number(visit, "max_concurrency"),
        "allowed_models": several(visit.given("models")),
        "model_map": {model.strip(): target.strip() for model, _, target in pairs},
        "groups": several(visit.given("groups")),
        "inference_geo": visit.given("inference_geo"),
        "budgets": {**_budgets(visit), "mode": visit.given("budget_mode")},
    }
    if kind == "api_key":
        given["auth"] = visit.given("auth") or "x-api-key"
    if kind == "federation":
        given["options"] = {name: visit.given(name) for name in _FEDERATION}
    if secret := visit.given("secret"):
        given["secret"] = secret
    if visit.given("drop_proxy"):
        given["proxy"] = ""
    elif proxy := visit.given("proxy"):
        given["proxy"] = proxy
    return given


def account_fields(account: Account | None, base_url: str) -> dict[str, Any]:
    """What stands in the form of an account; of a new one when None. Never a secret."""
    if account is None:
        fields: dict[str, Any] = dict.fromkeys(
            ("name", "email", "note", "max_concurrency", "models", "model_map", "groups",
             "inference_geo", *_FEDERATION), ""
        )  # fmt: skip
        usual = {"auth": "x-api-key", "priority": "50", "weight": "1", "base_url": base_url}
        return {**fields, **usual, **_budget_fields({})}
    return {
        "name": account.name,
        "base_url": account.base_url,
        "auth": account.auth,
        "email": account.email,
        "note": account.note,
        "priority": account.priority,
        "weight": account.weight,
        "max_concurrency": account.max_concurrency or "",
        "models": ", ".join(account.models),
        "model_map": ", ".join(f"{name}={to}" for name, to in account.model_map.items()),
        "groups": ", ".join(account.groups),
        "inference_geo": account.inference_geo,
        **{name: account.options.get(name, "") for name in _FEDERATION},
        **_budget_fields(account.budgets),
    }
