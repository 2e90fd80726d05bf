"""Backups: a snapshot of Redis with all that is needed beside it, encrypted, proven, restored.

An archive is a tar in the age format (age-encryption.org/v1), so the `age` program opens it too.
It is encrypted to this machine's key, for drills, and to the recovery key that is kept elsewhere.
"""

from relay.backup.archive import BackupProblem
from relay.backup.backups import Made, kept, listed, proven
from relay.backup.identities import make_identities
from relay.backup.operations import Backups
from relay.backup.restoring import Restored, restore

__all__ = [
    "BackupProblem",
    "Backups",
    "Made",
    "Restored",
    "kept",
    "listed",
    "make_identities",
    "proven",
    "restore",
]
