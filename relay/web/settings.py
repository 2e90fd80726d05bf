"""Settings: what is in force, and the prices by which requests are booked."""

from dataclasses import asdict, fields

from quart import Response

from relay.settings import OPTIONS, Option, Secret, Settings
from relay.web.visit import Visit

_USUAL = {field.name: field.default for field in fields(Settings)}
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
        value: object = dict(settings.budgets).get(name.removeprefix("budget_"), "")
        usual = not value
    else:
        value = getattr(settings, name)
        usual = value == _USUAL.get(name)
    if secret or isinstance(value, Secret):
        value = "***" if value else ""
    return {
        "name": option.toml or option.env,
        "help": option.help,
        "value": "" if value is None else value,
        "is_usual": usual,
    }
