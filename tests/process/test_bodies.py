"""No body holds up a relay or fills its memory, whoever sends it: measured at a process."""

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from .conftest import DEADLINE_S, Home

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
# What a process may take beside 1.2 times the body, and how long nobody may wait: both are far
# above what is printed, for the box is busy.
SPARE_BYTES, LAG_S = 48 * MIB, 1.0


def many_fields(count: int) -> bytes:
    return b"{" + b",".join(b'"%d":1' % number for number in range(count)) + b"}"


BODIES: dict[str, Callable[[], bytes]] = {
    "a field's name of 8 MiB": lambda: b'{"' + b"n" * (8 * MIB) + b'":1}',
    "an escaped name of 8 MiB": lambda: b'{"' + b"\\n" * (4 * MIB) + b'":1}',
    "millions of fields": lambda: many_fields(2_600_000),
    "millions of turns": lambda: b'{"model":"m","messages":[' + b"{}," * 9_000_000 + b"{}]}",
    "millions of tools": lambda: b'{"model":"m","tools":[{"type":"x"}' + b",{}" * 9_000_000 + b"]}",
    "millions of values": lambda: b'{"model":"m","messages":[' + b"1," * 15_000_000 + b"1]}",
    "a text of other letters": lambda: b'{"model":"m","system":"' + "한".encode() * 9 * MIB + b'"}',
    "a system of escapes": lambda: b'{"model":"m","system":"' + b"\\u0041" * (5 * MIB) + b'"}',
    "metadata of 30 MiB": lambda: b'{"model":"m","metadata":{"a":"' + b"x" * (30 * MIB) + b'"}}',
    "no JSON at all": lambda: b"[" * (31 * MIB),
}


class Watch:
    """How long /health takes at most while something else goes on."""

    def __init__(self, url: str) -> None:
        self.longest_s = 0.0
        self._url = url
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=DEADLINE_S) as client:
            while not self._ends.is_set():
                begun = time.monotonic()
                assert client.get(f"{self._url}/health").status_code == 200
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
                self._ends.wait(0.005)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def memory(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.root
@pytest.mark.parametrize("path", ["/v1/messages", "/openai/claude/v1/chat/completions"])
@pytest.mark.parametrize("is_disabled", [False, True], ids=["enabled", "disabled"])
def test_no_body_stops_a_relay_or_fills_its_memory(home: Home, path: str, is_disabled: bool):
    key = home.account_and_key()
    process, url = home.serve()
    with httpx.Client(trust_env=False, timeout=DEADLINE_S) as client:
        client.post(f"{url}{path}", json={}, headers={"x-api-key": key})
        if is_disabled:
            home.relay("key", "disable", "alice")
        for name, made in BODIES.items():
            body = made()
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            before = memory(process.pid, "VmRSS")
            with Watch(url) as watch:
                answer = client.post(f"{url}{path}", content=body, headers={"x-api-key": key})
            taken = memory(process.pid, "VmHWM") - before
            sys.stdout.write(
                f"{name}: {answer.status_code}, body {len(body) / MIB:.0f} MiB, taken"
                f" {taken / MIB:.0f} MiB, health <= {watch.longest_s * 1000:.0f} ms\n"
            )
            assert 400 <= answer.status_code < 500 or answer.status_code == 200, name
            assert taken <= 1.2 * len(body) + SPARE_BYTES, name
            assert watch.longest_s <= LAG_S, name
