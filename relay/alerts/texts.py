"""What people read of an alert, and its fields as programs read them."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

_NUMBERS = {"limit", "used"}
_TIMES = {"since", "until"}
# The end of the year 9999.
_LAST_MS = 253_402_300_799_000
_WHOSE = {
    "key": "Key {name}",
    "owner": "Owner {name}",
    "account": "Account {name}",
    "relay": "The relay",
}
_HOW_TO_RAISE = {
    "key": "`relay key edit {word} --budget-{period} USD`",
    "owner": "`relay owner set {word} --budget-{period} USD`, with the owner's other budgets",
    "account": "`relay account edit {word} --budget-{period} USD`",
    "relay": "`limits.budget{Period}` in relay.toml",
}


@dataclass(frozen=True, slots=True)
class Told:
    """An alert in words: a line, and what lies behind it and what can be done."""

    title: str
    text: str


def told(fields: Mapping[str, str]) -> Told:
    """An alert's fields in words."""
    if fields.get("title"):
        return Told(fields["title"], fields.get("text", ""))
    return _BY_EVENT[fields["event"]](fields)


def data(fields: Mapping[str, str]) -> dict[str, object]:
    """An alert's own fields for programs: numbers are numbers, money micro-dollars, times UTC."""
    is_money = fields["event"] == "budget"
    found: dict[str, object] = {}
    for field, value in fields.items():
        if field in ("event", "at", "title", "text"):
            continue
        if field == "mark":
            found["threshold"] = int(value) / 1000
        elif field in _NUMBERS:
            found[f"{field}Micros" if is_money else field] = int(value)
        elif field in _TIMES:
            found[field] = iso(value) if value else None
        else:
            found[field] = value
    return found


def iso(ms: str) -> str:
    """A Unix time in ms as ISO 8601, UTC."""
    return _utc(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(ms: str) -> datetime:
    """A stored time; the last one that a calendar has for what lies beyond it."""
    return datetime.fromtimestamp(min(int(float(ms)), _LAST_MS) / 1000, UTC)


def _day_limit(fields: Mapping[str, str]) -> Told:
    word = fields["period"]
    name, used, limit = fields["name"], int(fields["used"]), int(fields["limit"])
    when = f"{_moment(fields['since'])} and {_moment(fields['until'])}"
    then = "It is refused until then." if used >= limit else f"At {limit} it is refused until then."
    return Told(
        f"Key {name} has reached {_part(fields)} of its {word} limit",
        f"{used} of {limit} requests between {when}. {then}"
        f" To let it have more: `relay key edit {shlex.quote(name)} --{word}-limit N`.",
    )


def _budget(fields: Mapping[str, str]) -> Told:
    scope, period, name = fields["scope"], fields["period"], fields["name"]
    whose = _WHOSE[scope].format(name=name)
    words = {"word": shlex.quote(name), "period": period, "Period": period.capitalize()}
    if fields["until"]:
        when = f"since {_moment(fields['since'])}; it begins anew at {_moment(fields['until'])}"
    else:
        when = "for good; it does not begin anew"
    return Told(
        f"{whose} has reached {_part(fields)} of its {period} budget",
        f"{_dollars(fields['used'])} of {_dollars(fields['limit'])} ({fields['mode']}) {when}."
        f" To raise it: {_HOW_TO_RAISE[scope].format(**words)}.",
    )


def _key_expiring(fields: Mapping[str, str]) -> Told:
    name = fields["name"]
    left_h = max(0, int(fields["until"]) - int(fields["at"])) / 3_600_000
    left = f"{round(left_h / 24)} days" if left_h > 36 else f"{max(1, round(left_h))} hours"
    return Told(
        f"Key {name} expires in {left}",
        f"From {_moment(fields['until'])} on it is refused. To let it live longer:"
        f" `relay key edit {shlex.quote(name)} --expires 30d`.",
    )


def _account_error(fields: Mapping[str, str]) -> Told:
    name, models = fields["name"], f" for {fields['class']} models" if fields["class"] else ""
    see = f"`relay account show {shlex.quote(name)}`"
    if fields["state"] == "ok":
        return Told(
            f"Account {name} serves again{models}", f"Before it was {fields['before']}. See {see}."
        )
    reason = f": {fields['reason']}" if fields["reason"] else ""
    until = f" until {_moment(fields['until'])}" if fields["until"] else ""
    return Told(
        f"Account {name} does not serve{models}: it is {fields['state']}",
        f"Since {_moment(fields['at'])}{until}{reason}. {see} says what to do.",
    )


def _other(fields: Mapping[str, str]) -> Told:
    return Told(f"Relay: {fields['event']}", fields.get("text", ""))


_BY_EVENT: Mapping[str, Callable[[Mapping[str, str]], Told]] = {
    "daily_limit": _day_limit,
    "monthly_limit": _day_limit,
    "budget": _budget,
    "key_expiring": _key_expiring,
    "account_error": _account_error,
    "monitor": _other,
    "report": _other,
}


def _part(fields: Mapping[str, str]) -> str:
    return f"{int(fields['mark']) / 10:g} %"


def _dollars(micros: str) -> str:
    amount = Decimal(micros) / 1_000_000
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount.normalize():f}"


def _moment(ms: str) -> str:
    return f"{_utc(ms):%Y-%m-%d %H:%M} UTC"
