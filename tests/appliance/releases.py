"""Other releases than this one: the same file with a changed line, packed as a release is."""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from .lab import sh

PACKAGE = "site-packages/relay"


def changed(
    unpacked: Path, folder: Path, version: str, lines: Mapping[str, tuple[str, str]]
) -> Path:
    """A release archive of `version` whose modules have another text in the place of one.

    Args:
        unpacked: the release that it is made from.
        lines: the module's file below relay/, and what stands there and what shall.
    """
    root = folder / f"relay-{version}"
    shutil.copytree(unpacked, root)
    edits = {"__init__.py": (_version_of(unpacked), version), **lines}
    _rewrite(unpacked / "relay.pyz", root / "relay.pyz", edits)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    sums = "".join(f"{digest}  {path.relative_to(root)}\n" for path, digest in digests.items())
    (root / "SHA256SUMS").write_text(sums)
    archive = folder / f"{root.name}.tar.gz"
    sh("tar", "-C", folder, "-czf", archive, root.name)
    return archive


def _version_of(unpacked: Path) -> str:
    return unpacked.name.removeprefix("relay-")


def _rewrite(source: Path, target: Path, edits: Mapping[str, tuple[str, str]]) -> None:
    whole = source.read_bytes()
    with zipfile.ZipFile(source) as old, target.open("wb") as file:
        # The line by which the system finds the interpreter stands before the archive.
        file.write(whole[: whole.index(b"PK\x03\x04")])
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for entry in old.infolist():
                data = old.read(entry)
                edit = edits.get(entry.filename.removeprefix(f"{PACKAGE}/"))
                if edit is not None and entry.filename.startswith(PACKAGE):
                    before, after = (text.encode() for text in edit)
                    assert data.count(before) == 1, f"{edit[0]!r} in {entry.filename}"
                    data = data.replace(before, after)
                new.writestr(entry, data)
    target.chmod(0o755)
