"""The console's own files: few and small, so they are held in memory, packed once."""

import gzip
import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

PATH = "/web/static/"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent; `packed` is the same under gzip."""

    plain: bytes
    packed: bytes
    type: str
    url: str


def load() -> Mapping[str, StaticFile]:
    """Every static file by its path below PATH; its address changes with what it holds."""
    found = {}
    for name, file in _walk(importlib.resources.files("relay.web") / "static", ""):
        kind = _TYPES.get(name.rpartition(".")[2])
        if kind is not None:
            plain = file.read_bytes()
            version = hashlib.sha256(plain).hexdigest()[:12]
            packed = gzip.compress(plain, mtime=0)
            found[name] = StaticFile(plain, packed, kind, f"{PATH}{name}?v={version}")
    return found


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _walk(one, f"{prefix}{one.name}/")
        else:
            yield prefix + one.name, one
