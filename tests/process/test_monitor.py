"""`relay monitor` and `relay doctor` beside a relay and a Redis that really run, or do not."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.store import opened
from tests.store.conftest import RedisProcess

from .conftest import Home, end_by, wait_until

pytestmark = pytest.mark.slow

PASSWORD = "a-password-of-redis"
# What else runs on this machine is none of these tests' business.
QUIET = """\
[monitor]
diskWarning = 100
diskCritical = 100
memoryWarning = 100
memoryCritical = 100
[server]
drainLead = 0
"""
TARGET = "Id=relay.target\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """A Redis with a password."""
    folder = Path(tempfile.mkdtemp(prefix="relay-redis-"))
    server = RedisProcess(folder)
    protect(server)
    yield server
    server.kill()
    shutil.rmtree(folder)


def protect(server: RedisProcess) -> None:
    """Start it, and let it ask for the password."""
    server.start()
    server.command(f"CONFIG SET requirepass {PASSWORD}\r\n".encode())


class Receiver:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def heard(self) -> list[tuple[str, str]]:
        """What was told, in order: the check with its subject, and the level."""
        return [(f"{one['data']['check']} {one['data'].get('subject', '')}".strip(),
                 one["data"]["level"]) for one in self.taken]  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.thread.join()
    one.server.server_close()


@pytest.fixture
def watched(home: Home, redis: RedisProcess, receiver: Receiver) -> Home:
    """A relay that serves, with a webhook, on a machine without systemd."""
    folder = Path(home.env["RELAY_HOME"])
    folder.mkdir()
    webhook = f'[[webhooks]]\nname = "ops"\nurl = "{receiver.url}"\nallowPrivate = true\n'
    (folder / "relay.toml").write_text(QUIET + webhook)
    program(home, "timedatectl", "exit 1")
    home.env["REDIS_URL"] = f"unix://:{PASSWORD}@{redis.socket}"
    serve(home)
    return home


def serve(home: Home) -> "subprocess.Popen[str]":
    process, url = home.serve()
    home.env["PORT"] = url.rpartition(":")[2]
    return process


def program(home: Home, name: str, script: str) -> None:
    """A program in front of PATH."""
    folder = home.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    if not home.env["PATH"].startswith(str(folder)):
        home.env["PATH"] = f"{folder}:{home.env['PATH']}"


def run(home: Home, command: str = "monitor") -> tuple[int, dict[str, Any]]:
    """The exit status of a run, and what it found."""
    done = home.relay(command, "--json", check=False)
    assert PASSWORD not in done.stdout + done.stderr
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def level_of(told: dict[str, Any], check: str) -> set[str]:
    return {one["level"] for one in told["findings"] if one["check"] == check}


def test_when_all_is_well_the_status_is_0_and_one_line_says_so(
    watched: Home, redis: RedisProcess, receiver: Receiver
):
    done = watched.relay("monitor", check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1), done
    assert done.stdout.startswith("monitor level=ok")
    status, told = run(watched)
    assert (status, told["level"], told["started"], told["told"]) == (0, "ok", [], [])
    assert level_of(told, "instance") == level_of(told, "redis") == {"ok"}
    assert kept(watched.env["REDIS_URL"])["last"] == told
    assert receiver.taken == []


def kept(url: str) -> dict[str, Any]:
    """What Redis has of the monitor."""

    async def read() -> dict[str, str]:
        async with opened(url) as store:
            return await store.upkeep.monitor_notes()

    return {name: json.loads(text) for name, text in trio.run(read).items()}


def test_while_redis_is_away_the_webhook_is_told_straight_and_once_and_once_of_its_return(
    watched: Home, redis: RedisProcess, receiver: Receiver
):
    redis.stop()
    assert run(watched)[1]["told"] == ["redis"]
    status, told = run(watched)
    assert (status, told["told"]) == (2, [])
    # An instance that only waits for Redis is no second problem.
    assert level_of(told, "instance") == {"ok"}
    assert receiver.heard == [("redis", "critical")]
    protect(redis)
    status, told = run(watched)
    assert (status, told["told"]) == (0, ["redis"])
    wait_until("the end is delivered", lambda: len(receiver.taken) == 2)
    assert receiver.heard[1] == ("redis", "ok")
    assert run(watched)[1]["told"] == []
    assert len(receiver.taken) == 2


def test_a_wrong_password_is_named_and_not_shown(watched: Home, receiver: Receiver):
    watched.env["REDIS_URL"] = watched.env["REDIS_URL"].replace(PASSWORD, "another-password")
    done = watched.relay("monitor", check=False)
    assert (done.returncode, "Redis refuses the connection: WRONGPASS" in done.stdout) == (2, True)
    assert "another-password" not in done.stdout + done.stderr + str(receiver.taken)
    assert receiver.heard == [("redis", "critical")]


def test_with_no_instance_left_the_monitor_delivers_by_itself(
    home: Home, redis: RedisProcess, receiver: Receiver, watched: Home
):
    end_by(watched.started[-1], signal.SIGTERM)
    port = watched.env["PORT"]
    for expected in ([f"instance {port}"], []):
        status, told = run(watched)
        assert (status, told["told"]) == (2, expected)
    assert receiver.heard == [(f"instance {port}", "critical")]


def test_two_runs_at_once_tell_a_problem_once(watched: Home, receiver: Receiver):
    end_by(watched.started[-1], signal.SIGTERM)
    both = [watched.start("relay.py", "monitor", "--json") for _ in range(2)]
    told = [json.loads(one.communicate(timeout=60)[0])["told"] for one in both]
    assert sorted(map(len, told)) == [0, 1]
    assert len(receiver.taken) == 1


def test_what_cannot_be_delivered_straight_is_told_later(
    watched: Home, redis: RedisProcess, receiver: Receiver
):
    toml = Path(watched.env["RELAY_HOME"], "relay.toml")
    whole = toml.read_text()
    toml.write_text(whole.replace(receiver.url, "http://127.0.0.1:9"))
    redis.stop()
    status, told = run(watched)
    assert (status, told["told"], told["note"]) == (2, [], "Nobody could be told.")
    toml.write_text(whole)
    assert run(watched)[1]["told"] == ["redis"]
    assert receiver.heard == [("redis", "critical")]


@pytest.mark.parametrize(
    "damage", ["[monitor]\nnothing = 1\n", "[monitor]\ndiskWarning = 'much'\n"]
)
def test_broken_settings_are_the_finding_and_the_rest_is_looked_at(
    watched: Home, receiver: Receiver, damage: str
):
    toml = Path(watched.env["RELAY_HOME"], "relay.toml")
    toml.write_text(toml.read_text().replace("[monitor]\n", damage, 1))
    status, told = run(watched)
    assert (status, told["told"]) == (2, ["settings"])
    assert level_of(told, "settings") == {"critical"}
    assert level_of(told, "redis") == level_of(told, "instance") == {"ok"}
    wait_until("it is delivered", lambda: receiver.taken)
    assert receiver.heard == [("settings", "critical")]


def test_a_secret_that_is_wrong_is_the_finding(watched: Home):
    watched.account_and_key()
    watched.env["ENCRYPT_KEY"] = "short"
    status, told = run(watched)
    assert (status, level_of(told, "settings")) == (2, {"critical"})
    assert level_of(told, "account") == {"unseen"}
    watched.env["ENCRYPT_KEY"] = "x" * 32
    status, told = run(watched)
    assert (status, level_of(told, "account")) == (2, {"critical"})


def test_wrong_usage_has_a_status_of_its_own(home: Home):
    assert home.relay("monitor", "--nothing", check=False).returncode == 3
    assert home.relay("doctor", "more", check=False).returncode == 3


def test_no_redis_of_the_relay_s_own_is_started_and_nothing_is_made(home: Home):
    status, told = run(home, "doctor")
    assert (status, level_of(told, "redis")) == (2, {"critical"})
    assert run(home)[0] == 2
    assert not Path(home.env["RELAY_HOME"]).exists()


def machine(home: Home, state: str, target: str = TARGET) -> Path:
    """Make it an appliance of one instance in this state; the file with what systemd was told."""
    port, calls = home.env["PORT"], home.folder / "calls"
    home.env |= {"RELAY_INSTANCES": "1", "RELAY_PORT": port}
    units = [target] + [
        f"Id={name}.service\nLoadState=loaded\nActiveState={active}\nSubState=x\n"
        "UnitFileState=enabled\n"
        for name, active in ((f"relay@{port}", state), ("relay-redis", "active"),
                             ("relay-caddy", "active"))
    ]  # fmt: skip
    (home.folder / "units").write_text("\n".join(units))
    program(home, "systemctl",
            f'echo "$*" >>{calls}; [ "$1" != show ] || cat {home.folder}/units')  # fmt: skip
    return calls


def test_a_stopped_unit_is_started_once_and_then_again_after_a_pause(watched: Home):
    calls, unit = machine(watched, "failed"), f"relay@{watched.env['PORT']}.service"
    status, told = run(watched)
    assert (status, told["started"], told["told"]) == (2, [unit], [f"service {unit}"])
    # The next start has to wait.
    status, told = run(watched)
    assert (status, told["started"], told["told"]) == (2, [], [])
    assert run(watched, "doctor")[1]["started"] == []
    orders = [one for one in calls.read_text().splitlines() if not one.startswith("show")]
    assert orders == [f"reset-failed {unit}", f"start --no-block {unit}"]
    machine(watched, "active")
    status, told = run(watched)
    assert (status, told["told"]) == (0, [f"service {unit}"])


def test_nothing_is_started_while_the_target_is_stopped(watched: Home):
    calls = machine(watched, "inactive", TARGET.replace("=active", "=inactive"))
    status, told = run(watched)
    # A restore takes a moment, so it is told at the second run.
    assert (status, told["started"], told["told"]) == (2, [], [])
    assert "service relay.target" in run(watched)[1]["told"]
    assert "start" not in calls.read_text()


def test_without_a_place_to_remember_nothing_is_started(watched: Home, redis: RedisProcess):
    calls = machine(watched, "failed")
    redis.stop()
    (Path(watched.env["RELAY_HOME"]) / "monitor.json").mkdir()
    status, told = run(watched)
    assert (status, told["started"]) == (2, [])
    assert "no place to remember" in told["note"]
    assert "start" not in calls.read_text()


def test_the_newer_notes_count_when_redis_is_restored_from_before(
    watched: Home, redis: RedisProcess
):
    machine(watched, "failed")
    assert run(watched)[1]["started"]
    redis.command(f"AUTH {PASSWORD}\r\nDEL {{relay}}:monitor\r\n".encode())
    assert run(watched)[1]["started"] == []
    # And when the file is gone, Redis' count.
    (Path(watched.env["RELAY_HOME"]) / "monitor.json").unlink()
    assert run(watched)[1]["started"] == []


def test_the_doctor_tries_each_account_and_changes_nothing(watched: Home):
    assert run(watched, "doctor")[0] == 1
    watched.account_and_key()
    status, told = run(watched, "doctor")
    assert (status, level_of(told, "admission")) == (0, {"ok"})
    shown = watched.relay("doctor").stdout
    assert "accepts this account's credential" in shown
    watched.relay("account", "add", "other", "--base-url", "http://127.0.0.1:9",
                  "--secret-file", "-", stdin="upstream-secret\n")  # fmt: skip
    status, told = run(watched, "doctor")
    assert (status, level_of(told, "admission")) == (2, {"ok", "critical"})
    assert "monitor.json" not in os.listdir(watched.env["RELAY_HOME"])
    assert watched.json("usage")["total"]["requests"] == 0  # type: ignore[index, call-overload]


def tmpfs(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)


def fill(file: Path) -> None:
    """Write until there is no room."""
    with contextlib.suppress(OSError), open(file, "wb", buffering=0) as opened_file:
        while opened_file.write(bytes(4096)):
            pass


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_a_full_disk_is_told_also_when_it_is_the_relay_s_own_home(
    watched: Home, receiver: Receiver
):
    folder = Path(watched.env["RELAY_HOME"])
    files = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    tmpfs(folder, "64k")
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        fill(folder / "fills-it")
        assert run(watched)[1]["told"] == [f"disk {folder}"]
        # It is remembered in Redis alone.
        assert run(watched)[1]["told"] == []
    finally:
        subprocess.run(["umount", folder], check=True)
    assert run(watched)[1]["told"] == [f"disk {folder}"]
    wait_until("both are delivered", lambda: len(receiver.taken) == 2)
    assert receiver.heard == [(f"disk {folder}", "critical"), (f"disk {folder}", "ok")]
