"""Batches are money too: read before they are sent, held until they are booked, booked once."""

import json
from collections import Counter
from pathlib import Path

import pytest
import trio

from relay import batches, usage
from relay.simulator import Fault
from relay.store import name

from .conftest import SOON_S, UPSTREAM_KEY, Running, redis_process, redis_url
from .test_pool import two_relays

__all__ = ["redis_process", "redis_url"]

PATH = "/v1/messages/batches"
OPUS, HAIKU = "claude-opus-5", "claude-haiku-4-5"
USAGE = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "cache_read_input_tokens": 200,
    "cache_creation_input_tokens": 700,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 400},
}
# Half of 1000 x 5 + 100 x 25 + 200 x 0.5 + 300 x 6.25 + 400 x 10, twice; of the same at Haiku's.
OPUS_MICROS, HAIKU_MICROS = 13_475, 1_348


def batch_of(*models: str, **params: object) -> dict[str, object]:
    usual = {"max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    return {
        "requests": [
            {"custom_id": f"one-{number}", "params": {"model": model, **usual, **params}}
            for number, model in enumerate(models)
        ]
    }


async def make(relay: Running, key: str, body: object | None = None) -> str:
    async with relay.client(headers={"x-api-key": key}) as client:
        answer = await client.post(PATH, json=body or batch_of(OPUS, HAIKU, OPUS))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def look_now(relay: Running, *batch_ids: str) -> None:
    """Let the job look at batches whose time has not come yet."""
    for batch_id in batch_ids:
        await relay.ctx.store._db.call("ZADD", name("batches"), "XX", 0, batch_id)
    with trio.fail_after(SOON_S):
        await batches.poll(relay.ctx)


async def spend(relay: Running, scope: str = "relay") -> dict[str, int]:
    figures = await relay.ctx.store._db.hash(name("spend", scope))
    return {field: int(value) for field, value in figures.items()}


async def records(relay: Running) -> list[dict]:
    return [json.loads(one) for one in await relay.ctx.store.usage.records(100)]


@pytest.fixture
async def key(relay: Running) -> str:
    """A key with budgets; its batches use the figures above."""
    relay.sim.by_key[UPSTREAM_KEY] = Fault(usage=USAGE)
    _, text = await relay.ctx.keys.create("batcher", budgets={"total": "5", "daily": "5"})
    return text


async def test_a_batch_costs_half_of_what_its_results_say(relay: Running, key: str):
    batch_id = await make(relay, key)
    await look_now(relay, batch_id)
    found = {one["model_served"]: one for one in await records(relay)}
    assert {model: one["cost_micros"] for model, one in found.items()} == {
        OPUS: OPUS_MICROS,
        HAIKU: HAIKU_MICROS,
    }
    assert found[OPUS]["results"] == {"succeeded": 3, "errored": 0, "canceled": 0, "expired": 0}
    assert found[OPUS]["batch_id"] == batch_id
    total = (await relay.report()).total
    assert total["cost_micros"] == (await spend(relay))["total"] == OPUS_MICROS + HAIKU_MICROS
    assert (total["requests"], total["input_tokens"], total["cache_write_1h_tokens"]) == (
        1, 3000, 1200,
    )  # fmt: skip
    archive = usage.Archive(relay.ctx.settings.usage_folder)
    assert (await usage.verify(relay.ctx.store, archive)).differences == ()


async def test_a_batch_holds_its_reservation_without_a_slot_until_it_is_booked(
    relay: Running, key: str
):
    batch_id = await make(relay, key)
    await relay.settled()
    found = await relay.ctx.keys.find("batcher")
    held = await spend(relay, f"key:{found.id}")
    sizes = [len(json.dumps(one["params"], separators=(",", ":")))
             for one in batch_of(OPUS, HAIKU, OPUS)["requests"]]  # fmt: skip
    most = [relay.ctx.prices.most(model, size, 100)
            for model, size in zip((OPUS, HAIKU, OPUS), sizes, strict=True)]  # fmt: skip
    assert held["held_most"] == -(-(most[0] + most[2]) // 2) + -(-most[1] // 2)
    assert 0 < held["held_expected"] < held["held_most"]
    assert held[next(field for field in held if field.endswith(":requests"))] == 1
    await look_now(relay, batch_id)
    booked = await spend(relay, f"key:{found.id}")
    assert (booked["held_most"], booked["held_expected"]) == (0, 0)
    assert booked["total"] == OPUS_MICROS + HAIKU_MICROS


async def test_a_strict_budget_is_not_passed_by_batches_at_one_time(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(is_open_batch=True)
    body = batch_of(OPUS)
    size = len(json.dumps(body["requests"][0]["params"], separators=(",", ":")))  # type: ignore[index]
    one = -(-relay.ctx.prices.most(OPUS, size, 100) // 2)
    budget = f"{(5 * one + one // 2) / 1_000_000:.6f}"
    _, key = await relay.ctx.keys.create("strict", budgets={"daily": budget}, budget_mode="strict")
    codes: Counter[int] = Counter()

    async def ask() -> None:
        async with relay.client(headers={"x-api-key": key}) as client:
            codes[(await client.post(PATH, json=body)).status_code] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert codes == {200: 5, 429: 15}


async def test_a_batch_that_was_not_made_holds_nothing(relay: Running, key: str):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500)
    async with relay.client(headers={"x-api-key": key}) as client:
        assert (await client.post(PATH, json=batch_of(OPUS))).status_code == 500
    await relay.settled()
    found = await relay.ctx.keys.find("batcher")
    figures = await spend(relay, f"key:{found.id}")
    assert (figures["held_most"], figures["held_expected"]) == (0, 0)


async def test_whoever_sees_the_results_first_books_them_once(redis_url: str, tmp_path: Path):
    async with two_relays(redis_url, tmp_path) as (one, two):
        one.sim.by_key[UPSTREAM_KEY] = Fault(usage=USAGE)
        batch_id = await make(one, one.key)

        async def fetch(relay: Running) -> None:
            async with relay.client() as client:
                assert len((await client.get(f"{PATH}/{batch_id}/results")).text.split("\n")) >= 3

        async with trio.open_nursery() as nursery:
            for relay in (one, two, one, two):
                nursery.start_soon(fetch, relay)
                nursery.start_soon(look_now, relay, batch_id)
        assert (await spend(one))["total"] == OPUS_MICROS + HAIKU_MICROS
        assert len(await records(one)) == 2


async def test_a_batch_that_runs_is_left_open_and_a_cancelled_one_costs_nothing(
    relay: Running, key: str
):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(is_open_batch=True)
    batch_id = await make(relay, key)
    await look_now(relay, batch_id)
    assert await records(relay) == []
    async with relay.client(headers={"x-api-key": key}) as client:
        await client.post(f"{PATH}/{batch_id}/cancel")
    await look_now(relay, batch_id)
    (record,) = await records(relay)
    assert (record["cost_micros"], record["results"]["canceled"]) == (0, 3)


async def test_a_batch_is_booked_before_it_is_deleted(relay: Running, key: str):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(is_open_batch=True, usage=USAGE)
    batch_id = await make(relay, key)
    async with relay.client(headers={"x-api-key": key}) as client:
        refused = await client.delete(f"{PATH}/{batch_id}")
        assert (refused.status_code, "cancel it first" in refused.text) == (400, True)
        relay.sim.end_batches()
        assert (await client.delete(f"{PATH}/{batch_id}")).status_code == 200
    assert (await spend(relay))["total"] == OPUS_MICROS + HAIKU_MICROS


@pytest.mark.parametrize("how", ["old", "removed"])
async def test_a_batch_whose_results_nobody_can_have_is_booked_as_estimated(
    relay: Running, key: str, how: str
):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(is_open_batch=True)
    batch_id = await make(relay, key)
    await relay.settled()
    found = await relay.ctx.keys.find("batcher")
    expected = (await spend(relay, f"key:{found.id}"))["held_expected"]
    if how == "old":
        field = (name("batch", batch_id), "started_at")
        started = int(await relay.ctx.store._db.call("HGET", *field))
        await relay.ctx.store._db.call("HSET", *field, started - 29 * 86_400_000)
    else:
        await relay.ctx.accounts.remove("main")
    await look_now(relay, batch_id)
    kept = await records(relay)
    assert all(one["attempts"][0]["is_estimated"] for one in kept)
    assert sum(one["cost_micros"] for one in kept) == expected > 0
    assert (await spend(relay, f"key:{found.id}"))["held_expected"] == 0


async def test_every_model_of_a_batch_must_be_the_keys(relay: Running):
    _, key = await relay.ctx.keys.create("opus only", models=["claude-opus-*"])
    async with relay.client(headers={"x-api-key": key}) as client:
        answer = await client.post(PATH, json=batch_of(OPUS, HAIKU))
        assert (await client.post(PATH, json=batch_of(OPUS))).status_code == 200
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"requests[1].params.model: {HAIKU} is not")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"nothing", "not a JSON object"),
        (b"{}", "requests: this field is required"),
        (b'{"requests": 5}', "requests: must be a list"),
        (b'{"requests": []}', "requests: a batch has at least one"),
        (b'{"requests": [{"custom_id": "a"}]}', "requests[0].params: this field is required"),
        (b'{"requests": [{"params": {"max_tokens": 5}}]}', "requests[0].params.model: this field"),
        (b'{"requests": [{"params": {"model": "a", "model": "b"}}]}', "requests[0].params.model"),
        (b'{"requests": [], "requests": []}', "requests"),
        (b'{"requests": [{"params": {"model": "a\xff"}}]}', "requests[0]"),
    ],
)
async def test_a_batch_that_could_be_read_in_two_ways_is_not_sent(
    relay: Running, body: bytes, words: str
):
    async with relay.client() as client:
        answer = await client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert not [one for one in relay.sim.requests if one.method == "POST"]


async def test_what_cannot_be_bounded_is_refused_by_a_strict_budget_with_its_place(relay: Running):
    _, key = await relay.ctx.keys.create("strict", budgets={"total": "5"})
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    async with relay.client(headers={"x-api-key": key}) as client:
        answer = await client.post(PATH, json=batch_of(OPUS, tools=tools))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("requests[0].params.tools")


async def test_a_batch_of_many_requests_passes_byte_for_byte(relay: Running):
    body = json.dumps(batch_of(*([OPUS] * 2000), system="x" * 500)).encode()
    async with relay.client(timeout=30) as client:
        answer = await client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    (sent,) = [one for one in relay.sim.requests if one.method == "POST"]
    assert sent.body == body
