"""A request may name its key's own files only, and is answered by the account that has them."""

import json

import httpx
import pytest
import trio

from .conftest import BODY, OTHER_KEYS, SOON_S, UPSTREAM_KEY, Running

UNKNOWN = {"never made": "file_unknown", "of no form": "no/file", "empty": "", "odd": "file_\x00"}


def asking(file_id: str) -> dict[str, object]:
    block = {"type": "document", "source": {"type": "file", "file_id": file_id}}
    return {**BODY, "messages": [{"role": "user", "content": [block]}]}


async def upload(client: httpx.AsyncClient, **headers: str) -> str:
    made = await client.post("/v1/files", files={"file": ("a.txt", b"text")}, headers=headers)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def send(client: httpx.AsyncClient, kind: str, body: bytes) -> httpx.Response:
    if kind == "batch":
        request = b'{"custom_id": "a", "params": %s}' % body
        return await client.post("/v1/messages/batches", content=b'{"requests": [%s]}' % request)
    path = "/v1/messages/count_tokens" if kind == "count_tokens" else "/v1/messages"
    return await client.post(path, content=body)


@pytest.mark.parametrize("kind", ["messages", "count_tokens", "batch"])
@pytest.mark.parametrize("name", [b'"file_id"', rb'"file\u005fid"', rb'"\u0066ile_i\u0064"'])
async def test_another_keys_file_is_not_found_and_nothing_is_sent(
    relay: Running, kind: str, name: bytes
):
    _, other = await relay.ctx.keys.create("bob")
    async with relay.client() as client:
        own = await upload(client)
        foreign = await upload(client, **{"x-api-key": other})
        sent = len(relay.sim.requests)
        body = json.dumps(asking(foreign)).encode().replace(b'"file_id"', name)
        refused = await send(client, kind, body)
        assert len(relay.sim.requests) == sent
        allowed = await send(client, kind, body.replace(foreign.encode(), own.encode()))

    place = "requests[0].params." if kind == "batch" else ""
    message = refused.json()["error"]["message"]
    assert refused.status_code == 404
    assert message.startswith(f"{place}messages[0].content[0].source.file_id: ")
    assert foreign not in message
    assert allowed.status_code == 200, allowed.text


@pytest.mark.parametrize("file_id", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_file_that_the_relay_did_not_make_is_not_found(relay: Running, file_id: str):
    async with relay.client() as client:
        answer = await client.post("/v1/messages", content=json.dumps(asking(file_id)))
    assert answer.status_code == 404
    assert not relay.sim.requests


async def test_a_deleted_file_is_not_found(relay: Running):
    async with relay.client() as client:
        file_id = await upload(client)
        await client.delete(f"/v1/files/{file_id}")
        with trio.fail_after(SOON_S):
            while await relay.ctx.store.objects.read(file_id):  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await client.post("/v1/messages", json=asking(file_id))).status_code == 404


async def test_a_batch_is_no_file(relay: Running):
    async with relay.client() as client:
        made = await send(client, "batch", json.dumps(BODY).encode())
        assert (
            await client.post("/v1/messages", json=asking(made.json()["id"]))
        ).status_code == 404


async def test_a_request_goes_to_the_account_of_its_file(relay: Running):
    async with relay.client() as client:
        file_id = await upload(client)
        await relay.ctx.accounts.add("second", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
        for _ in range(4):
            assert (await client.post("/v1/messages", json=asking(file_id))).status_code == 200
    used = {request.header("x-api-key") for request in relay.sim.requests}
    assert used == {UPSTREAM_KEY}


async def test_a_keys_files_come_to_lie_in_one_account(relay: Running):
    await relay.add_accounts()
    async with relay.client() as client:
        made = [await upload(client) for _ in range(4)]
    homes = {(await relay.ctx.store.objects.read(file_id))["account"] for file_id in made}
    assert len(homes) == 1


async def test_files_of_two_accounts_are_refused_together(relay: Running):
    key = (await relay.ctx.keys.list())[0]
    for number, account in enumerate(("acc_1", "acc_2")):
        await relay.ctx.store.objects.remember(f"file_{number}", "file", key.id, account, 1)
    blocks = [{"type": "container_upload", "file_id": f"file_{number}"} for number in range(2)]
    async with relay.client() as client:
        body = {**BODY, "messages": [{"role": "user", "content": blocks}]}
        answer = await client.post("/v1/messages", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("messages[0].content[1].file_id: ")
