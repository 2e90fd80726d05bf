"""What a process no longer shows of its environment once it has read it: the secrets.

/proc/PID/environ is the memory that the system filled at the start. Taking a name out of Python's
environment keeps a secret from the programs that are started later, but leaves it in there; so it
is overwritten in place as well.
"""

import contextlib
import ctypes
import os
from collections.abc import MutableMapping

from relay.settings.sources import BY_ENV
from relay.settings.webhooks import ENV_PREFIX

# `relay try` alone reads it; it is no setting.
API_KEY = "ANTHROPIC_API_KEY"


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret of the relay's."""
    option = BY_ENV.get(name)
    return name == API_KEY or name.startswith(ENV_PREFIX) or (option is not None and option.secret)


def withhold(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take the secrets out of this process's environment, for good.

    Args:
        environ: Python's own, which programs that are started later are given.

    Returns:
        The whole environment as it was, for those who read settings from it.
    """
    whole = dict(environ)
    # First, for what is out of the list is no longer found.
    _overwrite()
    for name in filter(is_secret, whole):
        del environ[name]
    return whole


def _overwrite() -> None:
    """Fill the values of secrets with zeros where they lie; nothing where C's environ is not seen.

    All of the list is walked, for a name may stand in it twice.
    """
    with contextlib.suppress(OSError, ValueError):
        listed = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
        number = 0
        while listed and (address := listed[number]) is not None:
            entry = ctypes.string_at(address)
            name, mark, value = entry.partition(b"=")
            if mark and is_secret(os.fsdecode(name)):
                ctypes.memset(address + len(name) + 1, 0, len(value))
            number += 1
