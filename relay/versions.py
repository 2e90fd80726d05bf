"""Two people who change the same settings at one time: the second is told, and undoes nothing.

A version is a word that follows from the settings. Who changes them says which version they saw;
the write happens in Redis only if nothing was written since the version was looked at.
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from relay import rules
from relay.store.records import Records

# Other writes, such as a renewed token, only make it look again.
_TRIES = 10


class Changed(rules.Problem):
    """The settings are no longer those that somebody saw."""

    def __init__(self) -> None:
        super().__init__("Somebody has changed or removed it since it was read.")


def version_of(settings: object) -> str:
    """A word that changes whenever settings do."""
    text = msgspec.json.encode(settings, order="deterministic", enc_hook=str)
    return hashlib.sha256(text).hexdigest()[:16]


async def write(
    table: Records,
    record_id: str,
    fields: Mapping[str, str],
    seen: str,
    version: Callable[[Mapping[str, str]], str],
) -> None:
    """Change settings if they still are what somebody saw.

    Args:
        fields: what is written.
        seen: the version that they saw; empty for any.
        version: that of what is kept.

    Raises:
        Changed: they are not, or they are gone.
    """
    if not seen:
        if await table.change(record_id, fields):
            return
        raise Changed
    for _ in range(_TRIES):
        kept = await table.read(record_id)
        if not kept or version(kept) != seen:
            break
        count = kept.get("version", "")
        if await table.change(record_id, fields, field="version", before=count):
            return
    raise Changed
