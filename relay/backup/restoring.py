"""Restoring a backup: proven before anything is touched, and what was there is kept aside."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import httpx
import trio

from relay import redis_child, store
from relay.alerts import Alerts, post
from relay.audit import Audit
from relay.backup import snapshot
from relay.backup.archive import CONFIG, SECRETS, SNAPSHOT, BackupProblem, Manifest, secrets_in
from relay.backup.backups import check
from relay.backup.operations import report_failure
from relay.settings import Settings
from relay.store import RedisAway, Store, marker
from relay.vault import same_secret

_UNITS = ("relay.target", "relay-redis.service")
_UNIT_DEADLINE_S = 400.0
_ANSWER_DEADLINE_S = 60.0
_LOOK_S = 1.0
_PAUSE_S = 0.2

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

    The audit of what was restored names it, and the webhooks hear of a failure.

    Raises:
        BackupProblem: the archive is not sound, a relay runs, or a step fails. Up to the last
            check nothing was touched; after it, what was there lies aside.
    """
    try:
        return await _restore(settings, file, identity_file, redis_folder)
    except Exception as error:  # noqa: BLE001  # raised again below
        problem = error
    url = settings.redis_url or f"unix://{settings.home / 'redis.sock'}"
    async with store.opened(url) as opened:
        alerts = Alerts(opened, settings.webhooks, "", post)
        await report_failure(alerts, "The restore failed", problem)
    raise problem


async def _restore(
    settings: Settings, file: Path, identity_file: Path | None, redis_folder: Path | None
) -> Restored:
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
        restored = secrets_in(work / "archive" / SECRETS)
        aside = _swap(settings, folder, work / "archive", manifest)
    if has_units:
        for unit in reversed(_UNITS):
            if not await _systemctl("start", unit):
                raise BackupProblem(f"{unit} does not start; what was before lies in {aside[0]}.")
    if has_units or redis_folder is None:

        async def check_and_note(opened: Store) -> None:
            await _compare(opened, manifest)
            await Audit(opened, snapshot.vault_of(restored)).note("backup.restore", file.name)

        await _with_restored(settings, check_and_note)
    # Else somebody else starts that Redis; the archive was tried out before.
    if has_units:
        await _wait_for_instances()
    return Restored(manifest.time, manifest.counts.keys, manifest.counts.accounts, tuple(aside))


def _refuse_other_secrets(settings: Settings, unpacked: Path, manifest: Manifest) -> None:
    """Secrets of the environment win over restored ones, unless a restored file gives them."""
    if any(name.startswith("files/") for name in manifest.places):
        return
    own, restored = settings.etc / SECRETS, secrets_in(unpacked / SECRETS)
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
    # The next start takes the archive's database, whichever was here before.
    marker.forget(settings.home)
    for name, was_at in manifest.places.items():
        place = _place(settings, name, was_at)
        _put(unpacked / name, place, set_aside(place))
    secrets = settings.etc / SECRETS
    old = set_aside(secrets)
    _put(unpacked / SECRETS, secrets, old)
    if old is not None:
        _keep_the_rest(old, secrets)
    return aside


def _place(settings: Settings, name: str, was_at: str) -> Path:
    """Where a file of the archive belongs on this machine."""
    if name == CONFIG:
        return settings.config
    if name.startswith("home/"):
        return settings.home / name.removeprefix("home/")
    return Path(was_at)


def _put(source: Path, place: Path, old: Path | None) -> None:
    """Copy a file or folder to its place, with the owner and mode of what was there.

    Where there was nothing it belongs to whom the folder around it belongs to.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
        place.chmod(0o600)
    if old is not None:
        place.chmod(old.stat().st_mode & 0o7777)
    if os.geteuid() == 0:
        owner = (old or place.parent).stat()
        for path in (place, *place.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


def _keep_the_rest(old: Path, new: Path) -> None:
    """What else the file of secrets held stays: the password of this machine's Redis."""
    restored = secrets_in(new)
    rest = [line for line in old.read_text().splitlines() if line.partition("=")[0] not in restored]
    mine = [line for line in rest if not line.startswith("ENCRYPT_KEY_PREVIOUS=")]
    new.write_text("\n".join([*mine, *new.read_text().splitlines()]) + "\n")


async def _with_restored(settings: Settings, do: Callable[[Store], Awaitable[None]]) -> None:
    """Do something with the Redis that has the data now: the one of the settings, or the relay's
    own for so long."""
    with trio.move_on_after(_ANSWER_DEADLINE_S):
        if settings.redis_url is None:
            async with redis_child.running(settings) as url, store.opened(url) as opened:
                await do(opened)
        else:
            async with store.opened(settings.redis_url) as opened:
                await opened.ping(_ANSWER_DEADLINE_S)
                await do(opened)
        return
    raise BackupProblem("Redis does not answer after the restore; its log says why.")


async def _compare(opened: Store, manifest: Manifest) -> None:
    """Raise BackupProblem unless all of the backup is there."""
    found = await snapshot.counted(opened)
    if (found.keys, found.accounts) != (manifest.counts.keys, manifest.counts.accounts):
        raise BackupProblem(f"Redis has {found} now, and the backup had {manifest.counts}.")


async def _wait_for_instances() -> None:
    """Return when every instance that systemd runs answers."""
    listed = await _asked_systemd(
        "list-units", "--plain", "--no-legend", "--all", "relay@*.service"
    )
    ports = re.findall(r"^relay@(\d+)\.service", listed or "", re.MULTILINE)
    async with httpx.AsyncClient(trust_env=False, timeout=_LOOK_S) as client:
        for port in ports:
            if not await _is_well(client, f"http://127.0.0.1:{port}/health"):
                raise BackupProblem(
                    f"The data is restored, but relay@{port} does not answer;"
                    f" `journalctl --unit relay@{port}` says why."
                )


async def _is_well(client: httpx.AsyncClient, url: str) -> bool:
    with trio.move_on_after(_ANSWER_DEADLINE_S):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return True
            await trio.sleep(_PAUSE_S)
    return False


async def _systemctl(*words: str) -> bool:
    """Whether a command of systemd's did what it was to do; False where there is no systemd."""
    return await _asked_systemd(*words) is not None


async def _asked_systemd(*words: str) -> str | None:
    """What systemctl answers; None where it fails, or where there is no systemd."""
    if shutil.which("systemctl") is None:
        return None
    with trio.move_on_after(_UNIT_DEADLINE_S):
        done = await trio.run_process(
            ["systemctl", *words], stdin=subprocess.DEVNULL, capture_stdout=True,
            capture_stderr=True, check=False,
        )  # fmt: skip
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None
    return None
