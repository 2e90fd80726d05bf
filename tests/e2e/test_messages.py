"""One request's way: what a client sees and what is on the books afterwards."""

import json

import pytest

from .conftest import BODY, UPSTREAM_KEY, Running


def usage_header(**figures: int) -> dict[str, str]:
    return {"anthropic-sim-usage": json.dumps(figures)}


@pytest.mark.parametrize("path", ["/api/v1/messages", "/v1/messages", "/claude/v1/messages",
                                  "/messages", "/api/messages"])  # fmt: skip
async def test_messages_are_answered_under_every_base_url(relay: Running, path: str):
    async with relay.client() as client:
        answer = await client.post(path, json=BODY)
    assert answer.status_code == 200
    assert answer.json()["type"] == "message"


async def test_the_query_is_kept_and_the_path_is_the_upstreams(relay: Running):
    async with relay.client() as client:
        await client.post("/api/v1/messages?beta=true", json=BODY)
    assert relay.sim.requests[-1].target == "/v1/messages?beta=true"


@pytest.mark.parametrize("header", ["x-api-key", "authorization", "both"])
async def test_the_key_comes_in_either_header_or_in_both(relay: Running, header: str):
    headers = {
        "x-api-key": {"x-api-key": relay.key},
        "authorization": {"authorization": f"Bearer {relay.key}"},
        "both": {"x-api-key": relay.key, "authorization": f"Bearer {relay.key}"},
    }[header]
    async with relay.client(headers=headers) as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 200


async def test_the_upstream_gets_the_accounts_credential_and_never_the_clients(relay: Running):
    extra = {
        "anthropic-beta": "one-2026,two-2027",
        "anthropic-new-thing": "yes",
        "x-stainless-lang": "python",
        "user-agent": "claude-cli/2.1.330 (external, cli)",
        "cookie": "session=1",
        "x-forwarded-for": "1.2.3.4",
        "x-claude-code-session-id": "abc",
    }
    async with relay.client() as client:
        await client.post("/api/v1/messages", json=BODY, headers=extra)
    sent = {name.decode().lower(): value.decode() for name, value in relay.sim.requests[-1].headers}
    assert sent["x-api-key"] == UPSTREAM_KEY
    assert sent["anthropic-beta"] == "one-2026,two-2027"
    assert sent["anthropic-new-thing"] == "yes"
    assert sent["x-stainless-lang"] == "python"
    assert sent["user-agent"] == "claude-cli/2.1.330 (external, cli)"
    assert not {"cookie", "x-forwarded-for", "x-claude-code-session-id", "authorization"} & set(
        sent
    )
    assert relay.key not in str(sent)


async def test_the_answers_headers_carry_our_id_and_not_the_upstreams_quota(relay: Running):
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    assert answer.headers["x-upstream-request-id"] != answer.headers["request-id"]
    assert not any(name.startswith("anthropic-ratelimit") for name in answer.headers)
    assert "anthropic-organization-id" in answer.headers
    assert "server" not in answer.headers


async def test_usage_of_a_whole_answer_is_booked_to_the_micro_dollar(relay: Running):
    figures = usage_header(input_tokens=1000, output_tokens=200, cache_read_input_tokens=50)
    async with relay.client() as client:
        await client.post("/api/v1/messages", json=BODY, headers=figures)
    (row,) = (await relay.report()).rows
    assert (row.key_name, row.model) == ("alice", "claude-opus-5")
    assert row.counters["input_tokens"] == 1000
    assert row.counters["output_tokens"] == 200
    assert row.counters["cost_micros"] == 1000 * 5 + 200 * 25 + 50 // 2


async def test_usage_of_a_stream_is_booked_and_counted_once(relay: Running):
    figures = usage_header(input_tokens=300, output_tokens=40)
    async with relay.client() as client:
        answer = await client.post(
            "/api/v1/messages", json={**BODY, "stream": True}, headers=figures
        )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "event: message_stop" in answer.text
    report = await relay.report()
    assert report.total["requests"] == 1
    assert report.total["cost_micros"] == 300 * 5 + 40 * 25
    assert report.total["estimated"] == 0


async def test_a_record_tells_what_was_asked_who_served_and_what_it_cost(relay: Running):
    headers = {**usage_header(input_tokens=10, output_tokens=1), "x-claude-code-session-id": "s1"}
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY, headers=headers)
    await relay.settled()
    record = json.loads((await relay.ctx.store.usage.records(1))[0])
    assert record["request_id"] == answer.headers["request-id"]
    assert (record["key_name"], record["session"], record["model"], record["dialect"]) == (
        "alice",
        "s1",
        "claude-opus-5",
        "anthropic",
    )
    (attempt,) = record["attempts"]
    assert attempt["account_name"] == "main"
    assert attempt["cost_micros"] == record["cost_micros"] == 75
    assert attempt["upstream_request_id"] == answer.headers["x-upstream-request-id"]


async def test_a_decision_tells_why_the_account_was_chosen(relay: Running):
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    await relay.settled()
    decision = await relay.ctx.store.usage.decision(answer.headers["request-id"])
    assert decision is not None
    assert json.loads(decision)["reason"] == "the only account that could serve"


async def test_counting_tokens_is_free_and_not_counted(relay: Running):
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages/count_tokens", json=BODY)
    assert answer.json()["input_tokens"] > 0
    assert (await relay.report()).total["requests"] == 0


async def test_a_packed_answer_passes_packed_and_is_booked(relay: Running):
    headers = {**usage_header(input_tokens=7, output_tokens=1), "accept-encoding": "gzip"}
    async with (
        relay.client() as client,
        client.stream("POST", "/api/v1/messages", json=BODY, headers=headers) as answer,
    ):
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert raw[:2] == b"\x1f\x8b"
    assert (await relay.report()).total["input_tokens"] == 7


async def test_a_stream_is_asked_for_unpacked(relay: Running):
    headers = {"accept-encoding": "gzip, br"}
    async with relay.client() as client:
        await client.post("/api/v1/messages", json={**BODY, "stream": True}, headers=headers)
    sent = dict(relay.sim.requests[-1].headers)
    assert {name.lower(): value for name, value in sent.items()}[b"accept-encoding"] == b"identity"


async def test_a_disabled_key_stops_at_its_next_request(relay: Running):
    async with relay.client() as client:
        assert (await client.post("/api/v1/messages", json=BODY)).status_code == 200
        await relay.ctx.keys.set_enabled("alice", enabled=False)
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 401
    assert answer.headers["x-should-retry"] == "false"
    assert "disabled" in answer.json()["error"]["message"]


async def test_a_key_that_was_deleted_is_invalid_at_once(relay: Running):
    async with relay.client() as client:
        assert (await client.post("/api/v1/messages", json=BODY)).status_code == 200
        await relay.ctx.keys.delete("alice")
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 401
    assert "Invalid API key" in answer.json()["error"]["message"]


async def test_a_new_key_works_although_it_was_tried_before_it_existed(relay: Running):
    async with relay.client() as client:
        _, text = await relay.ctx.keys.create("bob")
        answer = await client.post("/v1/messages", json=BODY, headers={"x-api-key": text})
    assert answer.status_code == 200


async def test_a_key_sees_and_uses_only_its_models(relay: Running):
    _, text = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])
    async with relay.client(headers={"x-api-key": text}) as client:
        listed = (await client.get("/api/v1/models?limit=1000")).json()
        refused = await client.post("/api/v1/messages", json=BODY)
        one = await client.get("/api/v1/models/claude-opus-5")
    assert listed["data"]
    assert all(model["id"].startswith("claude-haiku-") for model in listed["data"])
    assert refused.status_code == 400
    assert "claude-opus-5" in refused.json()["error"]["message"]
    assert one.status_code == 404


async def test_models_are_listed_as_the_upstream_has_them(relay: Running):
    async with relay.client() as client:
        answer = await client.get("/api/v1/models?limit=1000")
    assert relay.sim.requests[-1].target == "/v1/models?limit=1000"
    assert all("claude" in model["id"] for model in answer.json()["data"])


@pytest.mark.parametrize("path", ["/", "/api", "/api/hello", "/api/api/hello", "/claude",
                                  "/claude/api/hello"])  # fmt: skip
async def test_probes_are_answered_without_a_key(relay: Running, path: str):
    async with relay.client(headers={}) as client:
        answer = await client.head(path)
    assert answer.status_code == 200


async def test_health_and_readiness_tell_the_version(relay: Running):
    async with relay.client(headers={}) as client:
        for path in ("/health", "/ready"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.json() == {"status": "ok", "version": "0.1.0"}
