"""Models that retire soon and that keys still use: for the doctor, the console and the webhooks."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relay import usage
from relay.alerts import Alerts
from relay.known_models import KnownModels
from relay.store import Store

REPORT_EVERY_S = 3600.0
WITHIN_DAYS = 30
_USED_WITHIN = timedelta(days=7)
# Longer than a retirement can be near, so that each is reported once.
_ONCE_FOR_S = 90 * 24 * 3600.0
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model that retires soon, and who used it in the last seven days.

    Args:
        retires_at: as the upstream lists it, UTC; the past for a model that is overdue.
        keys: the names of the keys, in their order.
        key_ids: the same keys.
    """

    model: str
    retires_at: datetime
    keys: tuple[str, ...]
    key_ids: tuple[str, ...]

    @property
    def day(self) -> str:
        """The UTC day on which it retires."""
        return f"{self.retires_at:%Y-%m-%d}"

    @property
    def named(self) -> str:
        """The keys in words; a long list is cut."""
        more = len(self.keys) - _MOST_NAMED
        return ", ".join(self.keys[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


async def near(store: Store, known: KnownModels) -> list[Retirement]:
    """The models that keys used in the last seven days and that retire within 30, the first first.

    A model counts as the account lists it that served it. Raises RedisAway.
    """
    now = datetime.now(UTC)
    if not any(one.retires_within(WITHIN_DAYS, now) for one in known.everywhere()):
        return []
    since = now.replace(minute=0, second=0, microsecond=0) - _USED_WITHIN
    rows = (await usage.report(store, usage.Ask(since, by=("key", "account", "model")))).rows
    found: defaultdict[tuple[str, datetime], dict[str, str]] = defaultdict(dict)
    for row in rows:
        one = known.find(row.model, row.account_id)
        is_used = bool(row.counters["requests"] or row.counters["cost_micros"])
        if one is None or not is_used or row.key_id == usage.RELAY_KEY:
            continue
        if one.retires_at is not None and one.retires_within(WITHIN_DAYS, now):
            found[one.name, one.retires_at][row.key_id] = row.key_name or row.key_id
    return [
        _retirement(model, retires_at, keys)
        for (model, retires_at), keys in sorted(found.items(), key=lambda pair: pair[0][::-1])
    ]


async def report(store: Store, known: KnownModels, alerts: Alerts) -> None:
    """Tell the webhooks, once for each model and set of keys. Raises RedisAway."""
    for one in await near(store, known):
        keys = hashlib.sha256("\n".join(sorted(one.key_ids)).encode()).hexdigest()[:16]
        await alerts.add(
            "model_retiring",
            f"The model {one.model} retires on {one.day}",
            f"{sentence(one)} {what_helps(one.model)}",
            once=f"model_retiring:{one.model}:{one.day}:{keys}",
            once_for_s=_ONCE_FOR_S,
            model=one.model,
            until=str(int(one.retires_at.timestamp() * 1000)),
            keys=", ".join(one.keys[:_MOST_NAMED]),
        )


def sentence(one: Retirement) -> str:
    """Who is concerned by a retirement, and when."""
    is_overdue = one.retires_at <= datetime.now(UTC)
    when = f"It was to retire on {one.day}" if is_overdue else f"It retires on {one.day}"
    return f"{when}, and was used in the last 7 days by {one.named}."


def what_helps(model: str) -> str:
    """How requests for a model go on after its retirement."""
    return (
        "Let these programs ask for another model, or map the name: [claude.models] and"
        f" [openai.models] in relay.toml, or `relay account edit ACCOUNT --map {model}=MODEL`."
    )


def _retirement(model: str, retires_at: datetime, keys: Mapping[str, str]) -> Retirement:
    ranked: Sequence[tuple[str, str]] = sorted(keys.items(), key=lambda pair: (pair[1], pair[0]))
    ids, names = zip(*ranked, strict=True)
    return Retirement(model, retires_at, tuple(names), tuple(ids))
