"""Requests are found in Redis and in the files of the days before, page by page, newest first."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.pricing import Tokens
from relay.store import Entry, Store
from relay.usage import Archive, Attempt, Record, Search, search, speed
from relay.usage.archive import tidy

NOW = datetime.now(UTC)


@pytest.fixture
def kept(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "usage")


def record(number: int, at: datetime, **changes: object) -> Record:
    attempt = Attempt(
        "acc_1", "north", "ok", 200, "", Tokens(input=5), 10, False, 100 + number, 200
    )
    made = Record(
        f"req_{number}", at.isoformat(), "key_1", "Kim", "session-1", "", "sdk/1", "anthropic",
        "claude-opus-5", "claude-opus-5", False, 200, "end_turn", "", "", 10, 100 + number, 200,
        (attempt,),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


async def put(
    store: Store, number: int, days_ago: float, *, state: str = "settled", replaces: str = "",
    **changes: object,
) -> str:  # fmt: skip
    """A record that was settled so long ago; its id."""
    at = NOW - timedelta(days=days_ago)
    ms = int(at.timestamp() * 1000)
    one = record(number, at, **changes)
    fields = ("record", one.to_json(), "at", ms, "model", one.model, "state", state, "replaces",
              replaces)  # fmt: skip
    added = await store._db.call("XADD", "{relay}:usage", f"{ms}-{number}", *fields)
    return str(added.decode())


async def in_files(store: Store, kept: Archive) -> None:
    await tidy(store, kept, retention_days=90, most_bytes=1)


async def found(
    store: Store, kept: Archive, most: int = 50, **wanted: object
) -> Sequence[Sequence[str]]:
    """The ids of each page of a search."""
    pages, before = [], ""
    while True:
        page = await search(store, kept, Search(**wanted), before=before, most=most)
        assert not page.is_cut
        pages.append([one.request_id for one in page.records])
        before = page.older
        if not before:
            return pages


async def test_requests_in_redis_and_in_files_are_told_newest_first_and_each_once(
    opened: Store, kept: Archive
):
    for number in range(6):
        await put(opened, number, 9 - number)
    await in_files(opened, kept)
    for number in range(6, 9):
        await put(opened, number, 9 - number)
    # A crash between the file and Redis' forgetting leaves a record in both.
    kept.append(await opened.usage.oldest(2))
    newest_first = [f"req_{number}" for number in reversed(range(9))]
    assert await found(opened, kept) == [newest_first]
    pages = await found(opened, kept, most=2)
    assert [one for page in pages for one in page] == newest_first
    assert [len(page) for page in pages[:4]] == [2, 2, 2, 2]


@pytest.mark.parametrize("is_in_files", [False, True])
async def test_requests_are_found_by_each_of_their_names(
    opened: Store, kept: Archive, is_in_files: bool
):
    await put(opened, 1, 3)
    await put(opened, 2, 2, key_name='Åse "quoted"', key_id="key_2", session="s-2", status=529,
              error="overloaded_error")  # fmt: skip
    await put(opened, 3, 1, model="claude-haiku-4-5", model_served="", status=None, error="gone")
    if is_in_files:
        await in_files(opened, kept)

    async def ids(**wanted: object) -> list[str]:
        return [one for page in await found(opened, kept, **wanted) for one in page]

    assert await ids(words="KIM") == ["req_3", "req_1"]
    assert await ids(words='åse "') == ["req_2"]
    assert await ids(words="529") == ["req_2"]
    assert await ids(key="key_2") == ["req_2"]
    assert await ids(account="NORTH", status=200) == ["req_1"]
    assert await ids(account="south") == []
    assert await ids(model="haiku") == ["req_3"]
    assert await ids(session="s-2") == ["req_2"]
    assert await ids(has_failed=True) == ["req_3", "req_2"]
    assert await ids(has_failed=False) == ["req_1"]
    assert await ids(request_id="req_2") == ["req_2"]
    assert await ids(request_id="req") == []
    # A word of the record's own form is none of its names.
    assert await ids(words="key_name") == []
    assert await ids(since=NOW - timedelta(days=2.5)) == ["req_3", "req_2"]
    assert await ids(until=NOW - timedelta(days=1.5)) == ["req_2", "req_1"]
    between = {"since": NOW - timedelta(days=2.5), "until": NOW - timedelta(days=1.5)}
    assert await ids(**between) == ["req_2"]


@pytest.mark.parametrize("is_in_files", [False, True])
async def test_an_estimate_that_was_replaced_is_told_by_its_replacement_alone(
    opened: Store, kept: Archive, is_in_files: bool
):
    await put(opened, 3, 1.02, state="recovered")
    estimate = await put(opened, 1, 1.01, state="recovered")
    await put(opened, 2, 1, replaces=estimate)
    if is_in_files:
        await in_files(opened, kept)
    assert await found(opened, kept) == [["req_2", "req_3"]]


async def test_a_search_whose_time_is_over_says_where_it_goes_on(opened: Store, kept: Archive):
    for number in range(4):
        await put(opened, number, 9 - number)
    await in_files(opened, kept)
    await put(opened, 4, 1)
    wanted = Search(request_id="req_0")
    first = await search(opened, kept, wanted, patience_s=0)
    assert (first.records, first.is_cut) == ([], True)
    assert first.older
    rest = await search(opened, kept, wanted, before=first.older)
    assert [one.request_id for one in rest.records] == ["req_0"]


async def test_a_day_that_is_too_long_is_named_and_passed_over(
    opened: Store, kept: Archive, monkeypatch: pytest.MonkeyPatch
):
    await put(opened, 1, 2.0)
    await put(opened, 2, 1.0)
    await in_files(opened, kept)
    monkeypatch.setattr("relay.usage.searching._LOOK_EVERY", 1)
    (older, newer) = kept.days()

    class Slow(Archive):
        def lines(self, day: str) -> Iterator[Entry]:
            for entry in super().lines(day):
                time.sleep(0.4)
                yield entry

    found = await search(opened, Slow(kept.folder), Search(), patience_s=0.3)
    assert (found.is_cut, found.partly) == (True, (newer,))
    rest = await search(opened, kept, Search(), before=found.older)
    assert [one.request_id for one in rest.records] == ["req_1"]
    assert older < newer


async def test_the_speed_is_that_of_the_last_requests(opened: Store):
    assert (await speed(opened, timedelta(hours=1))).p50_ms is None
    await put(opened, 500, 2)
    for number in range(100):
        await put(opened, number, (100 - number) / 1e6)
    told = await speed(opened, timedelta(hours=1))
    assert (told.count, told.p50_ms, told.p99_ms) == (100, 149, 198)
