"""What grows with requests takes no more than its share of Redis' memory; the oldest goes first."""

import json
import re
import time
from pathlib import Path

import pytest

from relay import store
from relay.store import SHARES, Booking, Store, name
from relay.store.names import NAMES
from relay.store.shares import Share

from .conftest import RedisProcess
from .test_store import KEY, with_account, with_key

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
OPUS = "claude-opus-5"


async def settled(ready: Store, lease: str, model: str = OPUS, decision: bytes = b"{}") -> None:
    """A request that ran at the key and the account of test_store."""
    await ready.leases.admit(lease, "p", "key_1", "h1", kind="messages", model=model)
    counters = {("acc_1", model, "requests"): 1, ("acc_1", model, "cost_micros"): 7}
    await ready.leases.settle(Booking(lease, "settled", model, counters, b"{}", decision))


@pytest.fixture
async def ready(opened: Store) -> Store:
    await with_account(opened)
    await with_key(opened)
    return opened


async def test_a_key_begins_so_many_series_in_a_month_and_loses_no_cent(ready: Store):
    for number in range(130):
        await settled(ready, f"req_{number}", f"model-{number}")
    month = time.strftime("%Y-%m", time.gmtime())
    labels = await ready._db.hash(name("series", month))
    models = [label.split("|")[2] for label in labels if label[0] != "#"]
    assert len(models) == 101
    assert models.count("other") == 1
    day = time.strftime("%Y-%m-%d", time.gmtime())
    (counted,) = await ready.usage.counted([day])
    assert sum(cell.amounts["cost_micros"] for cell in counted.cells) == 130 * 7
    assert {cell.model: cell.amounts["requests"] for cell in counted.cells}["other"] == 30


async def test_another_keys_series_are_its_own(ready: Store):
    for number in range(110):
        await settled(ready, f"req_{number}", f"model-{number}")
    await ready.keys.add("key_2", {**KEY, "name": "bob", "hash": "h2"})
    await ready.leases.admit("req_b", "p", "key_2", "h2", kind="messages", model=OPUS)
    await ready.leases.settle(
        Booking("req_b", "settled", OPUS, {("acc_1", OPUS, "requests"): 1}, b"{}")
    )
    month = time.strftime("%Y-%m", time.gmtime())
    assert f"key_2|acc_1|{OPUS}" in await ready._db.hash(name("series", month))


async def test_a_decision_is_found_as_long_as_it_is_kept(ready: Store):
    await settled(ready, "req_1", decision=b'{"new": 1}')
    assert json.loads(await ready.usage.decision("req_1") or b"") == {"new": 1}
    assert await ready.usage.decision("req_2") is None
    week_old = name("decisions", str(int(time.time() // 600) - 1007))
    await ready._db.call("HSET", week_old, "req_old", "old")
    assert await ready.usage.decision("req_old") == b"old"


async def test_a_decision_of_an_earlier_release_is_found_too(ready: Store):
    await ready._db.call("SET", name("decision", "req_before"), "before")
    assert await ready.usage.decision("req_before") == b"before"


async def test_decisions_are_forgotten_after_a_week(ready: Store):
    await settled(ready, "req_1")
    (bucket,) = await ready._db.call("KEYS", name("decisions", "*"))
    assert 6.9 * 86_400 < int(await ready._db.call("TTL", bucket)) <= 7 * 86_400


@pytest.mark.parametrize(
    "share", [share for share in SHARES if share.buckets], ids=lambda share: share.kind
)
async def test_the_oldest_of_a_share_goes_first(own_redis: RedisProcess, share: Share):
    async with store.opened(own_redis.url) as own_store:
        await trimmed(own_store, share)


async def trimmed(own_store: Store, share: Share) -> None:
    assert share.buckets is not None
    buckets = list(share.buckets(time.time()))[:4]
    for bucket in buckets:
        for field in range(100):
            await own_store._db.call("HSET", bucket, str(field), "x" * 1000)
    size = int(await own_store._db.call("MEMORY", "USAGE", buckets[0], "SAMPLES", "0"))
    most = round(2.5 * size * 100 / share.percent)
    await own_store._db.call("CONFIG", "SET", "maxmemory", max(most, 100_000_000))
    part = most / max(most, 100_000_000)
    assert await own_store.usage.trim_shares(part) == 2
    left = [bool(await own_store._db.call("EXISTS", bucket)) for bucket in buckets]
    assert left == [True, True, False, False]


def test_the_shares_leave_room_for_everything_else():
    assert sum(share.percent for share in SHARES) <= 80


def test_every_kind_of_key_says_in_the_docs_what_bounds_it():
    rows = re.findall(r"^\| `([a-z_]+)`(?:, `([a-z_]+)`)*", DOCS, re.MULTILINE)
    told = {kind for row in rows for kind in re.findall(r"`([a-z_]+)`", " ".join(
        f"`{one}`" for one in row if one))}  # fmt: skip
    cells = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", DOCS, re.MULTILINE)
    told |= {kind for cell in cells for kind in re.findall(r"`([a-z_]+)`", cell)}
    assert set(NAMES) <= told


def test_the_docs_name_the_shares():
    for share in SHARES:
        assert f"| `{share.kind}` | {share.percent} % |" in DOCS
