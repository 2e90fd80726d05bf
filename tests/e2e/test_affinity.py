"""A conversation stays with the account that holds its prompt cache."""

import json
from collections import Counter

import pytest

from relay.simulator import Fault

from .conftest import BODY, OTHER_KEYS, Running

SESSION = "x-claude-code-session-id"


@pytest.fixture
async def three(relay: Running) -> Running:
    """A relay with three equal accounts."""
    for number, secret in enumerate(OTHER_KEYS, 2):
        await relay.ctx.accounts.add(
            f"account-{number}", secret=secret, base_url=relay.sim.base_url
        )
    return relay


async def ask(relay: Running, body: dict = BODY, key: str = "", **headers: str) -> None:
    async with relay.client() as client:
        given = {"x-api-key": key or relay.key, **headers}
        answer = await client.post("/v1/messages", json=body, headers=given)
    assert answer.status_code == 200


def served(relay: Running) -> Counter[str]:
    """How often each account was asked."""
    return Counter(one.header("x-api-key") for one in relay.sim.requests)


def saying(text: str, system: str = "be brief", later: str = "") -> dict:
    turns = [{"role": "user", "content": text}]
    if later:
        turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": later}]
    return {**BODY, "system": system, "messages": turns}


async def test_a_session_stays_with_its_account(three: Running):
    for number in range(6):
        await ask(three, saying(f"turn {number}"), **{SESSION: "s1"})
    assert list(served(three).values()) == [6]


async def test_sessions_are_told_by_the_metadata_as_well(three: Running):
    for number in range(6):
        user_id = json.dumps({"session_id": "s1", "device_id": f"d{number}"})
        await ask(three, {**saying(f"turn {number}"), "metadata": {"user_id": user_id}})
    assert list(served(three).values()) == [6]


async def test_a_conversation_without_a_session_is_told_by_how_it_begins(three: Running):
    for number in range(6):
        await ask(three, saying("the first question", later=f"question {number}"))
    assert list(served(three).values()) == [6]


async def test_different_sessions_spread_over_the_accounts(three: Running):
    for number in range(30):
        await ask(three, **{SESSION: f"s{number}"})
    assert sorted(served(three).values()) == [10, 10, 10]


async def test_a_key_cannot_steer_another_keys_conversation(three: Running):
    _, other = await three.ctx.keys.create("bob")
    await ask(three, **{SESSION: "s1"})
    for _ in range(2):
        await ask(three, key=other, **{SESSION: "s1"})
    assert sorted(served(three).values()) == [1, 2]


async def test_a_conversation_moves_when_its_account_fails_and_stays_where_it_moved(
    three: Running,
):
    await ask(three, **{SESSION: "s1"})
    first = three.sim.requests[-1].header("x-api-key")
    three.sim.by_key[first] = Fault(status=429, headers={"retry-after": "60"})
    await ask(three, **{SESSION: "s1"})
    second = three.sim.requests[-1].header("x-api-key")
    three.sim.by_key.clear()
    for account in await three.ctx.accounts.list():
        await three.ctx.accounts.reset(account.name)
    await ask(three, **{SESSION: "s1"})
    assert second != first
    assert three.sim.requests[-1].header("x-api-key") == second
    assert (await three.report()).total["affinity_moves"] == 1


async def test_a_conversation_moves_when_its_account_is_disabled(three: Running):
    await ask(three, **{SESSION: "s1"})
    record = json.loads((await three.ctx.store.usage.records(1))[0])
    await three.ctx.accounts.set_enabled(record["attempts"][0]["account_id"], enabled=False)
    await ask(three, **{SESSION: "s1"})
    assert len(served(three)) == 2
    assert (await three.report()).total["affinity_moves"] == 1
