"""What an archive may do when it is unpacked, whoever made it."""

import io
import tarfile
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from relay.backup import archive
from relay.backup.archive import BackupProblem, Counts, Manifest


def sealed(folder: Path, *members: tarfile.TarInfo) -> tuple[Path, x25519.Identity]:
    """An archive with members of a stranger's making, and the key that opens it."""
    identity = x25519.Identity.generate()
    packed = io.BytesIO()
    with tarfile.open(mode="w", fileobj=packed) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    file = folder / "relay-stranger.tar.age"
    file.write_bytes(pyrage.encrypt(packed.getvalue(), [identity.to_public()]))
    return file, identity


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/tmp/relay-outside"),
        member("inside/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "../outside"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda one: one.name,
)
def test_an_archive_writes_nothing_outside_of_its_folder(tmp_path: Path, bad: tarfile.TarInfo):
    file, identity = sealed(tmp_path, bad)
    folder = tmp_path / "work" / "archive"
    folder.mkdir(parents=True)

    with pytest.raises(BackupProblem, match="does not belong there"):
        archive.read(file, identity, folder)
    assert list((tmp_path / "work").rglob("*")) == [folder]
    assert not (tmp_path / "outside").exists()


def test_an_archive_is_read_as_it_was_written(tmp_path: Path):
    identity = x25519.Identity.generate()
    staged = tmp_path / "staged"
    (staged / "home").mkdir(parents=True)
    (staged / "home/relay.toml").write_text("[server]\n")
    manifest = Manifest("1.0", "2026-01-01T00:00:00+00:00", Counts(1, 2, 3),
                        archive.checksums(staged), {"home/relay.toml": "/x"})  # fmt: skip
    file = tmp_path / "relay.tar.age"
    archive.write(staged, manifest, file, [identity.to_public()])

    assert archive.read(file, identity, tmp_path / "back") == manifest
    assert (tmp_path / "back/home/relay.toml").read_text() == "[server]\n"
