"""Restoring a backup: proven before anything is touched, and what was there is kept aside."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import trio

from relay import redis_child, store
from relay.backup import snapshot
from relay.backup.archive import SECRETS, SNAPSHOT, BackupProblem, Manifest, secrets_in
from relay.backup.backups import check
from relay.settings import Settings
from relay.store import RedisAway, Store
from relay.vault import same_secret

_UNITS = ("relay.target", "relay-redis.service")
_UNIT_DEADLINE_S = 400.0
_ANSWER_DEADLINE_S = 60.0
_LOOK_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored: the archive's time, what it holds, and where what was before lies."""

    time: str
    keys: int
    accounts: int
    aside: tuple[Path, ...]


async def restore(
    settings: Settings,
    file: Path,
    *,
    identity_file: Path | None = None,
    redis_folder: Path | None = None,
) -> Restored:
    """Put a backup in the place of what is here.

    Args:
        identity_file: the recovery key; without it this machine's own key.
        redis_folder: the data folder of a Redis that is not the relay's own child.

    Raises:
        BackupProblem: the archive is not sound, a relay runs, or a step fails. Up to the last
            check nothing was touched; after it, what was there lies aside.
    """
    has_units = await _systemctl("cat", "relay.target")
    folder = redis_folder or await _data_folder(settings)
    if not has_units:
        await _refuse_while_running(settings)
    # Beside the data, so that large files are moved and not copied twice.
    with tempfile.TemporaryDirectory(dir=_writable(folder.parent), prefix=".restore-") as made:
        work = Path(made)
        manifest = await check(settings, file, work, identity_file)
        _refuse_other_secrets(settings, work / "archive", manifest)
        for unit in _UNITS if has_units else ():
            if not await _systemctl("stop", unit):
                raise BackupProblem(f"{unit} does not stop; `systemctl status {unit}` says why.")
        aside = _swap(settings, folder, work / "archive", manifest)
    if has_units:
        for unit in reversed(_UNITS):
            if not await _systemctl("start", unit):
                raise BackupProblem(f"{unit} does not start; what was before lies in {aside[0]}.")
    await _compare(settings, manifest, redis_folder if not has_units else None)
    return Restored(manifest.time, manifest.counts.keys, manifest.counts.accounts, tuple(aside))


def _refuse_other_secrets(settings: Settings, unpacked: Path, manifest: Manifest) -> None:
    """Secrets of the environment win over restored ones, unless a restored file gives them."""
    if any(name.startswith("files/") for name in manifest.places):
        return
    own, restored = settings.home / SECRETS, secrets_in(unpacked / SECRETS)
    replaceable = secrets_in(own) if own.exists() else {}
    for name, secret in snapshot.secrets_of(settings).items():
        in_force = secret.reveal()
        if not same_secret(in_force, restored.get(name, "")) and replaceable.get(name) != in_force:
            raise BackupProblem(
                f"The environment gives another {name} than the archive, which would not open what"
                " is restored. Take it out of the environment first."
            )


async def _refuse_while_running(settings: Settings) -> None:
    url = settings.redis_url or f"unix://{settings.home / 'redis.sock'}"
    if await _asked(url, lambda opened: opened.ping(_LOOK_S)):
        raise BackupProblem("Stop the relay and its Redis first; they still use the data.")


async def _data_folder(settings: Settings) -> Path:
    """Where the Redis of the settings keeps its data."""
    if settings.redis_url is None:
        return settings.redis_folder
    found = await _asked(settings.redis_url, lambda opened: opened.upkeep.data_folder())
    if not found:
        raise BackupProblem(
            "Redis does not answer, so nobody knows where its data lies; name its folder with"
            " --redis-folder."
        )
    return found[0]


async def _asked(url: str, ask: Callable[[Store], Awaitable[T]]) -> list[T]:
    """What a Redis answers, in a list; an empty one when it is not there."""
    async with store.opened(url) as opened:
        try:
            return [await ask(opened)]
        except RedisAway:
            return []


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupProblem(f"{folder} cannot be used: {error.strerror}.") from None
    if not os.access(folder, os.W_OK):
        raise BackupProblem(f"{folder} cannot be written; restore as root.")
    return folder


def _swap(settings: Settings, folder: Path, unpacked: Path, manifest: Manifest) -> list[Path]:
    """Set what is here aside and put the archive's in its place; returns where the old lies."""
    stamp = f"before-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    aside: list[Path] = []

    def set_aside(place: Path) -> Path | None:
        if not place.exists():
            return None
        old = place.with_name(f"{place.name}.{stamp}")
        place.rename(old)
        aside.append(old)
        return old

    owner = folder.stat() if folder.exists() else None
    set_aside(folder)
    snapshot.lay_out(unpacked / SNAPSHOT, folder)
    if owner is not None and os.geteuid() == 0:
        folder.chmod(owner.st_mode & 0o7777)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    for name, was_at in manifest.places.items():
        is_home = name.startswith("home/")
        place = settings.home / name.removeprefix("home/") if is_home else Path(was_at)
        _put(unpacked / name, place, set_aside(place))
    set_aside(settings.home / SECRETS)
    shutil.copyfile(unpacked / SECRETS, settings.home / SECRETS)
    (settings.home / SECRETS).chmod(0o600)
    return aside


def _put(source: Path, place: Path, old: Path | None) -> None:
    """Copy a file or folder to its place, with the owner and mode of what was there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
        place.chmod(0o600)
    if old is not None and os.geteuid() == 0:
        shutil.copystat(old, place)
        os.chown(place, old.stat().st_uid, old.stat().st_gid)


async def _compare(settings: Settings, manifest: Manifest, only_laid_out: Path | None) -> None:
    """Start or ask the Redis that has the data now, and count."""
    if only_laid_out is not None:
        # Somebody else starts that Redis; the archive was tried out before.
        return
    with trio.move_on_after(_ANSWER_DEADLINE_S):
        if settings.redis_url is None:
            async with redis_child.running(settings) as url, store.opened(url) as opened:
                found = await snapshot.counted(opened)
        else:
            async with store.opened(settings.redis_url) as opened:
                await opened.ping(_ANSWER_DEADLINE_S)
                found = await snapshot.counted(opened)
        if (found.keys, found.accounts) != (manifest.counts.keys, manifest.counts.accounts):
            raise BackupProblem(f"Redis has {found} now, and the backup had {manifest.counts}.")
        return
    raise BackupProblem("Redis does not answer after the restore; its log says why.")


async def _systemctl(*words: str) -> bool:
    """Whether a command of systemd's did what it was to do; False where there is no systemd."""
    if shutil.which("systemctl") is None:
        return False
    with trio.move_on_after(_UNIT_DEADLINE_S):
        done = await trio.run_process(
            ["systemctl", *words], stdin=subprocess.DEVNULL, capture_stdout=True,
            capture_stderr=True, check=False,
        )  # fmt: skip
        return done.returncode == 0
    return False
