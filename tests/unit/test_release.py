"""The release archive: what is in it, and that the same sources make the same bytes."""

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import relay
from relay import release

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """What stands for the built program: the archive takes any bytes."""
    path = tmp_path / "relay.pyz"
    path.write_bytes(b"#!/usr/bin/env python3\nprogram")
    return path


def test_an_archive_holds_what_a_new_machine_needs(built: Path, tmp_path: Path) -> None:
    packed = release.pack(CHECKOUT, built, tmp_path)

    assert packed.name == f"relay-{relay.__version__}.tar.gz"
    with tarfile.open(packed) as tar:
        files = {entry.name.partition("/")[2]: entry for entry in tar}
    on_disk = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "appliance").rglob("*")
        if path.is_file()
    }
    assert set(files) == {"install.sh", "relay.pyz", "SHA256SUMS", *on_disk}
    assert files["install.sh"].mode == 0o755
    assert files["appliance/files.txt"].mode == 0o644


def test_the_checksums_of_an_archive_prove_every_file_in_it(built: Path, tmp_path: Path) -> None:
    packed = release.pack(CHECKOUT, built, tmp_path)
    subprocess.run(["tar", "-C", tmp_path, "-xzf", packed], check=True)
    unpacked = tmp_path / f"relay-{relay.__version__}"
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]

    assert subprocess.run(command, cwd=unpacked, check=False).returncode == 0
    (unpacked / "install.sh").write_text("# another\n")
    tampered = subprocess.run(command, cwd=unpacked, check=False, capture_output=True)
    assert tampered.returncode == 1


def test_the_same_sources_make_the_same_archive_at_any_time(built: Path, tmp_path: Path) -> None:
    first = hashlib.sha256(release.pack(CHECKOUT, built, tmp_path).read_bytes()).digest()
    os.utime(built, (1, 1))
    built.chmod(0o600)

    again = release.pack(CHECKOUT, built, tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == first
