"""What is started again, and when it is not: only what is down while it is meant to be up."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from relay.monitor.machine import said_by
from relay.monitor.notes import HOUR_S, Notes
from relay.monitor.seen import Look
from relay.monitor.site import REDIS, TARGET, Site, unit_of

# Pauses after the first and the second start; what does not stay up needs a person.
_PAUSES_S = (4 * 60.0, 15 * 60.0)


@dataclass(frozen=True, slots=True)
class Start:
    """A unit to be started: `how` is start, or restart for one that hangs."""

    unit: str
    how: str


def is_meant_to_run(look: Look) -> bool:
    """Whether the relay is meant to be up: a restore stops the target, an upgrade the instances."""
    target = (look.units or {}).get(TARGET)
    return target is not None and target.is_active and not look.is_changing


def needed(look: Look, site: Site, before: Collection[str]) -> list[Start]:
    """What is down, in the order in which it is started.

    Args:
        before: names of the problems of the run before: what hangs is restarted when it hung
            then too, because systemd's own watchdog comes first.
    """
    if not is_meant_to_run(look) or look.units is None:
        return []
    hanging = set(_hanging(look, site, before))
    found = []
    for name in site.units:
        unit = look.units.get(name)
        if unit is not None and unit.is_down:
            found.append(Start(name, "start"))
        elif unit is not None and unit.is_active and name in hanging:
            found.append(Start(name, "restart"))
    return found


def _hanging(look: Look, site: Site, before: Collection[str]) -> Iterable[str]:
    """Units that systemd calls active and that answer nobody, at this run and the one before."""
    stored = look.stored
    is_silent = stored is not None and bool(stored.problem)
    if stored is not None and (stored.is_refused or stored.is_loading or stored.is_lost):
        is_silent = False
    if is_silent and "redis" in before:
        yield REDIS
    for port in site.ports:
        door = (look.doors or {}).get(port)
        if door is not None and door.health is None and f"instance {port}" in before:
            yield unit_of(port)


def may_start(notes: Notes, unit: str, most: int, now: float) -> bool:
    """Whether a unit may be started now: so often in an hour, further and further apart.

    Args:
        most: starts within an hour.
        now: Unix seconds.
    """
    # A clock that was set back leaves starts in the future; they count for nothing.
    made = sorted(at for at in notes.starts.get(unit, []) if 0 <= now - at < HOUR_S)
    if len(made) >= most:
        return False
    return not made or now - made[-1] >= _PAUSES_S[min(len(made), len(_PAUSES_S)) - 1]


def note(notes: Notes, unit: str, now: float) -> None:
    """Remember that a unit is started now, and forget what is over an hour old."""
    made = [at for at in notes.starts.get(unit, []) if 0 <= now - at < HOUR_S]
    notes.starts[unit] = [*made, now]


async def carry_out(start: Start) -> bool:
    """Let systemd do it; returns at once, and whether systemd agreed."""
    await said_by("systemctl", "reset-failed", start.unit)
    return await said_by("systemctl", start.how, "--no-block", start.unit) is not None
