"""Files that others wrote are what their list says, and no other such file lies among them."""

import hashlib
from pathlib import Path

import relay.web

FOLDER = Path(relay.web.__file__).parent / "static" / "vendor"


def test_each_vendored_file_is_listed_with_its_version_licence_and_checksum():
    lines = (FOLDER / "vendored.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    listed = {"vendored.txt"}
    for name, _package, _version, _path, _licence, licence_file, checksum in rows:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == checksum, name
        assert (FOLDER / licence_file).stat().st_size > 100
        listed |= {name, licence_file}
    assert {one.name for one in FOLDER.iterdir()} == listed
