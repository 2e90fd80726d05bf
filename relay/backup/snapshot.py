"""Snapshots of Redis: taken, laid out for a Redis that starts on them, and tried out."""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import trio

from relay import redis_child, store
from relay.accounts import Accounts, kinds
from relay.backup.archive import BackupProblem, Counts
from relay.settings import Secret, Settings
from relay.store import ReplyError, Store
from relay.vault import Vault, VaultError

_SAVE_DEADLINE_S = 600.0
# A multi-part append-only file (Redis 7): Redis with appendonly on reads this and no dump.rdb.
_AOF = Path("appendonlydir")
_MANIFEST = (
    "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
)


async def take(opened: Store, target: Path) -> None:
    """Write a consistent snapshot of what Redis holds to `target`."""
    with trio.move_on_after(_SAVE_DEADLINE_S):
        try:
            whole = await opened.upkeep.snapshot()
            await trio.to_thread.run_sync(shutil.copyfile, whole, target)
        except ReplyError as error:
            raise BackupProblem(f"Redis takes no snapshot: {error}.") from None
        except OSError as error:
            raise BackupProblem(
                f"Redis' snapshot cannot be read ({error.strerror}: {error.filename}). Backups are"
                " made on the machine that Redis runs on, by a user who may read its folder."
            ) from None
        return
    raise BackupProblem(f"Redis took over {_SAVE_DEADLINE_S:.0f} s for a snapshot.")


def lay_out(snapshot: Path, folder: Path) -> None:
    """Make a Redis' data folder of a snapshot, as the base of its append-only file."""
    folder.mkdir(mode=0o700, parents=True)
    (folder / _AOF).mkdir(mode=0o700)
    shutil.copyfile(snapshot, folder / _AOF / "appendonly.aof.1.base.rdb")
    (folder / _AOF / "appendonly.aof.1.incr.aof").touch()
    (folder / _AOF / "appendonly.aof.manifest").write_text(_MANIFEST)


@contextlib.asynccontextmanager
async def tried_out(settings: Settings, snapshot: Path, folder: Path) -> AsyncIterator[Store]:
    """A throw-away Redis that holds a snapshot, for the block; its data lies in `folder`."""
    await trio.to_thread.run_sync(lay_out, snapshot, folder)
    # Elsewhere, because a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="relay-") as home:
        throwaway = dataclasses.replace(settings, home=Path(home), redis_url=None)
        throwaway.redis_folder.symlink_to(folder, target_is_directory=True)
        async with _answering(throwaway) as opened:
            yield opened


@contextlib.asynccontextmanager
async def _answering(throwaway: Settings) -> AsyncIterator[Store]:
    try:
        async with redis_child.running(throwaway) as url, store.opened(url) as opened:
            yield opened
    except redis_child.RedisChildError as error:
        raise BackupProblem(f"No Redis starts on this snapshot: {error}") from None


async def counted(opened: Store) -> Counts:
    """What is in a Redis."""
    keys, accounts = await opened.keys.ids(), await opened.accounts.ids()
    return Counts(await opened.upkeep.lasting_count(), len(keys), len(accounts))


async def open_a_secret(opened: Store, secrets: dict[str, str]) -> None:
    """Decrypt an account's secret, as proof that the secrets of the archive fit its data."""
    accounts = Accounts(opened, vault_of(secrets), kinds.table(None))
    try:
        for account in await accounts.list():
            accounts.kept(account.id, await accounts.fields(account.id))
    except VaultError as error:
        raise BackupProblem(f"The archive's secrets do not open its data: {error}") from None


def vault_of(secrets: Mapping[str, str]) -> Vault:
    """The vault of an archive's secrets, by their names in the environment."""
    return Vault(secrets["ENCRYPT_KEY"], secrets["JWT_SECRET"], secrets.get("ENCRYPT_KEY_PREVIOUS"))


def secrets_of(settings: Settings) -> dict[str, Secret]:
    """The secrets without which the data is worthless, by their names in the environment."""
    found = {"JWT_SECRET": settings.jwt_secret, "ENCRYPT_KEY": settings.encrypt_key}
    if settings.previous_encrypt_key is not None:
        found["ENCRYPT_KEY_PREVIOUS"] = settings.previous_encrypt_key
    return found
