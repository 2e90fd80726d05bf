"""What an answer costs, end to end: each figure below was worked out by hand from the price list.

USD per million tokens are micro-dollars per token: Opus 5 takes 5 for input, 25 for output, 0.50
for a cache read, 6.25 and 10 for cache writes of five minutes and of an hour. A search is a cent.
Haiku 5.5 takes 0.10, 0.50 and 0.01, and five times that for prompts of more than 100,000 tokens.
"""

import json
from pathlib import Path

import pytest

from relay import jobs
from relay.simulator import Fault
from relay.usage import Archive, verify

from .conftest import BODY, Running, redis_process, redis_url, relay_running
from .receiver import receiving

__all__ = ["redis_process", "redis_url"]

OPUS, HAIKU = "claude-opus-5", "claude-haiku-5-5"


def usage(
    input_tokens: int = 0,
    output: int = 0,
    *,
    read: int = 0,
    write_5m: int = 0,
    write_1h: int = 0,
    searches: int = 0,
) -> dict:
    """Usage as the API reports it."""
    figures: dict = {
        "input_tokens": input_tokens,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write_5m + write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": write_5m,
            "ephemeral_1h_input_tokens": write_1h,
        },
    }
    if searches:
        figures["server_tool_use"] = {"web_search_requests": searches}
    return figures


ADVISOR = {"type": "advisor_message", "model": "claude-fable-5-2",
           "input_tokens": 60_000, "output_tokens": 1600}  # fmt: skip
COMPACTION = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500}

CASES = [
    # 1000 * 5 + 200 * 25
    (OPUS, usage(1000, 200), 10_000),
    # 101 * 0.50 = 50.5
    (OPUS, usage(read=101), 51),
    # 3 * 6.25 = 18.75
    (OPUS, usage(write_5m=3), 19),
    # 7 * 10
    (OPUS, usage(write_1h=7), 70),
    # 2 * 10,000
    (OPUS, usage(searches=2), 20_000),
    # 6170 + 14,175 + 4450.5 + 14,656.25 + 6780 + 30,000 = 76,231.75
    (OPUS, usage(1234, 567, read=8901, write_5m=2345, write_1h=678, searches=3), 76_232),
    # A prompt of 100,000: 90,000 * 0.10 + 10,000 * 0.01 + 11 * 0.50 = 9105.5
    (HAIKU, usage(90_000, 11, read=10_000), 9_106),
    # A prompt of 100,001: 90,001 * 0.50 + 10,000 * 0.05 + 11 * 2.50 = 45,528
    (HAIKU, usage(90_001, 11, read=10_000), 45_528),
    # 90,000 * 0.50 + 5000 * 0.625 + 5001 * 1 + 4 * 2.50 = 53,136
    (HAIKU, usage(90_000, 4, write_5m=5000, write_1h=5001), 53_136),
    # Fast and in the US: 2 * 1.1 * (1000 * 5 + 200 * 25)
    (OPUS, {**usage(1000, 200), "speed": "fast", "inference_geo": "us"}, 22_000),
    # An advisor's 60,000 at 8 and 1600 at 40 (Fable 5.2), beside 1000 * 5 + 200 * 25
    (OPUS, {**usage(1000, 200), "iterations": [ADVISOR]}, 10_000 + 544_000),
    # A compaction's 180,000 at 5 and 3500 at 25
    (OPUS, {**usage(1000, 200), "iterations": [COMPACTION]}, 10_000 + 987_500),
]


async def check(relay: Running, cost_micros: int, *, is_estimated: bool = False) -> dict:
    """The record, the report and what every scope has spent say the same. Returns the attempt."""
    total = (await relay.report()).total
    assert (total["cost_micros"], total["requests"]) == (cost_micros, 1)
    (record,) = [json.loads(one) for one in await relay.ctx.store.usage.records(10)]
    (attempt,) = record["attempts"]
    assert record["cost_micros"] == attempt["cost_micros"] == cost_micros
    assert attempt["is_estimated"] is is_estimated
    for scope in (f"key:{record['key_id']}", f"account:{attempt['account_id']}", "relay"):
        figures = await relay.ctx.store._db.hash("{relay}:spend:" + scope)
        assert int(figures["total"]) == cost_micros
    return dict(attempt)


@pytest.mark.parametrize("form", ["json", "gzip", "stream"])
@pytest.mark.parametrize(("model", "figures", "cost_micros"), CASES)
async def test_an_answer_costs_what_the_price_list_says(
    relay: Running, model: str, figures: dict, cost_micros: int, form: str
):
    body = {**BODY, "model": model, "stream": form == "stream"}
    headers = {
        "anthropic-sim-usage": json.dumps(figures),
        "accept-encoding": "gzip" if form == "gzip" else "identity",
    }
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json=body, headers=headers)
    assert answer.status_code == 200
    await check(relay, cost_micros)


async def test_a_multiplier_counts_for_everything(redis_url: str, tmp_path: Path):
    figures = usage(10, 4, read=10, searches=1)
    async with relay_running(redis_url, tmp_path, price_multiplier="1.1") as relay:
        async with relay.client() as client:
            headers = {"anthropic-sim-usage": json.dumps(figures)}
            await client.post("/v1/messages", json=BODY, headers=headers)
        # (50 + 100 + 5 + 10,000) * 1.1 = 11,170.5
        await check(relay, 11_171)


async def test_a_stream_that_breaks_off_costs_what_was_told_and_a_floor_of_what_came(
    relay: Running,
):
    figures = usage(1000, 90, read=200, write_5m=8, write_1h=3)
    headers = {
        "anthropic-sim-usage": json.dumps(figures),
        "anthropic-sim-text": "x" * 400,
        "anthropic-sim-chunks": "4",
    }
    # After the second of four deltas.
    relay.sim.script.append(Fault(error_event="overloaded_error", after_events=5))
    async with relay.client() as client:
        await client.post("/v1/messages", json={**BODY, "stream": True}, headers=headers)
    # 200 characters are 50 tokens: 5000 + 1250 + 100 + 50 + 30
    attempt = await check(relay, 6_430, is_estimated=True)
    assert attempt["tokens"]["output"] == 50


HOP = {"type": "message", "model": "claude-fable-5-2", "input_tokens": 100, "output_tokens": 10}
FALLEN_BACK = {"type": "fallback_message", "model": OPUS, "input_tokens": 1000,
               "output_tokens": 200}  # fmt: skip
# By model: input and output tokens, micro-dollars.
BY_MODEL = [
    (
        {**usage(1000, 200), "iterations": [ADVISOR, COMPACTION]},
        # 1000 * 5 + 200 * 25, the compaction's with it; 60,000 * 8 + 1600 * 40
        {OPUS: (181_000, 3700, 997_500), "claude-fable-5-2": (60_000, 1600, 544_000)},
    ),
    (
        {**usage(1000, 200), "iterations": [HOP, FALLEN_BACK]},
        # 100 * 8 + 10 * 40
        {OPUS: (1000, 200, 10_000), "claude-fable-5-2": (100, 10, 1200)},
    ),
]


@pytest.mark.parametrize("form", ["json", "stream"])
@pytest.mark.parametrize(("figures", "expected"), BY_MODEL)
async def test_each_model_of_an_answer_counts_for_what_it_cost(
    relay: Running, figures: dict, expected: dict, form: str, tmp_path: Path
):
    body = {**BODY, "model": OPUS, "stream": form == "stream"}
    async with relay.client() as client:
        await client.post(
            "/v1/messages", json=body, headers={"anthropic-sim-usage": json.dumps(figures)}
        )
    names = ("input_tokens", "output_tokens", "cost_micros")
    rows = (await relay.report()).rows
    assert {row.model: tuple(row.counters[one] for one in names) for row in rows} == expected
    await check(relay, sum(cost for _, _, cost in expected.values()))
    assert (await verify(relay.ctx.store, Archive(tmp_path))).differences == ()


async def test_a_record_names_the_parts_of_a_bill_and_what_the_relay_does_not_know(relay: Running):
    figures = {**usage(10, 4), "iterations": [ADVISOR], "hologram_tokens": 7}
    async with relay.client() as client:
        headers = {"anthropic-sim-usage": json.dumps(figures)}
        await client.post("/v1/messages", json=BODY, headers=headers)
    attempt = await check(relay, 10 * 5 + 4 * 25 + 544_000 + 7 * 25)
    own, advisor = attempt["parts"]
    assert (own["kind"], own["unknown_tokens"], own["tokens"]["input"]) == ("message", 7, 10)
    assert (advisor["kind"], advisor["model"]) == ("advisor_message", "claude-fable-5-2")
    assert attempt["tokens"]["input"] == 60_010
    assert attempt["remarks"] == ["usage.hologram_tokens: the relay does not know this field"]


async def test_what_the_relay_cannot_price_is_told_to_the_webhooks_once(
    redis_url: str, tmp_path: Path
):
    async with (
        receiving() as receiver,
        relay_running(redis_url, tmp_path, webhooks=(receiver.webhook(),)) as relay,
    ):
        job = next(one for one in jobs.table(relay.ctx) if one.name == "remarks")
        async with relay.client() as client:
            for _ in range(2):
                headers = {"anthropic-sim-usage": json.dumps({**usage(1), "hologram_tokens": 7})}
                body = {**BODY, "model": "claude-opus-9"}
                await client.post("/v1/messages", json=body, headers=headers)
                await relay.settled()
                await job.run()
        taken = await receiver.got(2)
        await relay.ctx.alerts.add("report", "the last one")
        taken = await receiver.got(3)
    told = [(one.json["event"], one.json["data"].get("subject")) for one in taken]
    assert sorted(told, key=str) == [
        ("price_unknown", "claude-opus-9"),
        ("report", None),
        ("usage_unknown", "usage.hologram_tokens"),
    ]
