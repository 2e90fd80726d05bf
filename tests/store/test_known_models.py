"""What the upstreams' lists say of their models, read by one process and known to all."""

import json
from datetime import UTC, datetime

import pytest

from relay.dialects import models
from relay.known_models import KnownModels
from relay.store import Store

NOW = datetime(2026, 11, 29, tzinfo=UTC)
ENTRY = {
    "id": "claude-new-9",
    "max_tokens": 4321,
    "lifecycle": "deprecated",
    "retires_at": "2026-12-20T00:00:00Z",
    "capabilities": {"structured_outputs": {"supported": False}, "citations": {"supported": True}},
}


def listed(*entries: object) -> bytes:
    return json.dumps({"data": entries, "has_more": False}).encode()


async def test_what_one_process_reads_every_process_knows(opened: Store):
    reader, other = KnownModels(opened), KnownModels(opened)
    await reader.learn("acc_1", listed(ENTRY))
    await other.follow()
    for process in (reader, other):
        known = process.find("claude-new-9")
        assert known is not None
        assert (known.traits.max_output, known.traits.structures) == (4321, False)
        assert known.lifecycle == "deprecated"
        assert known.retires_within(30, NOW)
        assert not known.retires_within(20, NOW)


async def test_an_account_s_own_list_comes_before_those_of_others(opened: Store):
    known = KnownModels(opened)
    await known.learn("acc_1", listed({**ENTRY, "max_tokens": 1}))
    await known.learn("acc_2", listed({**ENTRY, "max_tokens": 2}))
    assert known.traits("claude-new-9", "acc_1").max_output == 1
    assert known.traits("claude-new-9", "acc_2").max_output == 2
    assert known.traits("claude-opus-5") == models.traits("claude-opus-5")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("claude-new-9-20261101", "claude-new-9"),
        ("claude-new-9", "claude-new-9-20261101"),
        ("claude-new-9", "claude-new-9@20261101"),
        ("claude-new-9", "claude-new-9[1m]"),
        ("claude-new-9-20261101", "claude-new-9-latest"),
        ("claude-new-9", "us.anthropic.claude-new-9-20261101-v1:0"),
        ("anthropic.claude-new-9", "claude-new-9"),
    ],
)
async def test_a_model_is_found_by_its_other_spellings(opened: Store, name: str, asked: str):
    known = KnownModels(opened)
    await known.learn("acc_1", listed({**ENTRY, "id": name}))
    for account_id in ("acc_1", "acc_2"):
        assert known.traits(asked, account_id).max_output == 4321
    assert known.find("claude-new-9-1") is None
    assert known.find("claude-new") is None


async def test_a_name_as_it_stands_comes_before_its_other_spellings(opened: Store):
    known = KnownModels(opened)
    newer = {**ENTRY, "id": "claude-new-9-20261201", "max_tokens": 2}
    await known.learn("acc_1", listed(newer, {**ENTRY, "id": "claude-new-9-20261101"}))
    assert known.traits("claude-new-9-20261101", "acc_1").max_output == 4321
    assert known.traits("claude-new-9", "acc_1").max_output == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"data": null}',
        b'{"data": [1, null, {"id": 5}, {"id": ""}, {"id": "a\\nb"}]}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_list_of_models_leaves_what_is_known(opened: Store, answer: bytes):
    known = KnownModels(opened)
    await known.learn("acc_1", listed(ENTRY))
    await known.learn("acc_1", answer)
    assert known.find("claude-new-9") is not None


@pytest.mark.parametrize("retires_at", [None, "", "soon", 5, "9999-12-31T23:59:59-12:00", "nan"])
async def test_a_retirement_that_is_no_time_is_none(opened: Store, retires_at: object):
    known = KnownModels(opened)
    await known.learn("acc_1", listed({**ENTRY, "retires_at": retires_at}))
    assert not known.find("claude-new-9").retires_within(30, NOW)  # type: ignore[union-attr]


async def test_an_upstream_cannot_store_without_bound(opened: Store):
    known = KnownModels(opened)
    deep: dict[str, object] = {"supported": True}
    for _ in range(200):
        deep = {"supported": True, "types": deep, "x" * 1000: 1}
    entries = [
        {"id": f"m-{number}", "lifecycle": "a" * 1000, "capabilities": {"thinking": deep}}
        for number in range(5000)
    ]
    await known.learn("acc_1", listed(*entries))
    assert len(list(known.everywhere())) == 500
    assert len((await opened.models.lists())["acc_1"]) < 200_000


async def test_an_account_that_is_removed_takes_its_list_along(opened: Store):
    known = KnownModels(opened)
    await known.learn("acc_1", listed(ENTRY))
    await opened.accounts.remove("acc_1")
    assert await opened.models.lists() == {}
