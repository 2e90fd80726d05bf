"""What the machine itself tells: systemd, disks, memory, the clock."""

import fcntl
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import trio

from relay.monitor.seen import Clock, Disk, Memory, Unit

_PROGRAM_DEADLINE_S = 6.0
_UNIT_FIELDS = {"LoadState": "load", "ActiveState": "active", "SubState": "sub",
                "UnitFileState": "at_boot"}  # fmt: skip
MEMINFO = Path("/proc/meminfo")
INSTALL_LOCK = Path("/run/relay-install.lock")


async def said_by(*command: str) -> str | None:
    """A program's output; None when it is not there, fails or takes too long."""
    with trio.move_on_after(_PROGRAM_DEADLINE_S):
        try:
            done = await trio.run_process(
                command, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True,
                check=False,
            )  # fmt: skip
        except OSError:
            return None
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None
    return None


async def units(names: Sequence[str]) -> Mapping[str, Unit] | None:
    """Units by their names; None when systemd does not tell."""
    if not names:
        return {}
    said = await said_by("systemctl", "show", f"--property=Id,{','.join(_UNIT_FIELDS)}", *names)
    if said is None:
        return None
    found = {}
    for block in said.strip().split("\n\n"):
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in told:
            parts = {ours: told.get(theirs, "") for theirs, ours in _UNIT_FIELDS.items()}
            found[told["Id"]] = Unit(told["Id"], **parts)
    return found or None


async def disks(places: Iterable[Path]) -> Sequence[Disk]:
    """The disks of these places, each once; a place that is not there yet counts by its parent."""
    # A network's file system may hang, and must not take the monitor with it.
    return await trio.to_thread.run_sync(_disks, tuple(places), abandon_on_cancel=True)


def _disks(places: Sequence[Path]) -> Sequence[Disk]:
    by_device: dict[int, list[Path]] = {}
    for place in places:
        there = next(one for one in (place, *place.parents) if one.exists())
        by_device.setdefault(there.stat().st_dev, []).append(there)
    return [_disk(tuple(dict.fromkeys(found))) for found in by_device.values()]


def _disk(places: tuple[Path, ...]) -> Disk:
    told = os.statvfs(places[0])
    used = told.f_blocks - told.f_bfree
    # As df counts: what is kept for root is neither used nor free.
    return Disk(
        places,
        percent=_percent(used, used + told.f_bavail),
        files=_percent(told.f_files - told.f_ffree, told.f_files),
        free_bytes=told.f_bavail * told.f_frsize,
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


async def memory(file: Path = MEMINFO) -> Memory | None:
    """The machine's memory; None where the kernel does not tell it."""
    try:
        text = await trio.Path(file).read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if not {"MemTotal", "MemAvailable"} <= lines.keys():
        return None
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return Memory(total, available)


async def is_changing(lock: Path = INSTALL_LOCK) -> bool:
    """Whether install.sh is at work: it holds its lock meanwhile."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


async def clock() -> Clock | None:
    """What systemd knows of the clock; None where nobody tells."""
    said = await said_by("timedatectl", "show", "-p", "NTP", "-p", "NTPSynchronized")
    if not said or "NTPSynchronized=" not in said:
        return None
    return Clock("NTPSynchronized=yes" in said, "NTP=yes" in said)
