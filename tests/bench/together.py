"""The parts of the benchmark with two relay processes: what limits let through, what faults cost.

Each fault has a fleet of its own, for it may leave it with a relay less.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import failures_load, faults_load, fleet, limits_load
from tests.bench.failures_load import FailuresRow
from tests.bench.faults_load import BACK_IN_S, REFUSED_IN_S, SLOTS_FREE_IN_S
from tests.bench.limits_load import LimitRow
from tests.bench.table import aligned

PARTS = ("limits", "faults", "failures")
_QUICK_ROUNDS = 3
_PAUSE_S, _AWAY_S, _STREAMS = 10.0, 3.0, 100
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A promise about a fault, and what was measured, in seconds."""

    name: str
    promised_s: float
    measured_s: float


@dataclass(slots=True)
class Together:
    """What was found; parts that were not asked for have no rows."""

    limits: list[LimitRow]
    faults: list[FaultRow]
    failures: list[FailuresRow]

    @property
    def holds(self) -> bool:
        """Whether every limit was exact and every promise kept."""
        are_kept = all(row.measured_s < row.promised_s for row in self.faults)
        are_no_worse = all(row.holds for row in self.failures)
        return are_kept and are_no_worse and all(row.is_exact for row in self.limits)

    def values(self) -> list[dict[str, Any]]:
        """The figures for a program."""
        return [dataclasses.asdict(row) for row in (*self.limits, *self.faults, *self.failures)]

    def text(self) -> str:
        """The tables."""
        tables = []
        if self.limits:
            title = (
                f"{limits_load.REQUESTS} requests at once on two relay processes, none ended yet"
            )
            tables.append(aligned(title, _LIMITS_HEAD, [_limit_cells(one) for one in self.limits]))
        if self.faults:
            title = "Faults under load; in each the books agreed to the micro-dollar"
            tables.append(aligned(title, _FAULTS_HEAD, [_fault_cells(one) for one in self.faults]))
        if self.failures:
            rows = [_failure_cells(row) for row in self.failures]
            calls = failures_load.THREADS * failures_load.CALLS
            title = (
                f"{calls} calls of the SDK at an upstream that fails, direct and through the relay"
            )
            tables.append(aligned(title, _FAILURES_HEAD, rows))
        return "\n\n".join(tables)


_FAILURES_HEAD = ["trouble", "accounts", "failed", "relay", "p95 s", "relay s", "no worse"]
_LIMITS_HEAD = ["limit", "may pass", "passed", "rounds", "exact", "spent at most", "decided in s"]
_FAULTS_HEAD = ["fault", "promised s", "measured s"]


def _limit_cells(row: LimitRow) -> list[str]:
    passed = str(row.most) if row.fewest == row.most else f"{row.fewest} to {row.most}"
    exact, spent = "yes" if row.is_exact else "NO", f"${row.spent_micros / 1e6:.6f}"
    return [row.name, str(row.bound), passed, str(row.rounds), exact, spent, f"{row.decided_s:.2f}"]


def _fault_cells(row: FaultRow) -> list[str]:
    return [row.name, f"{row.promised_s:.0f}", f"{row.measured_s:.2f}"]


def _failure_cells(row: FailuresRow) -> list[str]:
    figures = [f"{row.direct_p95_s:.2f}", f"{row.relay_p95_s:.2f}", "yes" if row.holds else "NO"]
    return [row.name, str(row.accounts), str(row.direct_failed), str(row.relay_failed), *figures]


async def run(parts: Sequence[str], folder: Path, say: Say, *, quick: bool) -> Together:
    """Run the parts; `folder` gets a folder for each fleet.

    Raises:
        StartError: a relay does not run.
        AssertionError: the books do not agree, or a limit was passed.
    """
    found = Together([], [], [])
    if "limits" in parts:
        rounds = _QUICK_ROUNDS if quick else limits_load.ROUNDS
        say(f"limits: {rounds} rounds each")
        async with fleet.running(_new(folder, "limits")) as one:
            found.limits = await limits_load.run(one, list(limits_load.LIMITS), rounds)
            (await one.books()).check(scopes=rounds * len(found.limits))
    if "faults" in parts:
        found.faults = await _faults(folder, say)
    if "failures" in parts:
        for accounts in (1, 2):
            async with fleet.running(_new(folder, f"failures{accounts}"), relays=1) as one:
                found.failures += await failures_load.run(one, accounts, say)
    return found


async def _faults(folder: Path, say: Say) -> list[FaultRow]:
    rows = []
    for word, trouble, seconds in (
        ("stalls", faults_load.paused, _PAUSE_S),
        ("is restarted", faults_load.restarted, _AWAY_S),
        ("is full", faults_load.full, _AWAY_S),
    ):
        say(f"faults: Redis {word}")
        async with fleet.running(_new(folder, trouble.__name__)) as one:
            seen = await trouble(one, seconds)
            await faults_load.check_away(one, seen)
        rows.append(FaultRow(f"Redis {word}: slowest 503", REFUSED_IN_S, seen.slowest_refusal_s))
        rows.append(FaultRow(f"Redis {word}: served again after", BACK_IN_S, seen.back_s()))
    say("faults: a relay is killed")
    async with fleet.running(_new(folder, "killed")) as one:
        killed = await faults_load.one_killed(one, _STREAMS)
        await faults_load.check_killed(one, killed, _STREAMS)
    name = f"a relay is killed under {_STREAMS} streams: its slots are free after"
    return [*rows, FaultRow(name, SLOTS_FREE_IN_S, killed.slots_free_s)]


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(mode=0o700)
    return made
