"""What this machine is meant to be: an appliance, by its own values, or a place with a relay."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from relay.settings import Settings

REDIS, CADDY, TARGET = "relay-redis.service", "relay-caddy.service", "relay.target"
_UNIT_OF_PORT = "relay@{}.service"
# Where install.sh puts what the settings of a command do not name.
_APPLIANCE_PLACES = ("/var/lib/relay-redis", "/var/log/relay", "/var/log/relay-caddy")


@dataclass(frozen=True, slots=True)
class Site:
    """What is to be looked at.

    Args:
        name: by which people know the machine.
        is_appliance: install.sh made it, and systemd runs the relay.
        ports: of the instances, on loopback.
        domains: that are served on 127.0.0.1:443.
        places: whose disks may fill up.
        redis_url: where Redis is, whoever runs it; it may hold the password.
        problem: a sentence about values of the machine that cannot be right.
    """

    name: str
    is_appliance: bool
    ports: tuple[int, ...]
    domains: tuple[str, ...]
    places: tuple[Path, ...]
    redis_url: str
    problem: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """The units that are to be active, in the order in which they are started."""
        if not self.is_appliance:
            return ()
        return (REDIS, *(unit_of(port) for port in self.ports), CADDY, TARGET)

    def __repr__(self) -> str:
        return f"Site({self.name!r})"


def unit_of(port: int) -> str:
    """The unit of the instance on a port."""
    return _UNIT_OF_PORT.format(port)


def site(settings: Settings, environ: Mapping[str, str]) -> Site:
    """The machine by its settings, and by the values of appliance.env in the environment."""
    is_appliance = "RELAY_INSTANCES" in environ
    ports, problem = _ports(environ) if is_appliance else ((settings.port,), "")
    logs = (settings.log_directory,) if settings.log_to_file else ()
    others = tuple(Path(one) for one in _APPLIANCE_PLACES) if is_appliance else logs
    domains = [environ.get("RELAY_DOMAIN", ""), environ.get("RELAY_ADMIN_DOMAIN", "")]
    return Site(
        name=domains[0] or socket.gethostname(),
        is_appliance=is_appliance,
        ports=tuple(port for port in ports if port),
        domains=tuple(dict.fromkeys(one for one in domains if one)) if is_appliance else (),
        places=(settings.home, settings.backup_folder, *others),
        redis_url=settings.redis_url or f"unix://{quote(str(settings.home / 'redis.sock'))}",
        problem=problem,
    )


def _ports(environ: Mapping[str, str]) -> tuple[tuple[int, ...], str]:
    count, first = environ["RELAY_INSTANCES"], environ.get("RELAY_PORT", "3000")
    if re.fullmatch("[1-9][0-9]?", count) and re.fullmatch("[1-9][0-9]{0,4}", first):
        return tuple(range(int(first), int(first) + int(count))), ""
    return (), (
        "RELAY_INSTANCES or RELAY_PORT in /etc/relay/appliance.env is no number, so nobody knows"
        " which instances there are."
    )
