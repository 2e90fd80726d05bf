"""Strict budgets hold for all that a request names, and no number at one time passes them."""

import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, SOON_S, UPSTREAM_KEY, Running, redis_process, redis_url
from .everything import DEAREST, EVERYTHING, held_by, usd
from .shapes import SHAPES, Shape
from .test_limits import ask, limited
from .test_pool import two_relays

__all__ = ["redis_process", "redis_url"]

BODIES = {"everything": json.dumps({**BODY, **EVERYTHING}), "plain": json.dumps(BODY)}


@pytest.mark.parametrize("is_held", [True, False], ids=["all at once", "as they end"])
async def test_two_hundred_at_once_pass_no_strict_budget_whatever_they_name(
    redis_url: str, tmp_path: Path, is_held: bool
):
    body = BODIES["everything"]
    async with two_relays(redis_url, tmp_path) as (one, two):
        await one.add_accounts()
        budget = 5 * held_by(one.ctx.prices, body) + 1
        key = await limited(one, budgets={"total": usd(budget)}, budget_mode="strict")
        codes: Counter[int] = Counter()
        headers = {
            "x-api-key": key,
            "content-type": "application/json",
            "anthropic-sim-usage": json.dumps(DEAREST),
        }

        async def one_request(client: httpx.AsyncClient) -> None:
            answer = await client.post("/v1/messages", content=body, headers=headers)
            codes[answer.status_code] += 1

        async with (
            one.client(timeout=60) as first,
            two.client(timeout=60) as second,
            AsyncExitStack() as stack,
            trio.open_nursery() as nursery,
        ):
            if is_held:
                await stack.enter_async_context(one.sim.hold())
            for number in range(200):
                nursery.start_soon(one_request, (first, second)[number % 2])
            with trio.fail_after(6 * SOON_S):
                while is_held and codes[429] < 195:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await stack.aclose()
        await one.settled()
        spent = (await one.report()).total["cost_micros"]
        assert codes.keys() == {200, 429}
        assert codes[200] == 5 if is_held else codes[200] >= 5
        # It is nearly spent, and not by a micro-dollar more.
        assert budget * 0.7 < spent <= budget


@pytest.mark.parametrize("what", BODIES)
async def test_a_strict_budget_holds_the_most_that_a_request_can_cost(relay: Running, what: str):
    body = BODIES[what]
    for missing, status in ((1, 429), (0, 200)):
        name = f"{what} {missing}"
        await relay.ctx.keys.create(
            name, budgets={"total": usd(held_by(relay.ctx.prices, body) - missing)}
        )
        _, key = await relay.ctx.keys.rotate(name, 0)
        assert (await ask(relay, key, body)).status_code == status


@pytest.mark.parametrize(
    ("geos", "is_global"),
    [(("", ""), False), (("global", ""), False), (("global", "us"), False),
     (("global", "global"), True)],
)  # fmt: skip
async def test_less_is_held_where_every_account_is_known_to_serve_everywhere(
    relay: Running, geos: tuple[str, str], is_global: bool
):
    base_url = relay.sim.base_url
    await relay.ctx.accounts.add("second", secret="second-secret", base_url=base_url)
    for name, geo in zip(("main", "second"), geos, strict=True):
        await relay.ctx.accounts.edit(name, inference_geo=geo)
    body = BODIES["plain"]
    held = held_by(relay.ctx.prices, body, is_global=True)
    assert held < held_by(relay.ctx.prices, body)
    key = await limited(relay, budgets={"total": usd(held)})
    assert (await ask(relay, key, body)).status_code == (200 if is_global else 429)


async def test_an_account_with_a_strict_budget_takes_nothing_that_cannot_be_bounded(relay: Running):
    body = json.dumps({**BODY, "mcp_servers": [{"type": "url", "url": "https://x", "name": "a"}]})
    assert (await ask(relay, relay.key, body)).status_code == 200
    await relay.ctx.accounts.edit("main", budgets={"daily": "50", "mode": "strict"})
    answer = await ask(relay, relay.key, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("mcp_servers: the accounts")
    assert (await ask(relay, relay.key)).status_code == 200
    await relay.ctx.accounts.add("second", secret="second-secret", base_url=relay.sim.base_url)
    assert (await ask(relay, relay.key, body)).status_code == 200


async def test_a_request_that_nothing_bounds_does_not_move_to_a_strict_account(relay: Running):
    body = json.dumps({**BODY, "mcp_servers": [{"type": "url", "url": "https://x", "name": "a"}]})
    await relay.ctx.accounts.edit("main", priority=1)
    await relay.ctx.accounts.add(
        "second", secret="second-secret", base_url=relay.sim.base_url,
        budgets={"daily": "50", "mode": "strict"},
    )  # fmt: skip
    relay.sim.script.append(Fault(status=529))
    await ask(relay, relay.key, body)
    assert {request.header("x-api-key") for request in relay.sim.requests} == {UPSTREAM_KEY}
    assert (await ask(relay, relay.key)).status_code == 200


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_what_real_clients_send_passes_a_strict_budget(relay: Running, shape: Shape):
    """Claude Code leaves `safeguards` out, as its protocol says, once a 400 names it."""
    key = await limited(relay, budgets={"total": "50"}, budget_mode="strict")
    headers = {**shape.headers, "x-api-key": key, "content-type": "application/json"}
    fields = json.loads(shape.body)
    async with relay.client() as client:
        if "safeguards" in fields:
            refused = await client.post(shape.path, content=shape.body, headers=headers)
            error = refused.json()["error"]
            assert (refused.status_code, error["type"]) == (400, "invalid_request_error")
            assert error["message"].startswith("safeguards: ")
            assert not relay.sim.requests
            del fields["safeguards"]
        answer = await client.post(shape.path, json=fields, headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(relay.sim.requests) == 1


async def test_a_thread_that_nothing_bounds_is_refused_so_that_clients_send_all_of_it(
    relay: Running,
):
    key = await limited(relay, budgets={"total": "50"}, budget_mode="strict")
    headers = {"x-api-key": key}
    async with relay.client() as client:
        body = {**BODY, "thread": {"type": "create"}}
        first = await client.post("/v1/messages", json=body, headers=headers)
        thread = {"type": "continue", "previous_message_id": first.json()["id"]}
        await relay.settled()
        answer = await client.post("/v1/messages", json={**BODY, "thread": thread}, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["details"]["error_code"] == "thread_unsupported_request"
    assert error["message"].startswith("thread: this API key has a strict budget")


PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}


async def test_a_strict_budget_holds_a_whole_context_for_what_is_read_elsewhere(relay: Running):
    turns = [{"role": "user", "content": [PICTURE]}]
    body = json.dumps({**BODY, "messages": turns})
    # A million tokens into an hour's cache of Opus 5, in the US.
    assert held_by(relay.ctx.prices, body) > 11_000_000
    for missing, status in ((1, 429), (0, 200)):
        key = await limited(
            relay, budgets={"total": usd(held_by(relay.ctx.prices, body) - missing)}
        )
        assert (await ask(relay, key, body)).status_code == status
        await relay.ctx.keys.delete("limited")
