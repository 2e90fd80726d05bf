"""Who can open the archives: this machine, and whoever has the recovery key."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from pyrage import IdentityError, RecipientError, x25519

from relay.backup.archive import BackupProblem
from relay.settings import Settings

_KEY, _RECIPIENTS = "backup.key", "backup.recipients"


def make_identities(settings: Settings) -> str:
    """Make this machine's key and a recovery key; returns the latter, which is kept nowhere.

    Raises:
        BackupProblem: there are some already.
    """
    machine, recovery = x25519.Identity.generate(), x25519.Identity.generate()
    try:
        settings.etc.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(settings.etc / _KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="ascii") as file:
            file.write(f"{machine}\n")
        names = f"{machine.to_public()}\n{recovery.to_public()}\n"
        (settings.etc / _RECIPIENTS).write_text(names, encoding="ascii")
    except FileExistsError:
        raise BackupProblem(
            f"{settings.etc / _KEY} is there already; archives are encrypted to it and to those"
            f" in {_RECIPIENTS}."
        ) from None
    except OSError as error:
        raise BackupProblem(f"{settings.etc} cannot be written: {error.strerror}.") from None
    return str(recovery)


def recipients(settings: Settings) -> Sequence[x25519.Recipient]:
    """Whom archives are encrypted to."""
    file = settings.etc / _RECIPIENTS
    try:
        lines = file.read_text("ascii").split()
        return [x25519.Recipient.from_str(line) for line in lines]
    except OSError:
        raise BackupProblem(
            "There is no key to encrypt backups to. Run `relay backup --init` once."
        ) from None
    except RecipientError:
        raise BackupProblem(f"{file} holds something else than age recipients.") from None


def identity(settings: Settings, file: Path | None = None) -> x25519.Identity:
    """The key that opens archives: this machine's own, or the one in `file`.

    A file may hold comments (#) as age-keygen writes them.
    """
    place = file or settings.etc / _KEY
    try:
        lines = place.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BackupProblem(f"{place} cannot be read; it should hold AGE-SECRET-KEY-1….") from None
    for line in lines:
        if line.strip() and not line.startswith("#"):
            with contextlib.suppress(IdentityError):
                return x25519.Identity.from_str(line.strip())
    raise BackupProblem(f"{place} holds no AGE-SECRET-KEY-1….")
