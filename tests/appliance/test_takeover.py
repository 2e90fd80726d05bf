"""Which of two processes on one port gets a new connection, while one takes over from the other."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .steps import step

pytestmark = [pytest.mark.root]

SERVER = """
import socket, sys, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print(server.getsockname()[1], flush=True)
while True:
    try:
        client = server.accept()[0]
    except OSError:
        time.sleep(60)
    client.sendall(sys.argv[2].encode())
    client.close()
"""


@contextlib.contextmanager
def server(name: str, port: int = 0) -> Iterator[tuple[int, int]]:
    """A process that answers with its name; its number and port."""
    command = [sys.executable, "-c", SERVER, str(port), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def answers(port: int) -> set[str]:
    """Who answers of forty connections."""
    names = set()
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            names.add(client.recv(10).decode())
    return names


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def test_every_connection_stays_with_the_first_until_it_is_closed(tmp_path: Path):
    with server("first") as (first, port):
        assert step(tmp_path, f"steer hold {first}").stderr == ""
        with server("second", port):
            assert answers(port) == {"first"}
            assert step(tmp_path, f"steer close {first}").stderr == ""
            assert answers(port) == {"second"}


def test_the_next_time_it_is_the_second_that_keeps_them(tmp_path: Path):
    with server("first") as (first, port):
        step(tmp_path, f"steer hold {first}")
        with server("second", port) as (second, _):
            step(tmp_path, f"steer close {first}")
            step(tmp_path, f"steer hold {second}")
            with server("third", port):
                assert answers(port) == {"second"}
