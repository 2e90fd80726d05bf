"""Records that Redis has no room for lie in files; whatever breaks in between, none is lost."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from relay.store import Entry, RedisAway, Store
from relay.usage import Archive, UsageProblem, archive
from relay.usage.archive import booked, tidy, visit

from .conftest import RedisProcess
from .ledger import OPUS, Ledger

NOW = datetime.now(UTC)
LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)
EVERYTHING = 1


async def some(store: Store, ledger: Ledger, count: int, *, days_ago: int) -> list[str]:
    """Records that were settled days ago: their ids."""
    await ledger.used()
    record = (await store.usage.records(1))[0]
    (newest,) = await store.usage.newest_first(1)
    await store._db.call("XDEL", "{relay}:usage", newest.id)
    ms = int((NOW - timedelta(days=days_ago)).timestamp() * 1000)
    fields = ("record", record, "at", ms, "model", OPUS, "state", "settled", "replaces", "")
    return [
        (await store._db.call("XADD", "{relay}:usage:draft", f"{ms}-{number}", *fields)).decode()
        for number in range(count)
    ]


async def aged(store: Store, ledger: Ledger, *days: int) -> list[str]:
    """Two records from each of so many days ago, the oldest first: their ids."""
    ids = [one for ago in sorted(days, reverse=True)
           for one in await some(store, ledger, 2, days_ago=ago)]  # fmt: skip
    await store._db.call("RENAME", "{relay}:usage:draft", "{relay}:usage")
    return ids


async def in_redis(store: Store) -> list[str]:
    return [entry.id for entry in await store.usage.oldest(1000)]


def in_files(kept: Archive) -> list[str]:
    return [entry.id for day in kept.days() for entry in kept.read(day)]


async def found(store: Store, kept: Archive) -> Counter[str]:
    """How often each record is handed to a reader."""
    ids: Counter[str] = Counter()

    def take(entry: Entry) -> None:
        assert booked(entry).key_id == "key_1"
        ids[entry.id] += 1

    await visit(store, kept, LONG_AGO, take)
    return ids


async def test_what_is_beyond_redis_share_moves_to_the_files_of_its_days(
    ledger: Ledger, kept: Archive
):
    ids = await aged(ledger.store, ledger, 3, 2, 1)
    before = await ledger.store.usage.oldest(100)
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == []
    assert kept.days() == [f"{NOW - timedelta(days=ago):%Y-%m-%d}" for ago in (3, 2, 1)]
    assert [entry for day in kept.days() for entry in kept.read(day)] == before
    assert await found(ledger.store, kept) == Counter(ids)


async def test_redis_keeps_the_newest_that_fit(ledger: Ledger, kept: Archive):
    ids = await aged(ledger.store, ledger, *range(1, 41))
    size, _ = await ledger.store.usage.size()
    await tidy(ledger.store, kept, retention_days=90, most_bytes=size + 1)
    assert kept.days() == []
    await tidy(ledger.store, kept, retention_days=90, most_bytes=size // 2)
    left = await in_redis(ledger.store)
    assert 20 <= len(left) <= 40
    assert left == ids[-len(left) :]
    assert in_files(kept) == ids[: -len(left)]


async def test_a_days_file_grows_with_each_move(ledger: Ledger, kept: Archive):
    ids = await aged(ledger.store, ledger, 1)
    entries = await ledger.store.usage.oldest(10)
    kept.append(entries[:1])
    kept.append(entries[1:])
    assert in_files(kept) == ids


@pytest.mark.parametrize("call", ["fsync", "replace"])
async def test_a_crash_before_the_file_stands_leaves_all_in_redis(
    ledger: Ledger, kept: Archive, monkeypatch: pytest.MonkeyPatch, call: str
):
    ids = await aged(ledger.store, ledger, 1)
    kept.append((await ledger.store.usage.oldest(10))[:1])

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(*((os, "fsync", crash) if call == "fsync" else (Path, "replace", crash)))
        with pytest.raises(OSError, match="no space"):
            await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == ids
    assert await found(ledger.store, kept) == Counter(ids)
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await found(ledger.store, kept) == Counter(ids)


async def test_a_crash_before_redis_forgets_leaves_doubles_that_readers_drop(
    ledger: Ledger, kept: Archive, monkeypatch: pytest.MonkeyPatch
):
    ids = await aged(ledger.store, ledger, 2, 1)

    async def crash(_: str) -> None:
        await trio.lowlevel.checkpoint()
        raise RedisAway("killed")

    with monkeypatch.context() as broken:
        broken.setattr(ledger.store.usage, "forget", crash)
        with pytest.raises(RedisAway):
            await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == in_files(kept) == ids
    assert await found(ledger.store, kept) == Counter(ids)
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == []
    assert await found(ledger.store, kept) == Counter(ids)


async def test_records_that_move_while_somebody_reads_are_found_once(
    ledger: Ledger, kept: Archive, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archive, "_READ_AT_ONCE", 2)
    ids = await aged(ledger.store, ledger, 3, 2, 1)
    read = ledger.store.usage.newest_first

    async def read_and_move(*given: object) -> list[Entry]:
        page = await read(*given)  # type: ignore[arg-type]
        await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
        return page

    monkeypatch.setattr(ledger.store.usage, "newest_first", read_and_move)
    assert await found(ledger.store, kept) == Counter(ids)


async def test_records_past_the_retention_go_from_redis_and_from_the_files(
    ledger: Ledger, kept: Archive
):
    ids = await aged(ledger.store, ledger, *range(8, 0, -1))
    kept.append(await ledger.store.usage.oldest(8))
    await ledger.store.usage.forget(ids[7])
    await tidy(ledger.store, kept, retention_days=6, most_bytes=10**9)
    # The day in which the retention ends is still there as a whole.
    assert in_files(kept) == ids[4:8]
    assert await in_redis(ledger.store) == ids[8:]
    since = await archive.kept_since(ledger.store)
    assert abs(since - (datetime.now(UTC) - timedelta(days=6))) < timedelta(minutes=1)


async def test_a_longer_retention_does_not_pretend_to_have_more(ledger: Ledger, kept: Archive):
    for days in (1, 90):
        await tidy(ledger.store, kept, retention_days=days, most_bytes=10**9)
    assert await archive.kept_since(ledger.store) > datetime.now(UTC) - timedelta(days=1, minutes=1)


async def test_of_two_processes_one_moves(ledger: Ledger, kept: Archive):
    ids = await aged(ledger.store, ledger, 1)
    assert await ledger.store.lock("usage", "another", 60_000)
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == ids
    await ledger.store.unlock("usage", "another")
    # Even one that was paused past its lock in Redis holds the folder's.
    with kept.locked() as is_ours:
        assert is_ours
        await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
        assert await in_redis(ledger.store) == ids
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    assert await in_redis(ledger.store) == []


async def test_a_damaged_file_is_named(ledger: Ledger, kept: Archive):
    await aged(ledger.store, ledger, 1)
    await tidy(ledger.store, kept, retention_days=90, most_bytes=EVERYTHING)
    (day,) = kept.days()
    path = kept.folder / f"{day}.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageProblem, match=f"{day}.jsonl.gz is damaged"):
        await found(ledger.store, kept)


async def test_the_usual_share_is_two_fifths_of_what_redis_may_have(own_redis: RedisProcess):
    from relay import store

    async with store.opened(own_redis.url) as opened:
        assert await opened.usage.share_bytes() == 256 * 2**20
        own_redis.command(b"CONFIG SET maxmemory 100mb\r\n")
        assert await opened.usage.share_bytes() == 40 * 2**20
