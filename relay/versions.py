"""Two people who change the same settings at one time: the second is told, and undoes nothing.

A version is a word that follows from the settings. Who changes them says which version they saw;
the write happens in Redis only if nothing was written since the version was looked at.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from relay import rules

# Other writes, such as a renewed token, only make it look again.
_TRIES = 10


class Changed(rules.Problem):
    """The settings are no longer those that somebody saw."""

    def __init__(self) -> None:
        super().__init__("Somebody has changed it since it was read.")


def version_of(settings: object) -> str:
    """A word that changes whenever settings do."""
    text = msgspec.json.encode(settings, order="deterministic", enc_hook=str)
    return hashlib.sha256(text).hexdigest()[:16]


async def write(
    seen: str,
    read: Callable[[], Awaitable[Mapping[str, str]]],
    version: Callable[[Mapping[str, str]], str],
    swap: Callable[[str, str], Awaitable[Any]],
) -> None:
    """Write settings if they still are what somebody saw.

    Args:
        seen: the version that they saw.
        read: what is kept now; empty when it is gone.
        version: that of what is kept.
        swap: writes if the field of this name still has this value; tells whether it did.

    Raises:
        Changed: they are not, or they are gone.
    """
    for _ in range(_TRIES):
        kept = await read()
        if not kept or version(kept) != seen:
            break
        if await swap("version", kept.get("version", "")):
            return
    raise Changed
