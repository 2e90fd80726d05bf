"""Batches when something goes wrong, and what they cost at every scope; as the SDK sees them."""

import json
import math
from datetime import UTC, datetime

import anthropic
import httpx
import pytest
import trio

from relay import batches
from relay.batches.polling import LONGEST_MS
from relay.simulator import Fault
from relay.store import name

from .conftest import BODY, SOON_S, UPSTREAM_KEY, Running, redis_process, redis_url

__all__ = ["redis_process", "redis_url"]
PATH = "/v1/messages/batches"
USAGE = {
    "input_tokens": 101,
    "output_tokens": 7,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
}
# claude-opus-5 by hand, USD per million: 5 in, 25 out, 0.5 read, 6.25 and 10 for cache writes:
# 505 + 175 + 500 + 62.5 + 200 = 1442.5 micro-dollars a request; half of it in a batch.
HALF_OF_THREE = 2164  # ceil(3 x 1442.5 / 2 = 2163.75)


def body_of(count: int, **changes: object) -> dict:
    params = {**BODY, **changes}
    return {"requests": [{"custom_id": f"n{i}", "params": params} for i in range(count)]}


async def make(
    relay: Running, key: str, body: object, fault: Fault | None = None
) -> httpx.Response:
    if fault is not None:
        relay.sim.script.append(fault)
    async with relay.client(headers={"x-api-key": key}, timeout=30) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.post(PATH, content=content)


async def made(relay: Running, key: str, body: object, **fault: object) -> str:
    # Not in the script: a check of the account would take it from there.
    relay.sim.always = Fault(**{"usage": USAGE, **fault})
    answer = await make(relay, key, body)
    relay.sim.always = None
    assert answer.status_code == 200, answer.text
    await relay.settled()
    return answer.json()["id"]


async def call(relay: Running, key: str, method: str, rest: str) -> httpx.Response:
    async with relay.client(headers={"x-api-key": key}) as client:
        return await client.request(method, f"{PATH}/{rest}")


async def is_due(relay: Running, batch_id: str) -> None:
    await relay.ctx.store.batches.look_again(batch_id, 0)


async def polled(relay: Running, batch_id: str) -> None:
    await is_due(relay, batch_id)
    await batches.poll(relay.ctx)


async def budgeted(relay: Running, **settings: object) -> tuple[str, str]:
    given = {"budgets": {"total": "5"}, "owner": "team", **settings}
    one, key = await relay.ctx.keys.create("budgeted", **given)
    return one.id, key


async def spent(relay: Running, scope: str) -> dict[str, int]:
    found = await relay.ctx.store._db.hash(name("spend", scope))
    names = ("total", "held_most", "held_expected")
    return {one: int(found.get(one, 0)) for one in names}


async def records(relay: Running) -> list[dict]:
    found = [json.loads(one) for one in await relay.ctx.store.usage.records(100)]
    return [one for one in reversed(found) if one["kind"] == "batch"]


def most_of(relay: Running, body: dict) -> int:
    """What a strict budget holds: half of the most of each request."""
    each = [one["params"] for one in body["requests"]]
    prices = relay.ctx.prices
    sizes = [(one["model"], len(json.dumps(one)), one["max_tokens"]) for one in each]
    return -(-sum(prices.most(*size) for size in sizes) // 2)


async def booked(relay: Running) -> None:
    with trio.fail_after(SOON_S):
        while not await records(relay):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_batch_is_booked_to_the_micro_dollar_and_its_reservation_is_free(relay: Running):
    (account,) = await relay.ctx.accounts.list()
    await relay.ctx.accounts.edit("main", budgets={"daily": "5"})
    key_id, key = await budgeted(relay)
    body = body_of(3)
    batch_id = await made(relay, key, body, is_open_batch=True)
    most = most_of(relay, body)
    assert (await spent(relay, f"key:{key_id}"))["held_most"] == most
    assert (await spent(relay, f"account:{account.id}"))["held_most"] == most
    assert await relay.ctx.store.batches.open_count(account.id) == 1
    await polled(relay, batch_id)
    assert await records(relay) == []
    relay.sim.end_batches()
    await polled(relay, batch_id)
    free = {"total": HALF_OF_THREE, "held_most": 0, "held_expected": 0}
    assert await spent(relay, f"key:{key_id}") == free
    assert await spent(relay, f"account:{account.id}") == free
    for scope in ("relay", "owner:team"):
        assert (await spent(relay, scope))["total"] == HALF_OF_THREE
    (row,) = (await relay.report()).rows
    assert (row.model, row.counters["requests"]) == ("claude-opus-5", 1)
    assert row.counters["cost_micros"] == HALF_OF_THREE
    assert row.counters["cache_write_1h_tokens"] == 60
    (record,) = await records(relay)
    assert record["batch_id"] == batch_id
    assert record["results"] == {"succeeded": 3, "errored": 0, "canceled": 0, "expired": 0}
    assert await relay.ctx.store.batches.open_count(account.id) == 0


async def test_models_are_rounded_each_by_itself_and_errors_cost_nothing(relay: Running):
    body = body_of(1)
    body["requests"] += [
        {"custom_id": "haiku", "params": {**BODY, "model": "claude-haiku-4-5"}},
        {"custom_id": "bad", "params": {**BODY, "messages": []}},
    ]
    await polled(relay, await made(relay, relay.key, body))
    found = await records(relay)
    costs = {one["model_served"]: one["cost_micros"] for one in found}
    # 1442.5 / 2 = 721.25; haiku has a fifth of the price: 144.25.
    assert costs == {"claude-opus-5": 722, "claude-haiku-4-5": 145}
    assert found[0]["results"]["errored"] == 1
    assert (await relay.report()).total["requests"] == 1


async def test_a_soft_budget_holds_what_is_expected(relay: Running):
    key_id, key = await budgeted(relay, budgets={"daily": "5"}, budget_mode="soft")
    body = body_of(4)
    await made(relay, key, body, is_open_batch=True)
    tokens = 4 * (len(json.dumps(body["requests"][0]["params"])) // 4)
    # A new key is expected to use a tenth of its max_tokens, at $25 a million; a batch costs half.
    output = 4 * BODY["max_tokens"] * 25 / 10
    expected = math.ceil((tokens * 5 + output) / 2)
    assert (await spent(relay, f"key:{key_id}"))["held_expected"] == expected


async def test_a_batch_counts_once_and_looking_at_it_does_not(relay: Running):
    _, key = await budgeted(relay, budgets={}, daily=1, rate="1/60", tokens_per_minute=10)
    batch_id = await made(relay, key, body_of(2))
    for _ in range(3):
        assert (await call(relay, key, "GET", batch_id)).status_code == 200
    assert (await make(relay, key, body_of(1))).status_code == 429


async def test_whoever_fetches_the_results_books_the_batch(relay: Running):
    batch_id = await made(relay, relay.key, body_of(3))
    fetched = await call(relay, relay.key, "GET", f"{batch_id}/results")
    assert len(fetched.text.splitlines()) == 3
    await booked(relay)
    assert (await records(relay))[0]["cost_micros"] == HALF_OF_THREE


async def test_a_claim_of_a_process_that_died_ends_and_the_next_books(relay: Running):
    batch_id = await made(relay, relay.key, body_of(3))
    await is_due(relay, batch_id)
    table = relay.ctx.store.batches
    assert await table.due(4, 30_000) == [batch_id]
    assert await table.due(4, 30_000) == []
    await is_due(relay, batch_id)
    await batches.poll(relay.ctx)
    # The process died between the booking and its own notice of it: all of it runs again.
    batch = await table.read(batch_id)
    assert batch is not None
    assert not await batches.book_estimated(relay.ctx, batch, "again")
    assert not await table.keep(batch)
    assert (await spent(relay, "relay"))["total"] == HALF_OF_THREE


async def test_a_batch_outlives_the_lease_that_died_before_it_was_kept(relay: Running):
    key_id, key = await budgeted(relay)
    store = relay.ctx.store
    ref = await relay.ctx.keys.authenticate([(b"x-api-key", key.encode())])
    reading = batches.Reading(2, {"claude-opus-5": (2, 50, 20)}, {}, 4000)
    async with relay.ctx.leases.admit("req_died", ref, reading.call(b"/")) as lease:
        await store._db.call("ZADD", name("leases"), 1, lease.id)
        relay.ctx.leases._open.clear()
        with trio.fail_after(SOON_S):
            while await store.leases.count():
                await relay.ctx.leases.recover()
        assert (await spent(relay, f"key:{key_id}"))["held_most"] == 0
        await batches.keep(relay.ctx, lease, reading, b'{"id": "msgbatch_late"}')
    assert (await spent(relay, f"key:{key_id}"))["held_most"] == 4000
    await polled(relay, "msgbatch_late")
    assert await spent(relay, f"key:{key_id}") == {
        "total": 50,
        "held_most": 0,
        "held_expected": 0,
    }


async def test_a_batch_that_cannot_be_booked_now_is_not_deleted(relay: Running):
    batch_id = await made(relay, relay.key, body_of(3))
    relay.sim.script += [Fault(), Fault(cut_at=300, of_body=True)]
    assert (await call(relay, relay.key, "DELETE", batch_id)).status_code == 503
    assert await records(relay) == []
    assert (await call(relay, relay.key, "DELETE", batch_id)).status_code == 200
    assert (await records(relay))[0]["cost_micros"] == HALF_OF_THREE


@pytest.mark.parametrize("why", ["not_ended", "results_gone", "account_removed"])
async def test_what_nobody_can_tell_any_more_is_booked_as_expected(relay: Running, why: str):
    key_id, key = await budgeted(relay, budgets={"daily": "5"}, budget_mode="soft")
    batch_id = await made(relay, key, body_of(4), is_open_batch=True)
    expected = (await spent(relay, f"key:{key_id}"))["held_expected"]
    batch = await relay.ctx.store.batches.read(batch_id)
    assert batch is not None
    started = batch.started_at_ms
    if why == "not_ended":
        started -= LONGEST_MS
        await relay.ctx.store._db.call("HSET", name("batch", batch_id), "started_at", started)
    elif why == "results_gone":
        relay.sim.script.append(Fault(status=404))
    else:
        await relay.ctx.accounts.remove("main")
        await relay.ctx.keys.delete("budgeted")
    await polled(relay, batch_id)
    (record,) = await records(relay)
    assert (record["error"], record["cost_micros"]) == (why, expected)
    assert record["attempts"][0]["is_estimated"]
    figures = {"total": expected, "held_most": 0, "held_expected": 0}
    assert await spent(relay, f"key:{key_id}") == figures
    made_at = datetime.fromtimestamp(started / 1000, UTC)
    assert record["time"][:10] == made_at.date().isoformat()
    counted_today = (await relay.report()).total["estimated"]
    assert counted_today == (why != "not_ended")


async def test_trouble_at_the_account_books_nothing_yet(relay: Running):
    batch_id = await made(relay, relay.key, body_of(3))
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500)
    await polled(relay, batch_id)
    assert await records(relay) == []
    relay.sim.by_key.clear()
    await polled(relay, batch_id)
    assert (await records(relay))[0]["cost_micros"] == HALF_OF_THREE


async def test_an_account_that_maps_a_model_gets_no_batch_of_it(relay: Running):
    await relay.ctx.accounts.edit("main", model_map={"claude-opus-5": "other"})
    answer = await make(relay, relay.key, body_of(1))
    assert answer.status_code == 400
    assert "other names" in answer.json()["error"]["message"]
    await relay.ctx.accounts.add("plain", secret=UPSTREAM_KEY, base_url=relay.sim.base_url)
    assert (await make(relay, relay.key, body_of(1))).status_code == 200


async def test_one_account_serves_all_models_of_a_batch(relay: Running):
    await relay.ctx.accounts.edit("main", allowed_models=["claude-opus-*"])
    body = body_of(1)
    body["requests"].append({"custom_id": "b", "params": {**BODY, "model": "claude-haiku-4-5"}})
    answer = await make(relay, relay.key, body)
    assert answer.status_code == 404
    assert "claude-haiku-4-5" in answer.json()["error"]["message"]


async def test_the_sdk_makes_follows_and_reads_a_batch_within_a_budget(relay: Running):
    key_id, key = await budgeted(relay)
    relay.sim.script.append(Fault(usage=USAGE))

    def with_sdk() -> list[str]:
        client = anthropic.Anthropic(api_key=key, base_url=relay.url, max_retries=0)
        made = client.messages.batches.create(requests=body_of(3)["requests"])
        assert client.messages.batches.retrieve(made.id).processing_status == "ended"
        return [line.custom_id for line in client.messages.batches.results(made.id)]

    assert await trio.to_thread.run_sync(with_sdk) == ["n0", "n1", "n2"]
    await booked(relay)
    free = {"total": HALF_OF_THREE, "held_most": 0, "held_expected": 0}
    assert await spent(relay, f"key:{key_id}") == free


async def test_a_batch_is_kept_although_its_client_left_before_the_answer(relay: Running):
    relay.sim.script.append(Fault(usage=USAGE, delay_s=0.2))
    with trio.move_on_after(SOON_S) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make, relay, relay.key, body_of(3))
            await relay.sim_got_a_request()
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    await relay.settled()
    async with relay.client() as client:
        (found,) = (await client.get(PATH)).json()["data"]
    await polled(relay, found["id"])
    assert (await records(relay))[0]["cost_micros"] == HALF_OF_THREE
