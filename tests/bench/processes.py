"""Programs that run for the length of the benchmark, and what they cost by /proc.

A program is ended by the process id that it was started with, never by a name.
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
_LOOK_EVERY_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class StartError(Exception):
    """A sentence about why a program does not run."""


class Program:
    """A running program; its two outputs go to a file. The nursery's end ends it."""

    def __init__(self, name: str, process: trio.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        nursery: trio.Nursery,
        name: str,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> "Program":
        """Start a command in the nursery. `folder` gets its output as NAME.log."""
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            run = partial(
                trio.run_process,
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                deliver_cancel=_end,
                env=None if env is None else dict(env),
                # Ctrl-C in the terminal is for the benchmark, which ends them in order.
                start_new_session=True,
            )
            try:
                process = await nursery.start(run)
            except OSError as error:
                raise StartError(f"{command[0]} cannot be started: {error.strerror}") from error
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def end(self) -> None:
        """Stop it before the nursery's end, and wait until it has ended."""
        with trio.move_on_after(STOP_DEADLINE_S):
            self._process.terminate()
            await self._process.wait()
            return
        self._process.kill()
        await self._process.wait()

    async def until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until the program is ready.

        Raises:
            StartError: it ended instead, or took longer than START_DEADLINE_S.
        """
        with trio.move_on_after(START_DEADLINE_S):
            while not is_ready():
                if self._process.returncode is not None:
                    raise StartError(
                        f"ended with status {self._process.returncode}: {self._last_words()}"
                    )
                await trio.sleep(_LOOK_EVERY_S)
            return
        raise StartError(f"not ready after {START_DEADLINE_S:.0f} s: {self._last_words()}")

    async def until_it_listens(self, port: int) -> None:
        await self.until(partial(_listens, port))

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


async def _end(process: trio.Process) -> None:
    """Stop it in peace, else it and its children by force; cancelled as soon as it has ended."""
    process.terminate()
    await trio.sleep(STOP_DEADLINE_S)
    for pid in tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(root: int) -> dict[int, str]:
    """The process and all below it: id → program name (cut to 15 characters by the kernel)."""
    names, children = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            name, fields = stat
            names[int(entry.name)] = name
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, to_see = {}, [root]
    while to_see:
        pid = to_see.pop()
        if pid in names:
            found[pid] = names[pid]
            to_see += children.get(pid, [])
    return found


def cpu_s(pids: Collection[int]) -> float:
    """User and system time that the processes took so far, in steps of 10 ms."""
    stats = [stat for pid in pids if (stat := _stat(pid))]
    return sum(int(fields[11]) + int(fields[12]) for _, fields in stats) / _TICKS_PER_S


def rss_mib(pids: Collection[int]) -> float:
    """Resident memory of the processes together, in MiB."""
    stats = [stat for pid in pids if (stat := _stat(pid))]
    return sum(int(fields[21]) for _, fields in stats) * _PAGE_BYTES / 2**20


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """A process' name and the fields of its /proc/PID/stat from the third on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()
