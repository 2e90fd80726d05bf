"""Whether Redis holds the database that this RELAY_HOME belongs to.

The database has an id, made once, in Redis and in a file of RELAY_HOME. An emptied Redis, a Redis
that lost its file, and another one than before look alike to every other part of the relay: as if
no key and no user had ever been. With the id they are told apart from a first start.
"""

import contextlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from relay.redis_link import RedisAway
from relay.store.names import NAMES

log = logging.getLogger("relay.store")

FILE = "database.id"
LOST = (
    "Redis is empty or holds another database than this relay's, so nothing is served and nothing"
    " is changed. Restore a backup with `relay restore FILE`, or accept what Redis holds now with"
    " `relay accept-database`."
)
_ID = re.compile(r"db_[0-9a-f]{32}")

Command = Callable[..., Awaitable[Any]]


class DatabaseLost(RedisAway):
    """Redis answers, and does not hold this relay's database."""

    def __init__(self) -> None:
        super().__init__(LOST)


class Marker:
    """The id of the database on the two sides.

    Args:
        home: the RELAY_HOME whose file names the database; None compares nothing.
    """

    def __init__(self, home: Path | None) -> None:
        self._file = None if home is None else home / FILE
        self._expected = ""
        self._is_writable = True
        self.is_lost = False

    async def compare(self, command: Command) -> bool:
        """Ask Redis for its id, and note in `is_lost` whether it is another than the file's.

        Args:
            command: sends one command to Redis.

        Returns:
            Whether the id is on both sides.
        """
        if self._file is None:
            return True
        found = _id_in(await command("GET", NAMES["database"]))
        if not found or found != self._expected:
            # Another process may have written it, or `relay accept-database`.
            self._expected = _read(self._file) or self._expected
        self._note(bool(self._expected) and found != self._expected)
        return bool(found) and found == self._expected

    def _note(self, is_lost: bool) -> None:
        if is_lost and not self.is_lost:
            log.critical("%s", LOST)
        elif self.is_lost and not is_lost:
            log.warning("Redis holds this relay's database again")
        self.is_lost = is_lost

    def allow(self) -> None:
        """Raise DatabaseLost while Redis holds another database: it is neither read nor changed."""
        if self.is_lost:
            raise DatabaseLost

    async def create(self, command: Command, fsync: Callable[[], Awaitable[None]]) -> None:
        """Write the id where it is missing: into a new Redis, or a new RELAY_HOME.

        Redis first, and on its disk: a file alone would say that the database is lost.
        """
        if self._file is None or self.is_lost or not self._is_writable:
            return
        new = f"db_{secrets.token_hex(16)}"
        before = await command("SET", NAMES["database"], new, "NX", "GET")
        if before is not None and not _id_in(before):
            await command("SET", NAMES["database"], new)
        await fsync()
        await self._write(_id_in(before) or new)

    async def accept(self, command: Command, fsync: Callable[[], Awaitable[None]]) -> None:
        """Take what Redis holds now for this RELAY_HOME's database."""
        self.is_lost = False
        await self.create(command, fsync)

    async def _write(self, database_id: str) -> None:
        if self._file is None:
            return
        try:
            _replace(self._file, database_id)
        except OSError as error:
            # Said once: the relay serves without, as it did before there was such a file.
            self._is_writable = False
            log.warning(
                "%s cannot be written (%s), so an emptied Redis would go unnoticed",
                self._file, error.strerror,
            )  # fmt: skip
            return
        self._expected = database_id


def forget(home: Path) -> None:
    """Have the next start take the database that Redis holds then, as after a restore."""
    (home / FILE).unlink(missing_ok=True)


def _id_in(value: bytes | None) -> str:
    text = (value or b"").decode("latin-1")
    return text if _ID.fullmatch(text) else ""


def _read(file: Path) -> str:
    with contextlib.suppress(OSError):
        return _id_in(file.read_bytes().strip())
    return ""


def _replace(file: Path, database_id: str) -> None:
    """Write the file whole or not at all, for the user to whom its folder belongs."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=file.parent, prefix=".database-", delete=False
    ) as out:
        draft = Path(out.name)
        try:
            out.write(database_id + "\n")
            out.flush()
            os.fsync(out.fileno())
            if os.geteuid() == 0:
                # A command of root's must not lock the service out.
                owner = file.parent.stat()
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            draft.replace(file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
