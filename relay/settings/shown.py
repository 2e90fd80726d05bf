"""What is in force and where it comes from, for people and programs. Nothing secret is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.settings.options import OPTIONS, Option, Settings
from relay.settings.secret import Secret

MASK = "***"
# Parts that are put together into redis_url.
_PARTS = ("redis_host", "redis_port", "redis_password", "redis_db")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting in force.

    Args:
        name: in relay.toml, or in the environment where it has no other.
        env: its name in the environment, or empty.
        value: as a person would write it; a secret that is set is MASK.
        where: the environment or a file and its line; empty for the default.
    """

    name: str
    env: str
    help: str
    value: object
    where: str


def shown(settings: Settings) -> Sequence[ShownSetting]:
    """Every setting in the order of OPTIONS."""
    return [_shown(settings, option) for option in OPTIONS if option.field not in _PARTS]


def _shown(settings: Settings, option: Option) -> ShownSetting:
    value = _value(settings, option)
    if option.secret or isinstance(value, Secret):
        value = MASK if value else ""
    return ShownSetting(
        name=option.toml or option.env,
        env=option.env,
        help=option.help,
        value="" if value is None else value,
        where=_where(settings, option.field),
    )


def _value(settings: Settings, option: Option) -> Any:
    name = option.field
    if name.startswith("budget_") and name != "budget_mode":
        return dict(settings.budgets).get(name.removeprefix("budget_"), "")
    value = getattr(settings, name)
    if isinstance(value, Path) and value.is_relative_to(settings.home):
        return value.relative_to(settings.home)
    # Times are given in milliseconds.
    return round(value * 1000) if name.endswith("_s") else value


def _where(settings: Settings, field: str) -> str:
    names = (field, *_PARTS) if field == "redis_url" else (field,)
    return next((settings.origins[one] for one in names if one in settings.origins), "")
