"""Settings: what is in force, and the prices by which requests are booked."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from quart import Response

from relay.settings import OPTIONS, Option, Secret, Settings
from relay.web.visit import Visit

_USUAL: dict[str, object] = {
    **{field.name: field.default for field in fields(Settings)},
    "log_directory": Path("logs"),
    "clients": {},
}
# Parts that are put together into another field.
_PARTS = {"redis_host", "redis_port", "redis_password", "redis_db"}


async def page(visit: Visit) -> Response:
    prices = visit.ctx.prices.rows()
    return visit.page(
        "settings.html",
        rows=[_row(visit.ctx.settings, option) for option in OPTIONS if option.field not in _PARTS],
        prices=[asdict(row) for row in prices],
        price_names=[field.name for field in fields(prices[0])],
        home=visit.ctx.settings.home,
    )


def _row(settings: Settings, option: Option) -> dict[str, object]:
    name, secret = option.field, option.secret
    if name.startswith("budget_") and name != "budget_mode":
        value: Any = dict(settings.budgets).get(name.removeprefix("budget_"), "")
        usual = not value
    else:
        value = getattr(settings, name)
        if isinstance(value, Path) and value.is_relative_to(settings.home):
            value = value.relative_to(settings.home)
        usual = value == _USUAL.get(name)
        if name.endswith("_s"):
            # Times are given in milliseconds.
            value = round(value * 1000)
    if secret or isinstance(value, Secret):
        value = "***" if value else ""
    return {
        "name": option.toml or option.env,
        "help": option.help,
        "value": "" if value is None else value,
        "is_usual": usual,
    }
