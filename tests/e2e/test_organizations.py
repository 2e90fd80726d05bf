"""Accounts of one workspace are equal, and a conversation's thinking stays in its organisation."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from relay.simulator import Fault
from relay.simulator.state import Place

from .conftest import BODY, OTHER_KEYS, UPSTREAM_KEY, Running
from .test_homes import made, send

LIMITED = Fault(status=429, headers={"retry-after": "30"}, error_type="rate_limit_error")
FIRST, SECOND, THIRD = UPSTREAM_KEY, *OTHER_KEYS
NAMES = {FIRST: "main", SECOND: "more2", THIRD: "more3"}
THINKING = {**BODY, "model": "claude-sonnet-5-5", "thinking": {"type": "adaptive"}}
NUMBERS = itertools.count()


@pytest.fixture
async def three(relay: Running) -> AsyncIterator[Running]:
    """A relay whose three accounts have one organisation each."""
    for secret in OTHER_KEYS:
        await relay.ctx.accounts.add(NAMES[secret], secret=secret, base_url=relay.sim.base_url)
    yield relay
    relay.sim.by_key.clear()


async def known(relay: Running, **places: Place) -> None:
    """Put the accounts where the names say, and let the relay hear of it."""
    for secret in (FIRST, SECOND, THIRD):
        relay.sim.places[secret] = places[NAMES[secret]]
    async with relay.client() as client:
        for _ in range(12):
            await client.post("/v1/messages", json=_turns())
    await relay.settled()
    found = {one.name: (one.organization, one.workspace) for one in await relay.ctx.accounts.list()}
    assert found == {name: (at.organization, at.workspace) for name, at in places.items()}


def _turns(*said: dict[str, Any]) -> dict[str, Any]:
    first = {"role": "user", "content": f"question {next(NUMBERS)}"}
    return {**THINKING, "messages": [first, *said]}


async def conversation(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """A request that goes on from an answer in which the model thought."""
    body = {**_turns(), **more}
    answer = await client.post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["content"][0]["type"] == "thinking"
    turn = {"role": "assistant", "content": answer.json()["content"]}
    return {**body, "messages": [*body["messages"], turn, {"role": "user", "content": "and?"}]}


def last_used(relay: Running) -> str:
    return relay.sim.requests[-1].header("x-api-key")


A, B = Place("org-a", "ws-a"), Place("org-b", "ws-b")
A2 = Place("org-a", "ws-a2")


async def test_what_lives_at_an_account_is_served_by_another_of_its_workspace(three: Running):
    await known(three, main=A, more2=A, more3=B)
    async with three.client() as client:
        fields = await made(three, client, "container")
        while last_used(three) == THIRD:
            fields = await made(three, client, "container")
        home = last_used(three)
        three.sim.by_key[home] = LIMITED
        for _ in range(3):
            assert (await send(client, fields)).status_code == 200
            assert {home, last_used(three)} == {FIRST, SECOND}


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-5-5"])
async def test_a_conversation_that_thought_moves_within_its_organisation_alone(
    three: Running, model: str
):
    await known(three, main=A, more2=A2, more3=B)
    async with three.client() as client:
        body = await conversation(client, model=model)
        while last_used(three) == THIRD:
            body = await conversation(client, model=model)
        home = last_used(three)
        other = ({FIRST, SECOND} - {home}).pop()
        three.sim.by_key[home] = LIMITED
        assert (await client.post("/v1/messages", json=body)).status_code == 200
        assert last_used(three) == other
        three.sim.by_key[other] = LIMITED
        failed = await client.post("/v1/messages", json=body)
        sent = len(three.sim.requests)
        refused = await client.post("/v1/messages", json=body)
        assert len(three.sim.requests) == sent
        changed = await client.post("/v1/messages", json={**body, "model": "claude-opus-5-5"})
        free = await client.post("/v1/messages", json=_turns())

    assert failed.status_code == 429
    assert (refused.status_code, changed.status_code, free.status_code) == (503, 503, 200)
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert "one organisation alone can read" in refused.json()["error"]["message"]


async def test_thinking_of_an_organisation_that_is_unknown_stays_at_its_account(three: Running):
    async with three.client() as client:
        body = await conversation(client)
        home = last_used(three)
        await three.settled()
        three.sim.by_key[home] = LIMITED
        assert (await client.post("/v1/messages", json=body)).status_code == 429
        assert (await client.post("/v1/messages", json=body)).status_code == 503


async def test_a_conversation_goes_on_where_its_organisation_has_no_account_any_more(
    three: Running,
):
    async with three.client() as client:
        body = await conversation(client)
        await three.settled()
        await three.ctx.accounts.remove(NAMES[last_used(three)])
        assert (await client.post("/v1/messages", json=body)).status_code == 200


@pytest.mark.parametrize("kind", ["alias", "batch"])
async def test_names_of_an_account_s_own_and_batches_are_held_as_well(three: Running, kind: str):
    for name in NAMES.values():
        await three.ctx.accounts.edit(name, model_map={"our-best": "claude-sonnet-5-5"})
    model = "our-best" if kind == "alias" else "claude-sonnet-5-5"
    async with three.client() as client:
        body = await conversation(client, model=model)
        home = last_used(three)
        await three.settled()
        three.sim.by_key[home] = LIMITED
        assert (await client.post("/v1/messages", json=body)).status_code == 429
        if kind == "alias":
            answer = await client.post("/v1/messages", json=body)
        else:
            requests = [{"custom_id": "a", "params": body}]
            answer = await client.post("/v1/messages/batches", json={"requests": requests})
    assert answer.status_code == 503
    assert "one organisation alone can read" in answer.json()["error"]["message"]


async def test_thinking_that_every_organisation_reads_binds_nobody(three: Running):
    async with three.client() as client:
        body = await conversation(client, model="claude-opus-5-5")
        await three.settled()
        three.sim.by_key[last_used(three)] = LIMITED
        assert (await client.post("/v1/messages", json=body)).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_of_a_thousand_requests_with_thinking_none_leaves_its_organisation(
    three: Running, stream: bool
):
    await known(three, main=A, more2=A2, more3=B)
    wandered: list[str] = []
    organization = {FIRST: "a", SECOND: "a", THIRD: "b"}

    async with three.client(limits=httpx.Limits(max_connections=20)) as client:

        async def talk(number: int) -> None:
            body = {**_turns(), "stream": stream}
            at = ""
            for _ in range(25):
                answer = await client.post("/v1/messages", json=body)
                assert answer.status_code == 200, answer.text
                served = answer.headers["anthropic-organization-id"]
                if at and served != at:
                    wandered.append(served)
                at = at or served
                signature = answer.text.rpartition('"signature": "')[2].partition('"')[0]
                thought = {"type": "thinking", "thinking": "…", "signature": signature}
                turn = {"role": "assistant", "content": [thought]}
                # Another beginning each time: no affinity, the signature alone decides.
                body = {**_turns(turn, {"role": "user", "content": "on"}), "stream": stream}

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(talk, number)
    assert not wandered
    used = {organization[request.header("x-api-key")] for request in three.sim.requests}
    assert used == {"a", "b"}


@pytest.mark.parametrize("kept", [True, False], ids=["begun before", "new"])
async def test_a_conversation_prefers_its_workspace_then_its_organisation(
    three: Running, kept: bool
):
    await known(three, main=A, more2=B, more3=A2)
    accounts = three.ctx.accounts
    await accounts.edit("main", priority=1)
    await accounts.edit("more2", priority=2)
    await accounts.edit("more3", priority=3)
    body = {**BODY, "messages": [{"role": "user", "content": "the same"}]}
    async with three.client() as client:
        if kept:
            await client.post("/v1/messages", json=body)
        three.sim.by_key[FIRST] = LIMITED
        await client.post("/v1/messages", json=body)
    # Only what a conversation has at its account outweighs the operator's priorities.
    assert last_used(three) == (THIRD if kept else SECOND)


async def test_a_new_secret_makes_it_unknown_where_an_account_belongs(three: Running):
    await known(three, main=A, more2=A, more3=B)
    changed = await three.ctx.accounts.edit("main", secret=SECOND)
    assert (changed.organization, changed.workspace) == ("", "")
