"""What lives in one account keeps its requests there: containers, threads, credits and files."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, OTHER_KEYS, UPSTREAM_KEY, Running

LIMITED = Fault(status=429, headers={"retry-after": "30"}, error_type="rate_limit_error")
KINDS = ("container", "thread", "credit", "file")


@pytest.fixture
async def three(relay: Running) -> AsyncIterator[Running]:
    """A relay with three accounts, each of a workspace of its own."""
    await relay.add_accounts()
    yield relay
    relay.sim.by_key.clear()


async def made(
    relay: Running, client: httpx.AsyncClient, kind: str, *, stream: bool = False
) -> Any:
    """The fields by which a request names something that an answer, or an upload, made."""
    if kind == "file":
        answer = await client.post("/v1/files", files={"file": ("a.txt", b"text")})
        source = {"type": "file", "file_id": answer.json()["id"]}
        return {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}
    extra = {"container": {"container": {}}, "thread": {"thread": {"type": "create"}}, "credit": {}}
    if kind == "credit":
        relay.sim.script.append(Fault(refusal="cyber"))
    body = {**BODY, **extra[kind], "messages": [{"role": "user", "content": f"{next(COUNT)}"}]}
    if kind == "container":
        body["container"] = {"skills": []}
    async with client.stream("POST", "/v1/messages", json={**body, "stream": stream}) as answer:
        text = (await answer.aread()).decode()
    assert answer.status_code == 200, text
    return named(kind, text)


def named(kind: str, text: str) -> dict[str, Any]:
    prefix = {"container": "container_sim", "thread": "msg_sim", "credit": "credit_sim"}[kind]
    found = prefix + text.partition(prefix)[2][:8]
    return {
        "container": {"container": found},
        "thread": {"thread": {"type": "continue", "previous_message_id": found}},
        "credit": {"fallback_credit_token": {"token": found, "mode": "strict"}},
    }[kind]


COUNT = itertools.count()


def last_used(relay: Running) -> str:
    return relay.sim.requests[-1].header("x-api-key")


async def send(client: httpx.AsyncClient, fields: dict[str, Any], **more: Any) -> httpx.Response:
    own = {"messages": [{"role": "user", "content": f"{next(COUNT)}"}]}
    return await client.post("/v1/messages", json={**BODY, **own, **fields, **more})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_answer_made_is_asked_of_its_account_again(
    three: Running, kind: str, stream: bool
):
    async with three.client() as client:
        for _ in range(3):
            fields = await made(three, client, kind, stream=stream)
            await three.settled()
            home = last_used(three)
            answer = await send(client, fields)
            assert answer.status_code == 200, answer.text
            assert last_used(three) == home


async def test_of_a_thousand_such_requests_none_wanders(three: Running):
    async with three.client(limits=httpx.Limits(max_connections=20)) as client:

        async def conversation(kind: str, count: int) -> None:
            fields = await made(three, client, kind)
            for _ in range(count):
                answer = await send(client, fields)
                if kind == "thread":
                    # Each answer can be continued once.
                    assert answer.status_code == 200, answer.text
                    fields = named(kind, answer.text)
                assert answer.status_code == 200, answer.text

        async with trio.open_nursery() as nursery:
            for kind, _ in itertools.product(("container", "thread", "file"), range(8)):
                nursery.start_soon(conversation, kind, 42)
    used = {request.header("x-api-key") for request in three.sim.requests}
    assert used == {UPSTREAM_KEY, *OTHER_KEYS}


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_never_sent_to_another_account_when_its_own_fails(three: Running, kind: str):
    async with three.client() as client:
        fields = await made(three, client, kind)
        home = last_used(three)
        three.sim.by_key[home] = LIMITED
        sent = len(three.sim.requests)
        failed = await send(client, fields)
        resting = await send(client, fields)
        used = {request.header("x-api-key") for request in list(three.sim.requests)[sent:]}
        other = await send(client, {})

    assert used == {home}
    assert other.status_code == 200
    if kind == "thread":
        for answer in (failed, resting):
            assert answer.status_code == 404
            assert answer.json()["error"]["details"] == {"error_code": "thread_not_found"}
        return
    assert failed.status_code == 429
    assert resting.status_code == 503
    assert 1 <= int(resting.headers["retry-after"]) <= 30
    assert "is at its limits, and no other has it" in resting.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["container", "thread", "file"])
async def test_what_another_key_was_given_is_not_found_and_nothing_is_sent(
    three: Running, kind: str
):
    _, other = await three.ctx.keys.create("bob")
    async with three.client() as client:
        fields = await made(three, client, kind)
    sent = len(three.sim.requests)
    async with three.client(headers={"x-api-key": other}) as client:
        refused = await send(client, fields)
        batch = {"requests": [{"custom_id": "a", "params": {**BODY, **fields}}]}
        in_batch = await client.post("/v1/messages/batches", json=batch)
    assert (refused.status_code, in_batch.status_code) == (404, 404)
    assert refused.json()["error"]["type"] == "not_found_error"
    assert in_batch.json()["error"]["message"].startswith("requests[0].params.")
    assert len(three.sim.requests) == sent


async def test_things_of_two_accounts_in_one_request_are_refused(three: Running):
    async with three.client() as client:
        file = await made(three, client, "file")
        container = await made(three, client, "container")
        while last_used(three) == three.sim.requests[0].header("x-api-key"):
            container = await made(three, client, "container")
        answer = await send(client, {**file, **container})
    assert answer.status_code == 400
    assert "lie in different accounts" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "gone", ["disabled", "removed", "another group", "another model"], ids=lambda gone: gone
)
async def test_a_container_whose_account_may_not_serve_is_served_by_no_other(
    three: Running, gone: str
):
    async with three.client() as client:
        fields = await made(three, client, "container")
        accounts = await three.ctx.accounts.list()
        name = dict(zip((UPSTREAM_KEY, *OTHER_KEYS), ("main", "more2", "more3"), strict=True))[
            last_used(three)
        ]
        assert name in {account.name for account in accounts}
        match gone:
            case "disabled":
                await three.ctx.accounts.set_enabled(name, enabled=False)
            case "removed":
                await three.ctx.accounts.remove(name)
            case "another group":
                key = (await three.ctx.keys.list())[0]
                await three.ctx.keys.edit(key.id, groups=("red",))
            case _:
                await three.ctx.accounts.edit(name, allowed_models=("claude-haiku-*",))
        sent = len(three.sim.requests)
        answer = await send(client, fields)
    assert len(three.sim.requests) == sent
    assert answer.status_code == (503 if gone in ("disabled", "another group") else 404)
    if answer.status_code == 503:
        assert answer.headers["retry-after"] == "60"


async def test_an_unknown_credit_is_the_upstreams_to_judge(three: Running):
    async with three.client() as client:
        answer = await send(client, {"fallback_credit_token": "made-up"})
    assert answer.status_code == 400
    assert "not of this workspace" in answer.text


async def test_a_model_that_its_account_may_not_serve_is_refused_by_its_place(three: Running):
    async with three.client() as client:
        fields = await made(three, client, "file")
        for account in await three.ctx.accounts.list():
            await three.ctx.accounts.edit(account.name, allowed_models=[BODY["model"]])
        count = len(three.sim.requests)
        answer = await client.post(
            "/v1/messages", json={**BODY, **fields, "fallbacks": [{"model": "claude-fable-5-2"}]}
        )
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("fallbacks[0].model: claude-fable-5-2 ")
    assert len(three.sim.requests) == count


async def test_a_batch_s_container_is_known_once_the_batch_is_booked(three: Running):
    tools = {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}
    async with three.client() as client:
        params = {**BODY, **tools}
        made_batch = await client.post(
            "/v1/messages/batches", json={"requests": [{"custom_id": "a", "params": params}]}
        )
        home = last_used(three)
        results = await client.get(f"/v1/messages/batches/{made_batch.json()['id']}/results")
        container = results.json()["result"]["message"]["container"]["id"]
        for _ in range(3):
            assert (await send(client, {"container": container})).status_code == 200
            assert last_used(three) == home


async def test_a_client_cannot_choose_the_workspace_of_an_accounts_credential(three: Running):
    async with three.client(headers={"anthropic-workspace-id": "another"}) as client:
        await send(client, {})
        await client.get("/v1/models")
    assert not any(request.header("anthropic-workspace-id") for request in three.sim.requests)


@pytest.mark.parametrize("kind", ["nothing", *KINDS])
async def test_a_request_costs_two_scripts_whatever_it_names(
    three: Running, monkeypatch: pytest.MonkeyPatch, kind: str
):
    async with three.client() as client:
        fields = {} if kind == "nothing" else await made(three, client, kind)
        await three.settled()
        called: list[str] = []
        tables = (three.ctx.store.leases, three.ctx.store.objects, three.ctx.store.accounts)
        database = tables[0]._db
        run, call = database.run, database.call

        async def noted_run(name: str, *args: Any, **options: Any) -> Any:
            called.append(name)
            return await run(name, *args, **options)

        async def noted_call(*command: Any, **options: Any) -> Any:
            if "object:" in str(command) or "homes:" in str(command[1:3]):
                called.append(str(command[0]))
            return await call(*command, **options)

        monkeypatch.setattr(database, "run", noted_run)
        monkeypatch.setattr(database, "call", noted_call)
        assert (await send(client, fields)).status_code == 200
    # Jobs and the heartbeat run beside it.
    ours = [name for name in called if name in ("admit", "settle", "move_on", "HGETALL", "HMGET")]
    assert ours == ["admit", "settle"]
