"""The checks of the machine: each a function over a look, that returns what it found."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from relay.monitor import relay_checks
from relay.monitor.findings import CRITICAL, OK, UNSEEN, WARNING, Finding, by_amount
from relay.monitor.seen import Certificate, Disk, Look, Unit
from relay.monitor.site import TARGET, Site
from relay.settings import Settings

Check = Callable[[Look, Site, Settings], Iterator[Finding]]


def service(look: Look, site: Site, _: Settings) -> Iterator[Finding]:
    """Whether systemd has every unit up, and starts it at boot."""
    if look.units is None:
        yield Finding("service", UNSEEN, "systemd does not tell of its units.")
        return
    for name in site.units:
        yield _unit(look.units.get(name) or Unit(name, "not-found", "inactive"))


def _unit(unit: Unit) -> Finding:
    see = f"journalctl --unit {unit.name} --lines 50"

    def found(level: str, text: str, mend: str = see, *, settles: bool = False) -> Finding:
        return Finding("service", level, text, mend, unit.name, settles)

    if unit.load != "loaded":
        return found(CRITICAL, f"Its unit is {unit.load}.", "run install.sh again")
    if unit.name == TARGET and unit.is_down:
        # Restoring a backup stops it, and nobody is to start it meanwhile.
        text = "It is stopped, so the relay is meant to stand still."
        return found(CRITICAL, text, f"systemctl start {TARGET}", settles=True)
    if unit.is_down:
        how = "It has failed." if unit.active == "failed" else "It is stopped."
        return found(CRITICAL, how, f"systemctl start {unit.name}; {see}")
    if not unit.is_active:
        return found(WARNING, f"It is {unit.active} ({unit.sub}).", settles=True)
    if unit.at_boot not in ("enabled", "enabled-runtime", "alias", "static"):
        return found(
            WARNING, "It runs, and will not after a boot.", f"systemctl enable {unit.name}"
        )
    return found(OK, "It runs.", "")


def instance(look: Look, site: Site, _: Settings) -> Iterator[Finding]:
    """Whether each instance takes requests, and would serve them."""
    if look.doors is None:
        yield Finding("instance", UNSEEN, "The instances were not asked.")
        return
    units = look.units or {}
    for port in site.ports:
        door, subject = look.doors[port], str(port)
        unit = units.get(f"relay@{port}.service")
        if unit is not None and not unit.is_active:
            yield Finding("instance", UNSEEN, "Its service does not run.", subject=subject)
            continue
        start = f"systemctl restart relay@{port}" if site.is_appliance else "relay serve"
        if door.health is None:
            yield Finding("instance", CRITICAL, "It does not answer.", start, subject)
        elif door.health == 503:
            text = "It is being stopped: it ends what runs and takes nothing new."
            yield Finding("instance", WARNING, text, start, subject, settles=True)
        elif door.health != 200:
            text = f"Something answers /health with status {door.health}; is it the relay?"
            yield Finding("instance", CRITICAL, text, start, subject)
        elif door.ready != 200 and look.redis_answers:
            text = "It does not reach Redis, which answers the monitor."
            yield Finding("instance", CRITICAL, text, start, subject)
        elif door.ready != 200:
            yield Finding("instance", OK, "It answers, and waits for Redis.", subject=subject)
        else:
            yield Finding("instance", OK, f"It serves ({door.version}).", subject=subject)


def disk(look: Look, _: Site, settings: Settings) -> Iterator[Finding]:
    """Whether there is room for what is to be written."""
    if look.disks is None:
        yield Finding("disk", UNSEEN, "The disks do not tell how full they are.")
        return
    for one in look.disks:
        yield _disk(one, settings)


def _disk(one: Disk, settings: Settings) -> Finding:
    limits = (settings.monitor_disk_warning, settings.monitor_disk_critical)
    what, percent = max(("its room", one.percent), ("its inodes", one.files), key=lambda it: it[1])
    places = ", ".join(str(place) for place in one.places)
    text = f"{percent:.0f} % of {what} is used; {_size(one.free_bytes)} are free ({places})."
    mend = f"see what fills it: du -xh --max-depth 2 {one.places[0]} | sort -h | tail"
    level = by_amount(percent, *limits)
    return Finding("disk", level, text, mend if level != OK else "", str(one.places[0]))


def memory(look: Look, _: Site, settings: Settings) -> Iterator[Finding]:
    """Whether there is memory left."""
    if look.memory is None:
        yield Finding("memory", UNSEEN, "The system does not tell how much memory is left.")
        return
    percent = 100 * (1 - look.memory.available / look.memory.total)
    level = by_amount(percent, settings.monitor_memory_warning, settings.monitor_memory_critical)
    text = f"{percent:.0f} % is used; {_size(look.memory.available)} are available."
    yield Finding("memory", level, text, "ps aux --sort=-rss | head" if level != OK else "")


def clock(look: Look, _: Site, __: Settings) -> Iterator[Finding]:
    """Whether the clock is right: limits, tokens and certificates depend on it."""
    if look.clock is None:
        yield Finding("clock", UNSEEN, "Nobody here tells whether the clock is right.")
    elif look.clock.is_synchronized:
        yield Finding("clock", OK, "It is in step with the world's.")
    elif look.clock.has_service:
        text = "It is not in step with the world's."
        yield Finding("clock", WARNING, text, "timedatectl timesync-status", settles=True)
    else:
        text = "No time service sets it, unless the machine's host does."
        yield Finding("clock", UNSEEN, text, "apt-get install systemd-timesyncd")


def certificate(look: Look, site: Site, settings: Settings) -> Iterator[Finding]:
    """Whether each domain is served with a certificate that is renewed in time."""
    if look.certificates is None:
        yield Finding("certificate", UNSEEN, "The certificates were not looked at.")
        return
    caddy = (look.units or {}).get("relay-caddy.service")
    for domain in site.domains:
        one = look.certificates[domain]
        if isinstance(one, Certificate):
            yield _certificate(domain, one, look.at, settings)
        elif caddy is not None and not caddy.is_active:
            yield Finding("certificate", UNSEEN, "relay-caddy does not run.", subject=domain)
        else:
            see = "journalctl --unit relay-caddy --lines 50"
            yield Finding("certificate", CRITICAL, one, see, domain, settles=True)


def _certificate(domain: str, one: Certificate, at: datetime, settings: Settings) -> Finding:
    left = one.ends - at
    # By its share: an own authority's lives twelve hours, others ninety days.
    percent = 100 * left / (one.ends - one.begins)
    see = "journalctl --unit relay-caddy --lines 50 tells why it is not renewed"
    if left <= timedelta(0):
        return Finding("certificate", CRITICAL, f"It ran out at {_moment(one.ends)}.", see, domain)
    level, text = OK, f"It is good until {_moment(one.ends)}."
    if percent <= settings.monitor_certificate_critical:
        level = CRITICAL
    elif percent <= settings.monitor_certificate_warning:
        level = WARNING
    if level != OK:
        text = f"It was to be renewed, and ends at {_moment(one.ends)}."
    return Finding("certificate", level, text, see if level != OK else "", domain)


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


_CHECKS: tuple[Check, ...] = (
    service,
    relay_checks.redis,
    relay_checks.redis_memory,
    relay_checks.redis_file,
    instance,
    certificate,
    disk,
    memory,
    clock,
    relay_checks.account,
    relay_checks.errors,
    relay_checks.own_errors,
    relay_checks.booking,
    relay_checks.price,
    relay_checks.books,
    relay_checks.webhook,
)


def judged(
    look: Look, site: Site, settings: Settings, settings_problem: str, since: datetime
) -> list[Finding]:
    """Everything that the checks find.

    Args:
        settings_problem: a sentence about what is wrong with the settings, or empty.
        since: when somebody first looked here (UTC); no backup can be older than that.
    """
    found = [relay_checks.configuration(settings_problem or site.problem)]
    for check in _CHECKS:
        found += check(look, site, settings)
    found += relay_checks.backups(look, settings, since)
    for part, why in look.broken.items():
        text = f"The monitor could not look at it: {why}."
        found.append(Finding("look", WARNING, text, "relay doctor", part, settles=True))
    if not look.broken:
        found.append(Finding("look", OK, "Everything was looked at."))
    return found
