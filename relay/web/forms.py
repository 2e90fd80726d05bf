"""What people fill in, as the functions below the console take it, and back again."""

import re
from collections.abc import Mapping
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


def _number(visit: Visit, name: str) -> str:
    return visit.given(name) or "0"


def _budgets(visit: Visit) -> dict[str, str]:
    return {period: visit.given(f"budget_{period}") for period in PERIODS}


def _budget_fields(budgets: Mapping[str, str]) -> dict[str, str]:
    """Amounts by field, and the mode where all have the same."""
    pairs = {period: text.split(" ") for period, text in budgets.items()}
    modes = {mode for _, mode in pairs.values()}
    amounts = {
        f"budget_{period}": pairs[period][0] if period in pairs else "" for period in PERIODS
    }
    return {**amounts, "budget_mode": modes.pop() if len(modes) == 1 else ""}


def key_settings(visit: Visit) -> dict[str, Any]:
    """A key's settings by the form. Raises KeyProblem where a field makes no sense."""
    count, seconds = visit.given("rate_count"), visit.given("rate_seconds")
    clients = [one for one in visit.form.getlist("clients") if one in visit.ctx.clients.ids]
    return {
        "name": visit.given("name"),
        "owner": visit.given("owner"),
        "tags": several(visit.given("tags")),
        "note": visit.given("note"),
        "models": several(visit.given("models")),
        "groups": several(visit.given("groups")),
        "clients": clients,
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


def owner_budgets(visit: Visit) -> tuple[dict[str, str], str]:
    """An owner's budgets by the form, and how they hold."""
    return _budgets(visit), visit.given("budget_mode")


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
    return shown


def account_settings(visit: Visit, kind: str) -> dict[str, Any]:
    """An account's settings by the form; a secret or proxy that is left empty is not among them."""
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
             *_FEDERATION), ""
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
        **{name: account.options.get(name, "") for name in _FEDERATION},
        **_budget_fields(account.budgets),
    }
