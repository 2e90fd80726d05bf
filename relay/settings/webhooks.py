"""[[webhooks]] of relay.toml: who is told of what.

The addresses of Slack and Discord are secrets like the secret itself: both are kept as Secret and
may stand in the environment. No message of an error repeats a value.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from relay.settings.secret import Secret

EVENTS = (
    "daily_limit", "monthly_limit", "account_error", "budget", "key_expiring", "monitor", "report",
    "price_unknown", "usage_unknown", "reconcile", "model_retiring",
)  # fmt: skip
USUAL_MARKS = (800,)
FORMATS = ("json", "discord", "slack")
# Only what is named so can be meant: no other secret is sent anywhere by mistake.
ENV_PREFIX = "RELAY_WEBHOOK_"
_MOST_MARKS = 20
_MARKS_RULE = "thresholds must be parts of a limit such as [0.5, 0.8, 1]"
_LEAST_SECRET = 16
_KNOWN = (
    "name", "url", "urlEnv", "secret", "secretEnv", "events", "thresholds", "threshold",
    "allowPrivate", "format",
)  # fmt: skip
_DISCORD_HOST = re.compile(r"(?:(?:ptb|canary)\.)?discord(?:app)?\.com")
_SLACK_HOST = re.compile(r"hooks\.slack(?:-gov)?\.com")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of alerts.

    Args:
        id: made of the address, so that what it is still to get outlives a restart.
        shown: the address without what may be a secret.
        secret: signs what is sent; None sends it unsigned.
        marks: which parts of a limit it is told of, per mille.
        allow_private: it may lie in a private network or on this machine.
    """

    id: str
    name: str
    url: Secret
    shown: str
    secret: Secret | None = None
    events: tuple[str, ...] = EVENTS
    marks: tuple[int, ...] = USUAL_MARKS
    allow_private: bool = False
    format: str = "json"


def filled(value: object, named: Mapping[str, object]) -> object:
    """`value` of relay.toml with urlEnv and secretEnv replaced by what `named` says, where it does.

    The table [webhooks.NAME] is as good as [[webhooks]] with that name.
    """
    if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
        value = [{"name": name, **one} for name, one in value.items()]
    if not isinstance(value, list):
        return value
    return [_filled(one, named) if isinstance(one, dict) else one for one in value]


def _filled(one: Mapping[str, object], named: Mapping[str, object]) -> dict[str, object]:
    fields = dict(one)
    for field in ("url", "secret"):
        if (env := fields.get(f"{field}Env")) in named and field not in fields:
            del fields[f"{field}Env"]
            fields[field] = named[str(env)]
    return fields


def parse(value: object) -> tuple[Webhook, ...]:
    """The webhooks of relay.toml. What its ValueError says completes "webhooks must be …"."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("one or more tables [[webhooks]], each with its url")
    found: list[Webhook] = []
    for number, one in enumerate(value, 1):
        try:
            webhook = _webhook(one, number)
        except ValueError as rule:
            raise ValueError(f"tables [[webhooks]]; in number {number} {rule}") from None
        for other in found:
            if webhook.id == other.id or webhook.name == other.name:
                raise ValueError(
                    f"tables [[webhooks]]; number {number} has the url or name of another one"
                )
        found.append(webhook)
    return tuple(found)


def _webhook(one: Mapping[str, object], number: int) -> Webhook:
    for field in one:
        if field not in _KNOWN:
            raise ValueError(f"there is no {field}; there are {', '.join(_KNOWN)}")
    for field in ("urlEnv", "secretEnv"):
        if field in one:
            raise ValueError(_about_env(field, one))
    url = one.get("url")
    parts = _checked_url(url)
    name = one.get("name", f"{parts.hostname}-{number}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(name)):
        raise ValueError("name must be made of letters, digits, . _ and -")
    return Webhook(
        id="wh_" + hashlib.sha256(str(url).encode()).hexdigest()[:16],
        name=str(name),
        url=Secret(str(url)),
        shown=f"{parts.scheme}://{parts.netloc}{'/***' if parts.path.strip('/') else ''}",
        secret=_secret(one["secret"]) if "secret" in one else None,
        events=_events(one.get("events", list(EVENTS))),
        marks=_marks(one),
        allow_private=_flag(one.get("allowPrivate", False)),
        format=_format(one.get("format"), parts),
    )


def _about_env(field: str, one: Mapping[str, object]) -> str:
    plain, named = field.removesuffix("Env"), str(one[field])
    if plain in one:
        return f"leave out {plain} or {field}"
    if not re.fullmatch(rf"{ENV_PREFIX}[A-Z0-9_]+", named):
        return f"{field} must name an environment variable that begins with {ENV_PREFIX}"
    return f"{field}: the environment and RELAY_HOME/.env have no {named}"


def _checked_url(url: object) -> SplitResult:
    text = url if isinstance(url, str) else ""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(
            _HOST.fullmatch(re.sub(r":[0-9]{1,5}$", "", parts.netloc))
        )
        _ = parts.port
    except ValueError:
        is_good = False
    if not is_good or not re.fullmatch(r"[!-~]+", text) or "#" in text or "\\" in text:
        raise ValueError(
            "url must be an http or https address of ASCII characters, without user name and"
            " fragment"
        )
    return parts


def _secret(value: object) -> Secret:
    if not isinstance(value, str) or len(value) < _LEAST_SECRET or not value.isprintable():
        raise ValueError(f"secret must be a text of at least {_LEAST_SECRET} characters")
    return Secret(value)


def _events(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(one in EVENTS for one in listed):
        raise ValueError(f"events must be some of {', '.join(EVENTS)}")
    return tuple(dict.fromkeys(str(one) for one in listed))


def _marks(one: Mapping[str, object]) -> tuple[int, ...]:
    if "thresholds" in one and "threshold" in one:
        raise ValueError("leave out thresholds or threshold")
    value = one.get("thresholds", one.get("threshold"))
    if value is None:
        return USUAL_MARKS
    marks = {_per_mille(part) for part in (value if isinstance(value, list) else [value])}
    if not marks or len(marks) > _MOST_MARKS:
        raise ValueError(_MARKS_RULE)
    return tuple(sorted(marks))


def _per_mille(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        mark = round(value * 1000)
        if mark and abs(value * 1000 - mark) < 1e-6:
            return mark
    raise ValueError(_MARKS_RULE)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("allowPrivate must be true or false")
    return value


def _format(value: object, parts: SplitResult) -> str:
    host = parts.hostname or ""
    if value is None and _DISCORD_HOST.fullmatch(host) and "/webhooks/" in parts.path:
        return "discord"
    if value is None and _SLACK_HOST.fullmatch(host):
        return "slack"
    if value not in (None, *FORMATS):
        raise ValueError(f"format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return str(value or "json")
