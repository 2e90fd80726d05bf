"""What the monitor remembers from run to run: which problems it told, and what it started.

It lies in Redis and in RELAY_HOME/monitor.json, because either may be what is broken; the newer one
counts. Newer is by the number of runs: clocks jump, and a restored Redis is older than the file.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from relay.monitor.findings import OK, UNSEEN, Finding, is_worse
from relay.store import RedisAway, ReplyError, Store

FILE = "monitor.json"
_MOST_BYTES = 1024 * 1024
HOUR_S = 3600.0


class Problem(msgspec.Struct):
    """A problem that was there at the last run.

    Args:
        since: Unix seconds.
        told: somebody was told of it at this level.
        tried: somebody was to be told, with success or not.
        owed: ids of webhooks that were not reached when others were.
    """

    check: str
    level: str
    since: int
    told: bool = False
    tried: bool = False
    owed: list[str] = []


class Notes(msgspec.Struct):
    """What is remembered.

    Args:
        since, last: when the first and the last run were, Unix seconds.
        starts: when each unit was started within the last hour, Unix seconds.
    """

    run: int = 0
    since: int = 0
    last: int = 0
    problems: dict[str, Problem] = {}
    starts: dict[str, list[float]] = {}

    def compare(
        self, findings: Iterable[Finding], now: float, *, is_patient: bool = False
    ) -> tuple[list[Finding], list[str]]:
        """Take in what was found; returns what is to be told, and the problems that are over.

        Args:
            is_patient: whatever is new is told at the next run, if it is still there.
        """
        found, to_tell = list(findings), []
        for one in found:
            if not one.is_problem:
                continue
            known = self.problems.get(one.name)
            if known is None:
                self.problems[one.name] = Problem(one.check, one.level, int(now))
                if one.settles or is_patient:
                    continue
            elif is_worse(one.level, known.level):
                known.level, known.told, known.owed = one.level, False, []
            if not self.problems[one.name].told or self.problems[one.name].owed:
                to_tell.append(one)
        return to_tell, [name for name, one in self.problems.items() if _is_over(name, one, found)]


def _is_over(name: str, problem: Problem, found: Iterable[Finding]) -> bool:
    """Whether a problem was looked for and is not there: what cannot be seen is not over."""
    same_check = [one for one in found if one.check == problem.check]
    named = [one for one in same_check if one.name == name]
    if named:
        return all(one.level == OK for one in named)
    is_blind = any(one.level == UNSEEN and not one.subject for one in same_check)
    return bool(same_check) and not is_blind


class Place:
    """Where the notes lie: the file always, Redis while it answers.

    Args:
        opened: None while Redis is away.
    """

    def __init__(self, home: Path, opened: Store | None) -> None:
        self._home = home
        self._store = opened

    async def read(self) -> Notes:
        """The newer notes of both places, or new ones."""
        texts: list[str | bytes] = [_text_of(self._home / FILE)]
        if self._store is not None:
            with contextlib.suppress(RedisAway, ReplyError):
                texts.append((await self._store.upkeep.monitor_notes()).get("notes", ""))
        return max((_parsed(text) for text in texts), key=lambda one: one.run)

    async def write(self, notes: Notes, last_run: str | None = None) -> bool:
        """Keep the notes, and the run's result for pages to show; whether any place took them."""
        text = msgspec.json.encode(notes)
        is_kept = _keep(self._home, text)
        if self._store is not None:
            with contextlib.suppress(RedisAway, ReplyError):
                await self._store.upkeep.note_monitor(text.decode(), last_run)
                is_kept = True
        return is_kept


def _parsed(text: str | bytes) -> Notes:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=Notes)
    return Notes()


def _text_of(file: Path) -> bytes:
    """A file's bytes. Root reads here what the relay's user may have put there."""
    with contextlib.suppress(OSError):
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as opened:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return opened.read(_MOST_BYTES)
    return b""


def _keep(home: Path, text: bytes) -> bool:
    """Write the file whole or not at all, for the owner of the folder, whoever runs this."""
    try:
        owner = home.stat()
        with tempfile.NamedTemporaryFile(dir=home, prefix=".monitor-", delete=False) as draft:
            try:
                draft.write(text)
                draft.flush()
                if os.geteuid() == 0:
                    os.fchown(draft.fileno(), owner.st_uid, owner.st_gid)
                os.replace(draft.name, home / FILE)
            except OSError:
                os.unlink(draft.name)
                return False
    except OSError:
        return False
    return True
