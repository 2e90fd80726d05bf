"""One round of requests: wrk with one POST over and over on kept-alive connections."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.bench.contenders import Contender, StoreCounts
from tests.bench.processes import cpu_s

_SCRIPT = Path(__file__).with_name("post.lua")
_SPARE_S = 15.0


class LoadError(Exception):
    """A sentence about why a round gave no figures."""


@dataclass(frozen=True, slots=True)
class RequestsRound:
    """What one round showed; `aside` is the database beside the contender."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    aside_cpu_ms: float
    store_scripts: float
    store_reads: float
    store_commands: float
    errors: int


async def run(contender: Contender, folder: Path, *, clients: int, seconds: int) -> RequestsRound:
    """Load a contender with `clients` connections.

    Raises:
        LoadError: wrk gave no figures, or not one request was answered.
    """
    own, aside = contender.pids()
    own_before, aside_before = cpu_s(own), cpu_s(aside)
    counts_before = await contender.store_counts()
    figures = await _wrk(contender, folder, clients, seconds)
    counts_after = await contender.store_counts()
    requests = figures["requests"]
    if not requests:
        raise LoadError("answered no request")
    none = StoreCounts(0, 0, 0)
    scripts, reads, commands = (
        (after - before) / requests
        for before, after in zip(counts_before or none, counts_after or none, strict=True)
    )
    return RequestsRound(
        requests_per_s=requests / (figures["duration_us"] / 1e6),
        p50_ms=figures["p50_us"] / 1000,
        p99_ms=figures["p99_us"] / 1000,
        cpu_ms=(cpu_s(own) - own_before) / requests * 1000,
        aside_cpu_ms=(cpu_s(aside) - aside_before) / requests * 1000,
        store_scripts=scripts,
        store_reads=reads,
        store_commands=commands,
        errors=figures["errors"],
    )


async def _wrk(contender: Contender, folder: Path, clients: int, seconds: int) -> dict[str, int]:
    binary = shutil.which("wrk")
    if binary is None:
        raise LoadError("there is no wrk (Debian's package of that name)")
    body = folder / "request.json"
    body.write_bytes(contender.request())
    command = [
        binary, "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s",
        "--timeout", "10s", "--script", str(_SCRIPT), contender.requests_url + contender.path,
    ]  # fmt: skip
    headers = "\n".join(f"{name}: {value}" for name, value in contender.headers.items())
    env = {**os.environ, "BENCH_BODY_FILE": str(body), "BENCH_HEADERS": headers}
    with trio.move_on_after(seconds + _SPARE_S):
        done = await trio.run_process(
            command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, env=env
        )
        for line in done.stdout.decode(errors="replace").splitlines():
            if line.startswith("FIGURES "):
                return dict(json.loads(line.removeprefix("FIGURES ")))
        raise LoadError(f"wrk ended with status {done.returncode} and no figures")
    raise LoadError("wrk did not end in time")
