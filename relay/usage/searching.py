"""Finding requests: in Redis, then in the files of the days before, newest first.

A search reads until its page is full or its time is over, and tells where it goes on. It holds a
page of records at the most, however many there are.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
import trio

from relay.store import Entry, Store
from relay.usage.archive import Archive, day_of
from relay.usage.periods import midnight
from relay.usage.records import Record

_READ_AT_ONCE = 500
_PATIENCE_S = 4.0
# A day that a search began with, and that was too long for it, is passed over in part.
_FRESH_S = 0.5
_LOOK_EVERY = 2000

_RECORD = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; what is empty or None is not asked.

    Args:
        words: in any of a request's names, ids and words. Case does not matter here and below.
        key, account: a part of its name, or its id.
        model, session: a part of it.
        since, until: when the request ended, UTC.
    """

    words: str = ""
    request_id: str = ""
    key: str = ""
    account: str = ""
    model: str = ""
    session: str = ""
    status: int | None = None
    has_failed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search.

    Args:
        records: newest first, by when they ended; `places` are theirs, for `at` of search().
        older: where the search goes on; empty when all was looked at.
        is_cut: whether it stopped because its time was over.
        partly: days that were too long to be looked at to their end.
    """

    records: Sequence[Record]
    places: Sequence[str] = ()
    older: str = ""
    is_cut: bool = False
    partly: Sequence[str] = ()


class _Page:
    """What a search has found so far, and whether it may go on."""

    def __init__(self, wanted: Search, most: int, patience_s: float) -> None:
        self.wanted = wanted
        self.most = most
        self.begun = time.monotonic()
        self.end = self.begun + patience_s
        self.found: list[tuple[str, Record]] = []
        self.replaced: set[str] = set()
        # Any record that fits has these bytes in it, in some case.
        texts = (wanted.words, wanted.request_id, wanted.key, wanted.account, wanted.model,
                 wanted.session)  # fmt: skip
        self._needles = [text.lower().encode() for text in texts if text and _is_plain(text)]

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self.most

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.end

    def fitting(self, entry: Entry) -> Record | None:
        """The record of an entry when it is one that is looked for."""
        if entry.replaces:
            self.replaced.add(entry.replaces)
        if not entry.record or (entry.state == "recovered" and entry.id in self.replaced):
            return None
        if self._needles:
            told = entry.record.lower()
            if not all(needle in told for needle in self._needles):
                return None
        record = _RECORD.decode(entry.record)
        return record if is_wanted(record, self.wanted) else None


def _is_plain(text: str) -> bool:
    """Whether JSON writes a text as it is, and lower() of its bytes is lower() of it."""
    return text.isascii() and text.isprintable() and not set('"\\') & set(text)


def is_wanted(record: Record, wanted: Search) -> bool:
    """Whether a record is what a search looks for; its time is not looked at."""
    accounts = [text for one in record.attempts for text in (one.account_name, one.account_id)]
    return (
        (not wanted.request_id or record.request_id == wanted.request_id)
        and (wanted.status is None or record.status == wanted.status)
        and (wanted.has_failed is None or bool(record.error) == wanted.has_failed)
        and _is_in(wanted.key, record.key_name, record.key_id)
        and _is_in(wanted.account, *accounts)
        and _is_in(wanted.model, record.model, record.model_served)
        and _is_in(wanted.session, record.session)
        and _is_in(
            wanted.words, record.request_id, record.key_name, record.key_id, record.model,
            record.model_served, record.session, str(record.status or ""), record.error, *accounts,
        )
    )  # fmt: skip


def _is_in(words: str, *texts: str) -> bool:
    return not words or any(words.lower() in text.lower() for text in texts)


async def search(
    store: Store,
    kept: Archive,
    wanted: Search,
    *,
    before: str = "",
    at: str = "",
    most: int = 50,
    patience_s: float = _PATIENCE_S,
) -> Found:
    """The newest requests that fit, at most `most` of them.

    An estimate that a late settlement replaced is left out, as far as both are on one page.

    Args:
        before: `older` of the page before; empty for the first one.
        at: the place of the first record, where that is known.
        patience_s: after so long the search stops where it is.

    Raises:
        UsageProblem: a file of a day is damaged.
    """
    page = _Page(wanted, most, patience_s)
    since_ms = _ms(wanted.since) if wanted.since else 0
    until = f"{_ms(wanted.until)}-0" if wanted.until else ""
    last = _first_of(before, until, _after(at) if at else "")
    while entries := await store.usage.newest_first(_READ_AT_ONCE, last, since_ms):
        for entry in entries:
            last = entry.id
            if record := page.fitting(entry):
                page.found.append((entry.id, record))
                if page.is_full:
                    return _found(page, last)
        if page.is_late:
            return _found(page, last, is_cut=True)
    return await _in_files(kept, page, last, f"{since_ms}-0")


async def _in_files(kept: Archive, page: _Page, last: str, first: str) -> Found:
    """Go on in the files, with what is before `last`: what is not was in Redis."""
    partly: list[str] = []
    for day in reversed(await trio.to_thread.run_sync(kept.days)):
        if (last and day > day_of(last)) or day < day_of(first):
            continue
        if page.is_late:
            return _found(page, last, is_cut=True, partly=partly)
        is_fresh = time.monotonic() - page.begun < _FRESH_S
        some, is_whole = await trio.to_thread.run_sync(_of_day, kept, page, day, last, first)
        if not is_whole and not is_fresh:
            return _found(page, last, is_cut=True, partly=partly)
        if not is_whole:
            partly.append(day)
        page.found += some
        if page.is_full:
            return _found(page, page.found[-1][0], partly=partly)
        last = f"{_ms(midnight(date.fromisoformat(day)))}-0"
    return _found(page, "", partly=partly)


def _of_day(
    kept: Archive, page: _Page, day: str, last: str, first: str
) -> tuple[list[tuple[str, Record]], bool]:
    """The newest of a day that fit, and whether all of the day was looked at."""
    room = page.most - len(page.found)
    newest: list[tuple[tuple[int, int], str, Record]] = []
    ids: set[str] = set()
    is_whole = True
    for number, entry in enumerate(kept.lines(day), 1):
        if number % _LOOK_EVERY == 0 and page.is_late:
            is_whole = False
            break
        if (last and _place(entry.id) >= _place(last)) or _place(entry.id) < _place(first):
            continue
        record = page.fitting(entry)
        if record is None or entry.id in ids:
            continue
        heapq.heappush(newest, (_place(entry.id), entry.id, record))
        ids.add(entry.id)
        if len(newest) > room:
            ids.discard(heapq.heappop(newest)[1])
    newest.sort(key=lambda one: one[0], reverse=True)
    kept_of_day = [(entry_id, record) for _, entry_id, record in newest]
    return [one for one in kept_of_day if one[0] not in page.replaced], is_whole


def _found(page: _Page, older: str, *, is_cut: bool = False, partly: Sequence[str] = ()) -> Found:
    records = [record for _, record in page.found]
    return Found(records, [place for place, _ in page.found], older, is_cut, tuple(partly))


def _first_of(*places: str) -> str:
    """The earlier one of two places in the records; an empty one is none."""
    given = [place for place in places if place]
    return min(given, key=_place) if given else ""


def _place(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)


def _after(entry_id: str) -> str:
    ms, number = _place(entry_id)
    return f"{ms}-{number + 1}"


def when(place: str) -> datetime:
    """When the request at a place ended."""
    return datetime.fromtimestamp(_place(place)[0] / 1000, UTC)


def is_place(text: str) -> bool:
    """Whether a text can be `before` or `at` of search()."""
    ms, _, number = text.partition("-")
    return all(part.isascii() and part.isdigit() and len(part) < 15 for part in (ms, number))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
