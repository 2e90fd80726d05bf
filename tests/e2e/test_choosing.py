"""Which account serves: settings, turns, headroom, and the record of why."""

import json
import uuid
from collections import Counter
from pathlib import Path

import pytest
import trio

from relay.simulator import Fault
from relay.store import name

from .conftest import BODY, OTHER_KEYS, SOON_S, UPSTREAM_KEY, Running, relay_running

SECOND, THIRD = OTHER_KEYS
NAMES = {UPSTREAM_KEY: "main", SECOND: "second", THIRD: "third"}


async def add(relay: Running, secret: str, **settings: object) -> None:
    await relay.ctx.accounts.add(
        NAMES[secret], secret=secret, base_url=relay.sim.base_url, **settings
    )


async def ask(relay: Running, key: str = "", model: str = "claude-opus-5") -> tuple[int, dict]:
    """A request of a conversation of its own; its status and its answer's headers."""
    headers = {"x-claude-code-session-id": uuid.uuid4().hex, "x-api-key": key or relay.key}
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "model": model}, headers=headers)
    return answer.status_code, dict(answer.headers)


def served(relay: Running) -> Counter[str]:
    """How often each account was asked."""
    return Counter(NAMES[str(one.header("x-api-key"))] for one in relay.sim.requests)


async def decision(relay: Running, request_id: str) -> dict:
    await relay.settled()
    found = await relay.ctx.store.usage.decision(request_id)
    assert found is not None
    return json.loads(found)


async def test_the_best_priority_serves_alone(relay: Running):
    await add(relay, SECOND, priority=10)
    for _ in range(5):
        await ask(relay)
    assert served(relay) == {"second": 5}


async def test_the_next_priority_serves_while_the_best_rests(relay: Running):
    await add(relay, SECOND, priority=10)
    relay.sim.by_key[SECOND] = Fault(status=429, headers={"retry-after": "30"})
    for _ in range(5):
        assert (await ask(relay))[0] == 200
    assert served(relay) == {"second": 1, "main": 5}


async def test_a_full_account_is_passed_over(relay: Running):
    await add(relay, SECOND, priority=10, max_concurrency=1)
    async with trio.open_nursery() as nursery:
        async with relay.sim.hold():
            for _ in range(3):
                nursery.start_soon(ask, relay)
            with trio.fail_after(SOON_S):
                while len(relay.sim.requests) < 3:  # noqa: ASYNC110
                    await trio.sleep(0.005)
        assert served(relay) == {"second": 1, "main": 2}


async def test_when_all_stay_full_the_client_is_told_to_come_back(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, wait_s=0.05) as relay:
        await relay.ctx.accounts.edit("main", max_concurrency=1)
        async with trio.open_nursery() as nursery, relay.sim.hold():
            nursery.start_soon(ask, relay)
            await relay.sim_got_a_request()
            status, headers = await ask(relay)
            assert (status, headers["retry-after"]) == (529, "1")
        assert len(relay.sim.requests) == 1


async def test_an_account_serves_only_its_models(relay: Running):
    await add(relay, SECOND, priority=10, allowed_models=["claude-haiku-*"])
    await ask(relay, model="claude-opus-5")
    await ask(relay, model="claude-haiku-4-5")
    assert served(relay) == {"main": 1, "second": 1}


async def test_a_model_that_no_account_serves_is_not_found(relay: Running):
    await relay.ctx.accounts.edit("main", allowed_models=["claude-haiku-*"])
    assert (await ask(relay))[0] == 404
    assert not relay.sim.requests


async def test_a_mapped_model_changes_that_one_value_of_the_body_alone(relay: Running):
    await relay.ctx.accounts.edit(
        "main", allowed_models=["claude-haiku-*"], model_map={"claude-opus-5": "claude-sonnet-5"}
    )
    turns = '[{"role":"user","content":"claude-opus-5"}]'
    body = f'{{"messages": {turns},\n "model" : "claude-opus-5", "max_tokens":5}}'
    async with relay.client() as client:
        headers = {"content-type": "application/json"}
        answer = await client.post("/v1/messages", content=body, headers=headers)
    assert answer.status_code == 200
    expected = body.replace('"model" : "claude-opus-5"', '"model" : "claude-sonnet-5"')
    assert relay.sim.requests[0].body.decode() == expected


async def test_a_key_of_a_group_is_served_by_the_groups_accounts_alone(relay: Running):
    await add(relay, SECOND, groups=["research", "night"])
    _, key = await relay.ctx.keys.create("bob", groups=["research"])
    for _ in range(4):
        await ask(relay, key)
    assert served(relay) == {"second": 4}
    _, lost = await relay.ctx.keys.create("carol", groups=["nobody"])
    assert (await ask(relay, lost))[0] == 503


async def test_equal_accounts_take_turns(relay: Running):
    await add(relay, SECOND)
    await add(relay, THIRD)
    for _ in range(30):
        await ask(relay)
    assert served(relay) == {"main": 10, "second": 10, "third": 10}


async def test_weights_are_shares(relay: Running):
    await add(relay, SECOND, weight=2)
    await add(relay, THIRD, weight=3)
    for _ in range(36):
        await ask(relay)
    assert served(relay) == {"main": 6, "second": 12, "third": 18}


async def test_an_account_that_comes_back_is_not_flooded_to_catch_up(relay: Running):
    await add(relay, SECOND)
    await relay.ctx.accounts.set_enabled("second", enabled=False)
    for _ in range(10):
        await ask(relay)
    await relay.ctx.accounts.set_enabled("second", enabled=True)
    relay.sim.requests.clear()
    for _ in range(10):
        await ask(relay)
    assert served(relay) == {"main": 5, "second": 5}


async def test_an_account_that_is_slow_gets_no_more_than_its_share_and_a_half(relay: Running):
    await add(relay, SECOND)
    async with trio.open_nursery() as nursery, relay.sim.hold():
        relay.sim.by_key[SECOND] = Fault(delay_s=0.0)
        for _ in range(20):
            nursery.start_soon(ask, relay)
        with trio.fail_after(SOON_S):
            while len(relay.sim.requests) < 20:  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert max(served(relay).values()) <= 17


async def test_an_account_near_its_upstreams_limit_is_spared(relay: Running):
    await add(relay, SECOND)
    quota = {
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "100",
        "anthropic-ratelimit-tokens-reset": "2099-01-01T00:00:00Z",
    }
    relay.sim.by_key[UPSTREAM_KEY] = Fault(headers=quota)
    plenty = {**quota, "anthropic-ratelimit-tokens-remaining": "900"}
    relay.sim.by_key[SECOND] = Fault(headers=plenty)
    for _ in range(2):
        await ask(relay)
    await relay.settled()
    account = await relay.ctx.accounts.find("main")
    assert account.headroom == pytest.approx(0.1)
    relay.sim.requests.clear()
    for _ in range(24):
        await ask(relay)
        await relay.settled()
    assert served(relay)["main"] == pytest.approx(4, abs=1)


async def test_a_limit_that_names_a_class_of_models_rests_that_class_alone(relay: Running):
    words = "This request would exceed the rate limit of your organization for Claude Opus."
    relay.sim.script.append(Fault(status=429, headers={"retry-after": "30"}, message=words))
    assert (await ask(relay, model="claude-opus-5"))[0] == 429
    status, headers = await ask(relay, model="claude-opus-4-5")
    assert (status, headers["retry-after"]) == (429, "30")
    assert (await ask(relay, model="claude-haiku-4-5"))[0] == 200
    account = await relay.ctx.accounts.find("main")
    assert (account.state, account.class_states) == ("ok", {"opus": "cooling"})


async def test_a_class_of_models_comes_back_as_an_account_does(relay: Running):
    words = "rate limit of opus"
    relay.sim.script.append(Fault(status=429, headers={"retry-after": "30"}, message=words))
    await ask(relay)
    account = await relay.ctx.accounts.find("main")
    key = name("account", account.id)
    await relay.ctx.store._db.call("HSET", key, "state_until:opus", 1)
    assert (await ask(relay))[0] == 200
    await relay.settled()
    assert (await relay.ctx.accounts.find("main")).class_states == {}


async def test_a_request_from_before_the_rest_does_not_end_it(relay: Running):
    """A stream that began well and ends while its account rests says nothing of the present."""
    async with trio.open_nursery() as nursery:
        async with relay.sim.hold():
            nursery.start_soon(ask, relay)
            await relay.sim_got_a_request()
            relay.sim.script.append(Fault(status=429, headers={"retry-after": "30"}))
            account = await relay.ctx.accounts.find("main")
            lease = (await relay.ctx.store._db.call("ZRANGE", name("leases"), 0, -1))[0].decode()
            fields = ["state", "cooling", "state_until", "4102444800000"]
            await relay.ctx.store._db.call("HSET", name("account", account.id), *fields)
        relay.sim.script.clear()
    assert lease
    await relay.settled()
    assert (await relay.ctx.accounts.find("main")).state == "cooling"


async def test_failures_of_one_moment_count_as_one(relay: Running):
    """Twenty requests that meet the same limit lengthen no cooldown."""
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=429, headers={"retry-after": "10"})
    async with trio.open_nursery() as nursery, relay.sim.hold():
        for _ in range(20):
            nursery.start_soon(ask, relay)
        with trio.fail_after(SOON_S):
            while len(relay.sim.requests) < 20:  # noqa: ASYNC110
                await trio.sleep(0.005)
    await relay.settled()
    account = await relay.ctx.accounts.find("main")
    assert account.until is not None
    assert account.since is not None
    assert (account.until - account.since).total_seconds() == pytest.approx(10, abs=2)


async def test_the_decision_tells_who_was_skipped_and_why(relay: Running):
    await add(relay, SECOND, groups=["x"], max_concurrency=1)
    await add(relay, THIRD, allowed_models=["claude-haiku-*"])
    await relay.ctx.accounts.set_enabled("second", enabled=False)
    _, headers = await ask(relay)
    why = await decision(relay, headers["request-id"])
    assert why["skipped"] == {"disabled": ["second"], "model": ["third"]}
    assert (why["candidates"], why["chosen"]) == (1, "main")
    assert [attempt["outcome"] for attempt in why["attempts"]] == ["ok"]


async def test_answers_name_their_account_to_a_key_that_may_know_it(relay: Running):
    _, key = await relay.ctx.keys.create("bob", shows_account=True)
    assert (await ask(relay, key))[1]["x-relay-account"] == "main"
    assert "x-relay-account" not in (await ask(relay))[1]


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=429)])
async def test_a_list_of_models_comes_from_another_account_when_one_fails(
    relay: Running, fault: Fault
):
    await add(relay, SECOND)
    relay.sim.script.append(fault)
    async with relay.client() as client:
        answer = await client.get("/v1/models")
    assert answer.status_code == 200
    assert len(relay.sim.requests) == 2


async def test_a_mapped_models_price_is_what_a_strict_budget_reserves(relay: Running):
    """An account's name for the model is dearer than the model: the reservation knows it."""
    await relay.ctx.accounts.edit("main", model_map={"claude-opus-5": "claude-opus-4-1"})
    body = json.dumps(BODY)
    most = [relay.ctx.prices.most(model, len(body), BODY["max_tokens"])
            for model in ("claude-opus-5", "claude-opus-4-1")]  # fmt: skip
    assert most[1] > most[0]
    _, key = await relay.ctx.keys.create(
        "strict", budgets={"total": f"{(most[1] - 1) / 1_000_000:.6f}"}, budget_mode="strict"
    )
    _, other = await relay.ctx.keys.create(
        "enough", budgets={"total": f"{most[1] / 1_000_000:.6f}"}, budget_mode="strict"
    )
    async with relay.client() as client:
        for text, status in ((key, 429), (key, 429), (other, 200)):
            given = {"x-api-key": text, "content-type": "application/json"}
            answer = await client.post("/v1/messages", content=body, headers=given)
            assert answer.status_code == status
    await relay.settled()
    assert int((await relay.ctx.store._db.hash(name("spend", "relay")))["total"]) <= most[1]


async def test_a_failing_account_is_not_left_for_one_whose_model_costs_more_than_is_reserved(
    relay: Running,
):
    await relay.ctx.accounts.edit("main", priority=1)
    await relay.ctx.accounts.add(
        "dear", secret=OTHER_KEYS[0], base_url=relay.sim.base_url, priority=2,
        model_map={"claude-opus-5": "claude-opus-4-1"},
    )  # fmt: skip
    for status in (503, 200):
        relay.sim.by_key[UPSTREAM_KEY] = Fault(status=503)
        async with relay.client() as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == status
        await relay.settled()
        await relay.ctx.accounts.reset("main")
