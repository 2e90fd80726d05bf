"""Where records go when they are many: one compressed file for each day in RELAY_HOME/usage.

Redis keeps the newest records. What is beyond its share moves, oldest first, to the file of the
day on which it was settled, and both go when they are past the retention. A move writes a whole
new file, waits for the disk, puts it in the old one's place, and only then lets Redis forget: a
crash leaves a record in both, which readers see by its id, and never in neither.
"""

import contextlib
import fcntl
import gzip
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import trio

from relay.store import SHORT_PERCENT, Entry, Store
from relay.usage.periods import UsageProblem
from relay.usage.records import Booked

_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.jsonl\.gz")
# About 5 MB, and a moment of one processor.
_MOVED_AT_ONCE = 5000
_READ_AT_ONCE = 500
# A move goes so far below the limit that the next one is some time off.
_AIM = 0.9
_LOCK_MS = 120_000
_UNLOCK_DEADLINE_S = 2.0
# Redis' clock may have been set back between an admission and its settlement.
_SLACK = timedelta(hours=1)

_RECORD = msgspec.json.Decoder(Booked)


class _Line(msgspec.Struct):
    """A record as it stands in a file."""

    id: str
    at_ms: int
    model: str
    state: str
    replaces: str
    record: msgspec.Raw


_LINE = msgspec.json.Decoder(_Line)
Take = Callable[[Entry], None]
_NOTHING = b"null"


class Archive:
    """The files of one RELAY_HOME. Its methods wait for the disk: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def days(self) -> list[str]:
        """The days that have a file, oldest first."""
        if not self.folder.is_dir():
            return []
        matches = (_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(match[1] for match in matches if match)

    def read(self, day: str) -> Iterator[Entry]:
        """The records of a day, each once; none when there is no such file."""
        seen: set[str] = set()
        for entry in self.lines(day):
            if entry.id not in seen:
                seen.add(entry.id)
                yield entry

    def lines(self, day: str) -> Iterator[Entry]:
        """The records of a day as they stand in its file: one may stand there twice."""
        path = self._path(day)
        try:
            with gzip.open(path) as lines:
                for text in lines:
                    yield _entry(_LINE.decode(text))
        except FileNotFoundError:
            return
        except (EOFError, gzip.BadGzipFile, msgspec.DecodeError) as error:
            raise UsageProblem(f"{path} is damaged: {error}.") from None

    def append(self, entries: Sequence[Entry]) -> None:
        """Add records to the files of their days; on disk when it returns."""
        by_day: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_day[day_of(entry.id)].append(entry)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for day, some in by_day.items():
            self._append(day, some)

    def _append(self, day: str, entries: Sequence[Entry]) -> None:
        path = self._path(day)
        draft = path.with_suffix(".part")
        with open(draft, "wb") as file:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as before:
                shutil.copyfileobj(before, file)
            with gzip.open(file, "wb") as packed:
                packed.writelines(_line(entry) for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def drop_before(self, day: str) -> None:
        """Delete the files of the days before this one."""
        for old in self.days():
            if old < day:
                self._path(old).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether no other process on this RELAY_HOME is at it; held for the block."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / "lock", "ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _path(self, day: str) -> Path:
        return self.folder / f"{day}.jsonl.gz"


def day_of(entry_id: str) -> str:
    """The UTC day on which a record was settled."""
    return f"{datetime.fromtimestamp(int(entry_id.partition('-')[0]) / 1000, UTC):%Y-%m-%d}"


def _line(entry: Entry) -> bytes:
    raw = msgspec.Raw(entry.record or _NOTHING)
    line = _Line(entry.id, entry.at_ms, entry.model, entry.state, entry.replaces, raw)
    return msgspec.json.encode(line) + b"\n"


def _entry(line: _Line) -> Entry:
    record = bytes(line.record)
    return Entry(
        line.id, line.at_ms, line.model, line.state, line.replaces,
        b"" if record == _NOTHING else record,
    )  # fmt: skip


async def kept_since(store: Store) -> datetime:
    """From when on all records are kept, here or in Redis."""
    return datetime.fromtimestamp(await store.usage.kept_since_ms() / 1000, UTC)


async def is_short(store: Store) -> bool:
    """Whether Redis is short of memory."""
    used, most = await store.usage.memory()
    return most > 0 and used * 100 >= most * SHORT_PERCENT


async def tidy(
    store: Store, kept: Archive, *, retention_days: int, most_bytes: int, part: float = 1.0
) -> None:
    """Drop what is past the retention, and move what is beyond Redis' share to the files.

    One process does it at a time; of relays on several machines each moves to its own files.

    Args:
        most_bytes: what the records may take in Redis; 0 for its usual share.
        part: of every share that may be taken; less than 1 where memory is short.
    """
    limit = datetime.now(UTC) - timedelta(days=retention_days)
    await trio.to_thread.run_sync(kept.drop_before, f"{limit:%Y-%m-%d}")
    owner = os.urandom(8).hex()
    if not await store.lock("usage", owner, _LOCK_MS):
        return
    try:
        await store.usage.trim(_ms(limit))
        await store.usage.trim_shares(part)
        share = await store.usage.share_bytes()
        await _move(store, kept, round(min(most_bytes or share, share) * part))
    finally:
        with trio.move_on_after(_UNLOCK_DEADLINE_S, shield=True):
            await store.unlock("usage", owner)


async def _move(store: Store, kept: Archive, most_bytes: int) -> None:
    size, length = await store.usage.size()
    if size <= most_bytes:
        return
    left = int(length * (1 - _AIM * most_bytes / size)) + 1
    # A process that was paused past its lock in Redis must not write beside the next one.
    with kept.locked() as is_ours:
        while is_ours and left > 0:
            entries = await store.usage.oldest(min(left, _MOVED_AT_ONCE))
            if not entries:
                return
            await trio.to_thread.run_sync(kept.append, entries)
            await store.usage.forget(entries[-1].id)
            left -= len(entries)


async def visit(store: Store, kept: Archive, since: datetime, take: Take) -> None:
    """Hand over every record that was settled since a time, each once, in no order.

    From Redis first: what moves to the files meanwhile is found there.
    """
    first = max(since - _SLACK, datetime.fromtimestamp(0, UTC))
    seen: set[str] = set()
    last = ""
    while page := await store.usage.newest_first(_READ_AT_ONCE, last, _ms(first)):
        for entry in page:
            seen.add(entry.id)
            take(entry)
        last = page[-1].id

    def read(day: str) -> None:
        for entry in kept.read(day):
            if entry.id not in seen:
                take(entry)

    for day in await trio.to_thread.run_sync(kept.days):
        if day >= f"{first:%Y-%m-%d}":
            await trio.to_thread.run_sync(read, day)


async def visit_valid(store: Store, kept: Archive, since: datetime, take: Take) -> None:
    """The same without the estimates that a late settlement has replaced, and all with a record."""
    estimates: dict[str, Entry] = {}
    replaced: set[str] = set()

    def sort(entry: Entry) -> None:
        if entry.replaces:
            replaced.add(entry.replaces)
        if entry.state == "recovered":
            estimates[entry.id] = entry
        elif entry.record:
            take(entry)

    await visit(store, kept, since, sort)
    for entry_id, entry in estimates.items():
        if entry_id not in replaced:
            take(entry)


def booked(entry: Entry) -> Booked:
    """What the counters take from a record."""
    return _RECORD.decode(entry.record)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
