"""A release: one archive with all that a new machine needs, the same bytes from the same sources.

dist/relay-VERSION.tar.gz holds install.sh, relay.pyz, appliance/ and SHA256SUMS, by which
install.sh proves the rest before it moves anything.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import relay

CHECKSUMS = "SHA256SUMS"
# 1980 is the earliest that a zip file can tell; the same for the archive, so that both agree.
_LONG_AGO = 315532800


def pack(checkout: Path, relay_pyz: Path, folder: Path) -> Path:
    """Write the release archive of the checkout and the built file into `folder`; return its path.

    Raises:
        OSError: a file is missing, or the folder cannot be written.
    """
    name = f"relay-{relay.__version__}"
    files = {"install.sh": checkout / "install.sh", "relay.pyz": relay_pyz}
    files |= {path.relative_to(checkout).as_posix(): path for path in _appliance(checkout)}
    contents = {inside: path.read_bytes() for inside, path in sorted(files.items())}
    sums = "".join(f"{_digest(data)}  {inside}\n" for inside, data in contents.items())
    contents[CHECKSUMS] = sums.encode()
    target = folder / f"{name}.tar.gz"
    fresh = target.with_name(f".{target.name}.new")
    with (
        fresh.open("wb") as file,
        # The name and the time would go into gzip's header.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=_LONG_AGO) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
    ):
        for inside, data in contents.items():
            tar.addfile(_entry(f"{name}/{inside}", data), io.BytesIO(data))
    return fresh.replace(target)


def _appliance(checkout: Path) -> Iterator[Path]:
    return (path for path in (checkout / "appliance").rglob("*") if path.is_file())


def _entry(inside: str, data: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(inside)
    entry.size, entry.mtime = len(data), _LONG_AGO
    entry.mode = 0o755 if inside.endswith((".sh", ".pyz", "bin/relay")) else 0o644
    return entry


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
