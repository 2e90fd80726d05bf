"""The archive as a file: a tar with a manifest of checksums in it, encrypted to recipients."""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyrage
from pyrage import x25519

MANIFEST = "manifest.json"
SNAPSHOT = "redis.rdb"
SECRETS = "secrets.env"
CONFIG = "home/relay.toml"
_CHUNK = 1024 * 1024


class BackupProblem(Exception):
    """A sentence about why a backup cannot be made, read or restored."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a snapshot holds; `lasting` are the keys of Redis that do not expire."""

    lasting: int
    keys: int
    accounts: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself.

    Args:
        version: of the relay that made it.
        time: when the snapshot was taken, UTC.
        checksums: SHA-256 by name, of every other file of the archive.
        places: where files that lay elsewhere came from, by name.
    """

    version: str
    time: str
    counts: Counts
    checksums: dict[str, str]
    places: dict[str, str]


def secrets_in(file: Path) -> dict[str, str]:
    """The secrets of a file of NAME=VALUE lines, as the relay writes it."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by its name there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in files}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(
    folder: Path, manifest: Manifest, target: Path, recipients: Sequence[x25519.Recipient]
) -> None:
    """Pack a folder and its manifest into `target`, which is there whole or not at all."""
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    draft = target.with_name(f".{target.name}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as out:
        _encrypt(folder, out, recipients)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(target)


def _encrypt(folder: Path, out: BinaryIO, recipients: Sequence[x25519.Recipient]) -> None:
    # The tar is a file first: age asks for a reader, tarfile for a writer.
    packed = folder.with_suffix(".tar")
    try:
        with tarfile.open(packed, "w") as tar:
            tar.add(folder, arcname=".", filter=_plain)
        with packed.open("rb") as tarred:
            pyrage.encrypt_io(tarred, out, recipients)
    finally:
        packed.unlink(missing_ok=True)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def read(file: Path, identity: x25519.Identity, folder: Path) -> Manifest:
    """Unpack an archive into a folder and check every file of it.

    Raises:
        BackupProblem: it is no archive of ours, not for this key, cut off or altered.
    """
    packed = folder.with_suffix(".tar")
    try:
        _decrypt(file, identity, packed)
        with tarfile.open(packed) as tar:
            _unpack(tar, folder)
        return _checked(file, folder)
    except (OSError, tarfile.TarError) as error:
        raise BackupProblem(f"{file} cannot be unpacked: {error}.") from None
    finally:
        packed.unlink(missing_ok=True)


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Files and folders alone, inside of `folder`; tarfile's own filter is not in Python 3.11.2."""
    root = folder.resolve()
    for member in tar:
        place = (root / member.name).resolve()
        content = tar.extractfile(member) if member.isfile() else None
        if not place.is_relative_to(root) or (content is None and not member.isdir()):
            raise tarfile.TarError(f"{member.name!r} does not belong there")
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file)


def _decrypt(file: Path, identity: x25519.Identity, packed: Path) -> None:
    try:
        with file.open("rb") as sealed, packed.open("wb") as tarred:
            pyrage.decrypt_io(sealed, tarred, [identity])
    except (pyrage.DecryptError, OSError) as error:
        # age's own troubles with the content come as an OSError without a number.
        if isinstance(error, OSError) and error.errno:
            raise
        raise BackupProblem(f"{file} is not for this key, or it was altered or cut off.") from None


def _checked(file: Path, folder: Path) -> Manifest:
    try:
        fields = json.loads((folder / MANIFEST).read_text("utf-8"))
        manifest = Manifest(**{**fields, "counts": Counts(**fields["counts"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise BackupProblem(f"{file} holds no backup of a relay.") from None
    found = checksums(folder)
    found.pop(MANIFEST, None)
    if found != manifest.checksums:
        wrong = min(found.items() ^ manifest.checksums.items())[0]
        raise BackupProblem(f"{file} is damaged: {PurePosixPath(wrong).name} is not as it was.")
    return manifest
