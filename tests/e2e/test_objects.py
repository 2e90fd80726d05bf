"""Batches and files: each belongs to a key and lives in an account."""

from .conftest import UPSTREAM_KEY, Running

BATCH = {
    "requests": [
        {
            "custom_id": "one",
            "params": {
                "model": "claude-opus-5",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "hi"}],
            },
        }
    ]
}


async def make_batch(relay: Running, key: str) -> str:
    async with relay.client(headers={"x-api-key": key}) as client:
        answer = await client.post("/api/v1/messages/batches", json=BATCH)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def test_a_batch_can_be_followed_by_the_key_that_made_it(relay: Running):
    batch_id = await make_batch(relay, relay.key)
    async with relay.client() as client:
        found = await client.get(f"/api/v1/messages/batches/{batch_id}")
        results = await client.get(f"/api/v1/messages/batches/{batch_id}/results")
    assert found.json()["id"] == batch_id
    assert results.status_code == 200
    assert "one" in results.text


async def test_another_keys_batch_is_not_found(relay: Running):
    batch_id = await make_batch(relay, relay.key)
    _, other = await relay.ctx.keys.create("bob")
    async with relay.client(headers={"x-api-key": other}) as client:
        for method, path in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
            answer = await client.request(method, f"/api/v1/messages/batches/{batch_id}{path}")
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "not_found_error"


async def test_a_list_shows_a_keys_own_batches_newest_first(relay: Running):
    made = [await make_batch(relay, relay.key) for _ in range(3)]
    _, other = await relay.ctx.keys.create("bob")
    await make_batch(relay, other)
    async with relay.client() as client:
        page = (await client.get("/api/v1/messages/batches?limit=2")).json()
        rest = (await client.get(f"/api/v1/messages/batches?after_id={page['last_id']}")).json()
    assert [batch["id"] for batch in page["data"]] == made[:0:-1]
    assert page["has_more"] is True
    assert [batch["id"] for batch in rest["data"]] == made[:1]
    assert rest["has_more"] is False


async def test_an_object_stays_with_the_account_that_made_it(relay: Running):
    batch_id = await make_batch(relay, relay.key)
    await relay.ctx.accounts.add("second", secret=UPSTREAM_KEY, base_url=relay.sim.base_url)
    await relay.ctx.accounts.set_enabled("main", enabled=False)
    async with relay.client() as client:
        answer = await client.get(f"/api/v1/messages/batches/{batch_id}")
    assert answer.status_code == 503


async def test_a_file_is_uploaded_read_and_deleted(relay: Running):
    content = bytes(range(256)) * 4096
    async with relay.client() as client:
        made = await client.post("/api/v1/files", files={"file": ("a.bin", content)})
        assert made.status_code == 200, made.text
        file_id = made.json()["id"]
        back = await client.get(f"/api/v1/files/{file_id}/content")
        listed = (await client.get("/api/v1/files")).json()
        gone = await client.delete(f"/api/v1/files/{file_id}")
        after = await client.get(f"/api/v1/files/{file_id}")
    assert back.content == content
    assert [one["id"] for one in listed["data"]] == [file_id]
    assert gone.status_code == 200
    assert after.status_code == 404


async def test_a_bad_page_size_is_named(relay: Running):
    async with relay.client() as client:
        answer = await client.get("/api/v1/files?limit=many")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("limit:")


async def test_the_list_of_a_disabled_key_is_refused(relay: Running):
    await relay.ctx.keys.set_enabled("alice", enabled=False)
    async with relay.client() as client:
        answer = await client.get("/api/v1/files")
    assert answer.status_code == 401


async def test_the_results_address_of_a_batch_is_the_relays_own(relay: Running):
    batch_id = await make_batch(relay, relay.key)
    async with relay.client(headers={**relay.headers, "x-forwarded-proto": "https"}) as client:
        one = (await client.get(f"/api/v1/messages/batches/{batch_id}")).json()
        listed = (await client.get("/v1/messages/batches")).json()["data"][0]
    host = relay.url.removeprefix("http://")
    path = f"/v1/messages/batches/{batch_id}/results"
    assert one["results_url"] == f"https://{host}/api{path}"
    assert listed["results_url"] == f"https://{host}{path}"
    async with relay.client() as client:
        results = await client.get(one["results_url"].replace("https", "http"))
    assert results.status_code == 200
