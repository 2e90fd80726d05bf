"""Making backups, keeping the right ones, and trying out that they can be restored."""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

import relay
from relay.backup import archive, identities, snapshot
from relay.backup.archive import CONFIG, SECRETS, SNAPSHOT, BackupProblem, Manifest
from relay.settings import Settings
from relay.store import Store

_NAME = re.compile(r"relay-(\d{8}T\d{6})Z(\.kept)?\.tar\.age")
_FORM = "%Y%m%dT%H%M%S"
_COPY_DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Made:
    """A backup: its file, its size in bytes, when it was taken (UTC) and what it holds."""

    file: Path
    size: int
    time: datetime
    keys: int = 0
    accounts: int = 0


async def backup(settings: Settings, opened: Store, *, for_good: bool = False) -> Made:
    """Make a backup, read it back, drop the ones that are not kept, and copy it on.

    Args:
        for_good: no later backup drops it.

    Raises:
        BackupProblem: something of that did not go well; no half archive is left.
    """
    recipients = identities.recipients(settings)
    own = identities.identity(settings)
    folder = _folder(settings)
    with _alone(folder), _workplace(folder) as work:
        now = datetime.now(UTC)
        staged = work / "staged"
        staged.mkdir(mode=0o700)
        await snapshot.take(opened, staged / SNAPSHOT)
        async with snapshot.tried_out(settings, staged / SNAPSHOT, work / "proof") as proof:
            counts = await snapshot.counted(proof)
        places = await trio.to_thread.run_sync(_collect, settings, staged)
        sums = await trio.to_thread.run_sync(archive.checksums, staged)
        manifest = Manifest(
            relay.__version__, now.isoformat(timespec="seconds"), counts,
            sums, places,
        )  # fmt: skip
        target = folder / f"relay-{now:{_FORM}}Z{'.kept' if for_good else ''}.tar.age"
        await trio.to_thread.run_sync(archive.write, staged, manifest, target, recipients)
        back = work / "back"
        if await trio.to_thread.run_sync(archive.read, target, own, back) != manifest:
            target.unlink()
            raise BackupProblem(f"{target} was not read back as it was written.")
        _prune(settings, folder)
        await _copy_on(settings.backup_copy_command, target)
        made = Made(target, target.stat().st_size, now, counts.keys, counts.accounts)
        await opened.upkeep.note_backup("made", _iso(now), str(target))
        told = [{"file": one.file, "size": one.size, "time": one.time} for one in kept(settings)]
        await opened.upkeep.note_kept(msgspec.json.encode(told, enc_hook=str).decode())
        return made


def _collect(settings: Settings, staged: Path) -> dict[str, str]:
    """Put everything beside the snapshot that a restore needs; where from, by name."""
    secrets = snapshot.secrets_of(settings)
    lines = [f"{name}={secret.reveal()}\n" for name, secret in secrets.items()]
    (staged / SECRETS).write_text("".join(lines))
    places = {}
    wanted = [
        (settings.config, CONFIG),
        (settings.home / ".env", "home/.env"),
        *((path, f"files/{path.as_posix().strip('/')}") for path in settings.backup_include),
    ]
    for source, name in wanted:
        if source.is_dir():
            shutil.copytree(source, staged / name)
        elif source.exists():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staged / name)
        else:
            continue
        places[name] = str(source)
    # After the snapshot: a record that moves from Redis to a file meanwhile is in both.
    if (settings.home / "usage").is_dir():
        shutil.copytree(settings.home / "usage", staged / "home/usage")
        places["home/usage"] = str(settings.home / "usage")
    return places


async def drill(settings: Settings, opened: Store) -> Made:
    """Restore the newest backup into a throw-away Redis and look whether all of it is there.

    Raises:
        BackupProblem: there is none, or it could not be restored.
    """
    made = kept(settings)
    if not made:
        raise BackupProblem(f"There is no backup in {settings.backup_folder}.")
    with _workplace(_folder(settings)) as work:
        manifest = await check(settings, made[0].file, work)
    await opened.upkeep.note_backup("drilled", _iso(datetime.now(UTC)), str(made[0].file))
    one = made[0]
    return Made(one.file, one.size, one.time, manifest.counts.keys, manifest.counts.accounts)


async def proven(settings: Settings, file: Path, identity_file: Path | None = None) -> Manifest:
    """What an archive says of itself, once it has been tried out."""
    with _workplace(_folder(settings)) as work:
        return await check(settings, file, work, identity_file)


async def check(
    settings: Settings, file: Path, work: Path, identity_file: Path | None = None
) -> Manifest:
    """Unpack an archive into `work`/archive and prove it: checksums, counts, secrets."""
    own = identities.identity(settings, identity_file)
    unpacked = work / "archive"
    manifest = await trio.to_thread.run_sync(archive.read, file, own, unpacked)
    async with snapshot.tried_out(settings, unpacked / SNAPSHOT, work / "proof") as proof:
        counts = await snapshot.counted(proof)
        if counts != manifest.counts:
            raise BackupProblem(f"{file} gives {counts}, and it should give {manifest.counts}.")
        await snapshot.open_a_secret(proof, archive.secrets_in(unpacked / SECRETS))
    return manifest


def listed(settings: Settings, notes: Mapping[str, str]) -> tuple[Path, Sequence[Made]]:
    """The folder of the backups, and those in it, newest first.

    An installed machine makes them as root, in a folder that only root may look into: there they
    are those that were noted at the last one.

    Args:
        notes: of UpkeepTable.backup_notes().
    """
    last = Path(notes["made_file"]) if "made_file" in notes else None
    if last is None or last.parent == settings.backup_folder:
        return settings.backup_folder, kept(settings)
    try:
        told = msgspec.json.decode(notes.get("kept", "[]"))
        return last.parent, msgspec.convert(told, list[Made], dec_hook=_path)
    except (msgspec.DecodeError, msgspec.ValidationError):
        # Another version's.
        return last.parent, ()


def _path(kind: type[Path], text: str) -> Path:
    return kind(text)


def kept(settings: Settings) -> Sequence[Made]:
    """The backups that are there, newest first."""
    folder = settings.backup_folder
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("relay-*.tar.age")]
    made = [
        Made(path, path.stat().st_size, datetime.strptime(match[1], _FORM).replace(tzinfo=UTC))
        for path, match in found
        if match
    ]
    return sorted(made, key=lambda one: one.time, reverse=True)


def _prune(settings: Settings, folder: Path) -> None:
    """Keep the newest of each of the last days, weeks and months, and what is kept for good."""
    wanted: set[Path] = set()
    periods = (
        (settings.backup_daily, "%Y-%m-%d"),
        (settings.backup_weekly, "%G-%V"),
        (settings.backup_monthly, "%Y-%m"),
    )
    made = [one for one in kept(settings) if not one.file.name.endswith(".kept.tar.age")]
    for count, form in periods:
        newest: dict[str, Path] = {}
        for one in made:
            newest.setdefault(one.time.strftime(form), one.file)
        wanted.update(list(newest.values())[:count])
    for one in made[1:]:
        if one.file not in wanted:
            one.file.unlink()


async def _copy_on(command: str, file: Path) -> None:
    """Run the operator's own command with the archive as its last word."""
    if not command:
        return
    with trio.move_on_after(_COPY_DEADLINE_S):
        try:
            done = await trio.run_process(
                [*shlex.split(command), str(file)],
                stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, check=False,
            )  # fmt: skip
        except OSError as error:
            raise BackupProblem(f"{file} was made, but the copy failed: {error}.") from None
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise BackupProblem(
                f"{file} was made, but the copy failed (status {done.returncode})"
                + (f": {words[-1]}" if words else ".")
            )
        return
    raise BackupProblem(f"{file} was made, but the copy took over an hour.")


def _folder(settings: Settings) -> Path:
    folder = settings.backup_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupProblem(f"{folder} cannot be used: {error.strerror}.") from None
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupProblem("Another backup is being made just now.") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder for what is not encrypted, beside the archives and gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as made:
            yield Path(made)
    except OSError as error:
        raise BackupProblem(f"{error.filename or folder}: {error.strerror}.") from None


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="seconds")
