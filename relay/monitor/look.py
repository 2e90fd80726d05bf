"""Taking a look: every part at one time, each with a deadline, so that none holds up another."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio

from relay.alerts import Alerts
from relay.monitor import doors, machine, stored
from relay.monitor.seen import Look
from relay.monitor.site import Site
from relay.settings import Settings
from relay.store import Store

log = logging.getLogger("relay.monitor")

_PART_DEADLINE_S = 10.0
_LOOPBACK = "127.0.0.1"


async def take(site: Site, settings: Settings, opened: Store, alerts: Alerts) -> Look:
    """Look at everything; what fails or takes too long is in `broken`, and None."""
    host = _LOOPBACK if site.is_appliance else _reachable(settings.host)
    parts: dict[str, Callable[[], Awaitable[Any]]] = {
        "units": partial(machine.units, site.units),
        "doors": partial(doors.instances, host, site.ports),
        "certificates": partial(doors.certificates, site.domains),
        "disks": partial(machine.disks, site.places),
        "memory": machine.memory,
        "clock": machine.clock,
        "is_changing": machine.is_changing,
        "stored": partial(stored.look, opened, settings, alerts),
    }
    found, broken = await gathered(parts, _PART_DEADLINE_S)
    return Look(at=datetime.now(UTC), broken=broken, **found)


def _reachable(host: str) -> str:
    """An address of this machine at which a listener on `host` answers."""
    host = {"0.0.0.0": _LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104  # not listened on
    return f"[{host}]" if ":" in host else host


async def gathered(
    parts: dict[str, Callable[[], Awaitable[Any]]], deadline_s: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the parts return, by name, and why others returned nothing."""
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}

    async def get(name: str, part: Callable[[], Awaitable[Any]]) -> None:
        try:
            with trio.move_on_after(deadline_s) as scope:
                found[name] = await part()
            if scope.cancelled_caught:
                broken[name] = f"it took over {deadline_s:g} s"
        except Exception as error:
            # The border of a part: whatever broke in it, the others are looked at.
            log.critical("the look at %s failed", name, exc_info=True)
            broken[name] = f"{type(error).__name__}; the monitor's own log says where"

    async with trio.open_nursery() as nursery:
        for name, part in parts.items():
            nursery.start_soon(get, name, part)
    return found, broken
