"""Starting, stopping and being killed, as processes live through it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from .conftest import ROOT, Home, end_by, wait_until

BODY = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def ask(url: str, key: str, **fields: object) -> httpx.Response:
    return httpx.post(
        f"{url}/api/v1/messages",
        json={**BODY, **fields},
        headers={"x-api-key": key},
        trust_env=False,
        timeout=20,
    )


def test_a_person_adds_an_account_and_a_key_serves_and_sees_the_usage(home: Home):
    key = home.account_and_key()
    process, url = home.serve()
    answer = ask(url, key)
    assert answer.status_code == 200
    report = home.json("usage")
    assert isinstance(report, dict)
    assert report["total"]["requests"] == 1
    assert report["rows"][0]["key_name"] == "alice"
    decision = home.json("why", answer.headers["request-id"])
    assert isinstance(decision, dict)
    assert decision["chosen"] == "main"
    assert end_by(process, signal.SIGTERM) == 0


@pytest.mark.slow
def test_what_was_booked_is_there_after_a_restart(home: Home):
    key = home.account_and_key()
    process, url = home.serve()
    ask(url, key)
    end_by(process, signal.SIGINT)
    _, url = home.serve()
    assert ask(url, key).status_code == 200
    report = home.json("usage")
    assert isinstance(report, dict)
    assert report["total"]["requests"] == 2


@pytest.mark.slow
def test_the_stream_of_a_killed_relay_is_booked_by_the_next(home: Home):
    key = home.account_and_key()
    process, url = home.serve()
    slow = {"anthropic-sim-chunks": "2000", "anthropic-sim-delay-ms": "20", "x-api-key": key}
    with (
        httpx.Client(trust_env=False) as client,
        client.stream(
            "POST", f"{url}/v1/messages", json={**BODY, "stream": True}, headers=slow
        ) as answer,
    ):
        next(answer.iter_raw())
        process.kill()
        process.wait()
    home.serve()

    def is_booked() -> bool:
        report = home.json("usage")
        assert isinstance(report, dict)
        return report["total"]["estimated"] == 1

    wait_until("the lease of the killed relay is booked", is_booked)


def test_a_second_relay_on_the_same_port_says_so_and_fails(home: Home):
    _, url = home.serve()
    port = url.rpartition(":")[2]
    second = home.relay("serve", "--port", port, check=False)
    assert second.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PORT", "many", "PORT"),
        ("JWT_SECRET", "short", "JWT_SECRET"),
        ("REDIS_URL", "http://x", "REDIS_URL"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
    ],
)
def test_a_bad_setting_is_named_and_ends_the_start(
    home: Home, variable: str, value: str, words: str
):
    home.env[variable] = value
    done = home.relay("serve", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_word_in_relay_toml_is_named_with_its_line(home: Home):
    folder = Path(home.env["RELAY_HOME"])
    folder.mkdir()
    (folder / "relay.toml").write_text("[server]\nprot = 1\n")
    done = home.relay("serve", check=False)
    assert done.returncode == 1
    assert "relay.toml, line 2" in done.stderr
    assert "server.port" in done.stderr


def test_a_data_folder_that_cannot_be_used_is_named(home: Home):
    Path(home.env["RELAY_HOME"]).write_text("a file is in the way")
    done = home.relay("key", "list", check=False)
    assert done.returncode == 1
    assert home.env["RELAY_HOME"] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_redis_that_is_not_there_is_said_in_one_sentence(home: Home):
    home.env["REDIS_URL"] = "redis://:topsecret@127.0.0.1:1/0"
    done = home.relay("key", "list", check=False)
    assert done.returncode == 1
    assert "Redis" in done.stderr
    assert "topsecret" not in done.stderr


def test_a_redis_that_refuses_the_password_ends_the_start_in_one_sentence(home: Home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        home.env["REDIS_URL"] = f"redis://:topsecret@127.0.0.1:{server.getsockname()[1]}/0"
        refusing = threading.Thread(target=refuse_once, args=(server,))
        refusing.start()
        done = home.relay("serve", "--port", "0", check=False)
        refusing.join()
    assert done.returncode == 1
    assert "WRONGPASS" in done.stderr
    assert "topsecret" not in done.stderr
    assert "Traceback" not in done.stderr


def refuse_once(server: socket.socket) -> None:
    """Answer the first command of a connection as a Redis with another password does."""
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        connection.recv(1000)


@pytest.mark.slow
def test_secrets_lie_in_files_that_nobody_else_may_read(home: Home):
    home.relay("key", "create", "--name", "alice")
    folder = Path(home.env["RELAY_HOME"])
    assert os.stat(folder).st_mode & 0o077 == 0
    assert os.stat(folder / "secrets.env").st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_log_file_is_written_when_it_is_asked_for(home: Home):
    home.env["LOG_TO_FILE"] = "true"
    key = home.account_and_key()
    process, url = home.serve()
    ask(url, key)
    end_by(process, signal.SIGTERM)
    text = (Path(home.env["RELAY_HOME"]) / "logs" / "relay.log").read_text()
    assert "key=alice" in text
    assert "status=200" in text
    assert key not in text


@pytest.mark.slow
def test_systemd_is_told_when_the_relay_is_ready_and_when_it_stops(home: Home, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(tmp_path / "notify"))
        inbox.settimeout(20)
        home.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        process, _ = home.serve()
        assert inbox.recv(100) == b"READY=1"
        end_by(process, signal.SIGTERM)
        assert inbox.recv(100) == b"STOPPING=1"


@pytest.mark.slow
def test_systemd_hears_signs_of_life_for_as_long_as_the_loop_turns(home: Home, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(tmp_path / "notify"))
        inbox.settimeout(20)
        home.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        home.env["WATCHDOG_USEC"] = "300000"
        process, _ = home.serve()
        heard = [inbox.recv(100) for _ in range(5)]
        process.send_signal(signal.SIGSTOP)
        drain(inbox)
        inbox.settimeout(1.0)
        with pytest.raises(TimeoutError):
            inbox.recv(100)
        process.send_signal(signal.SIGCONT)
        inbox.settimeout(20)
        heard.append(inbox.recv(100))
    assert sorted(set(heard)) == [b"READY=1", b"WATCHDOG=1"]
    assert heard[-1] == b"WATCHDOG=1"


def drain(inbox: socket.socket) -> None:
    """Take what was sent before the process stood still."""
    inbox.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            inbox.recv(100)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_relay_leaves_no_core(home: Home):
    process, _ = home.serve()
    limits = Path(f"/proc/{process.pid}/limits").read_text()

    assert re.search(r"Max core file size +0 ", limits)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_no_program_of_the_same_user_reads_a_processs_memory(home: Home):
    asked = "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ctypes; from click.testing import CliRunner; from relay.cli import main;"
            f" {asked}; CliRunner().invoke(main, ['prices']); {asked}",
        ],
        cwd=ROOT,
        env=home.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"]
