"""Settings: what is in force and where it stands, prices, and the clients of keys."""

from quart import Response

from relay import tariff, usage
from relay.settings import ShownSetting, shown
from relay.web.visit import Visit


async def page(visit: Visit) -> Response:
    """All settings by the section of relay.toml; those of the environment alone come last."""
    rows = shown(visit.ctx.settings)
    groups: dict[str, list[ShownSetting]] = {}
    for row in sorted(rows, key=lambda one: one.name.isupper()):
        section = "" if row.name.isupper() else row.name.partition(".")[0]
        groups.setdefault(section, []).append(row)
    return visit.page("settings.html", groups=groups, home=visit.ctx.settings.home)


async def prices(visit: Visit) -> Response:
    rows = visit.ctx.prices.rows()
    return visit.page(
        "prices.html",
        prices=rows,
        table_version=visit.ctx.prices.version,
        stored=await tariff.stored_table(visit.ctx.store, visit.ctx.prices),
        settings=visit.ctx.settings,
    )


async def clients(visit: Visit) -> Response:
    """The clients that keys can be held to, how many are, and the programs seen of late."""
    known = visit.ctx.clients.patterns
    held = dict.fromkeys(known, 0)
    for key in await visit.ctx.keys.list():
        for one in key.limits.clients:
            held[one] = held.get(one, 0) + 1
    return visit.page(
        "clients.html",
        patterns=known,
        own=visit.ctx.settings.clients,
        held=held,
        seen=await usage.programs(visit.ctx.store),
    )
