"""What keeps the secrets in a process's memory from its disk and from its user's other programs."""

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid_dumps() -> None:
    """Leave no core file, and on Linux let no program of the same user read the memory.

    Programs that are started from here may be dumped again. Where the system has no such call,
    nothing changes.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
