"""Whatever a client sends wrong: the right status, a sentence, and nothing lost."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from relay.simulator import Fault

from .conftest import BODY, SOON_S, Running, relay_running

MIB = 1024 * 1024


async def raw(relay: Running, data: bytes) -> bytes:
    """What the relay answers to these bytes, up to the end of the connection."""
    port = urlsplit(relay.url).port
    assert port is not None
    with trio.fail_after(SOON_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(data)
            return b"".join([chunk async for chunk in stream])


def error_of(answer: bytes) -> tuple[int, dict]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def assert_envelope(body: dict, kind: str) -> None:
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["error"]["message"]
    assert body["request_id"].startswith("req_")


async def assert_nothing_was_lost(relay: Running) -> None:
    await relay.settled()
    assert not relay.sim.requests
    assert relay.ctx.bodies.held_bytes == 0
    async with relay.client() as client:
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({}, "No API key"),
        ({"x-api-key": ""}, "No API key"),
        ({"authorization": "Basic abc"}, "No API key"),
        ({"x-api-key": "sk-relay-wrong"}, "Invalid API key"),
        ({"authorization": "Bearer \x7f\xff"}, "Invalid API key"),
        ({"x-api-key": "a", "authorization": "Bearer b"}, "Two different API keys"),
    ],
)
async def test_a_key_that_does_not_do_is_a_401_that_is_not_retried(
    relay: Running, headers: dict[str, str], sentence: str
):
    raw_headers = {name: value.encode("latin-1") for name, value in headers.items()}
    async with relay.client(headers=raw_headers) as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 401
    assert answer.headers["x-should-retry"] == "false"
    assert_envelope(answer.json(), "authentication_error")
    assert sentence in answer.json()["error"]["message"]
    await assert_nothing_was_lost(relay)


FOREIGN = "sk-ant-api03-cached"


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        ("x-api-key", "authorization"),
        ("authorization", "x-api-key"),
        ("x-api-key", "x-api-key"),
        ("authorization", "authorization"),
    ],
)
async def test_a_credential_of_somebody_elses_beside_a_key_of_ours_does_not_count(
    relay: Running, names: tuple[str, str], ours_first: bool
):
    texts = (relay.key, FOREIGN) if ours_first else (FOREIGN, relay.key)
    scheme = {"x-api-key": "", "authorization": "Bearer "}
    headers = [(name, scheme[name] + text) for name, text in zip(names, texts, strict=True)]
    async with relay.client(headers=headers) as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 200
    (received,) = relay.sim.requests
    assert FOREIGN not in str(received.headers)


async def test_two_different_keys_of_ours_are_refused(relay: Running):
    _, second = await relay.ctx.keys.create("bob")
    headers = {"x-api-key": relay.key, "authorization": f"Bearer {second}"}
    async with relay.client(headers=headers) as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("Two different API keys in one request.")
    await assert_nothing_was_lost(relay)


async def test_more_credentials_than_any_client_sends_are_refused(relay: Running):
    headers = [("x-api-key", relay.key), *(("x-api-key", f"wrong {n}") for n in range(10))]
    async with relay.client(headers=headers) as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"not json", "JSON"),
        (b'{"max_tokens":1}', "model"),
        (b'{"model":"a","model":"b"}', "twice"),
        (b'{"model":"\xff"}', "JSON"),
        (b'{"model":5}', "model"),
    ],
)
async def test_a_body_that_cannot_be_read_one_way_only_is_a_400(
    relay: Running, body: bytes, word: str
):
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", content=body)
    assert answer.status_code == 400
    assert_envelope(answer.json(), "invalid_request_error")
    assert word in answer.json()["error"]["message"]
    await assert_nothing_was_lost(relay)


async def test_a_compressed_body_is_a_400(relay: Running):
    async with relay.client(headers={**relay.headers, "content-encoding": "gzip"}) as client:
        answer = await client.post("/api/v1/messages", content=b"x")
    assert answer.status_code == 400


async def test_a_body_that_is_said_to_be_too_large_is_refused_before_it_comes(relay: Running):
    head = (
        f"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {relay.key}\r\n"
        f"content-length: {33 * MIB}\r\n\r\n"
    )
    status, body = error_of(await raw(relay, head.encode()))
    assert status == 413
    assert_envelope(body, "request_too_large")
    await assert_nothing_was_lost(relay)


async def test_a_body_that_turns_out_too_large_is_refused(redis_url: str, tmp_path: Path):
    async def chunks():
        for _ in range(20):
            yield b"x" * 1024

    async with relay_running(redis_url, tmp_path, max_body_bytes=10 * 1024) as relay:
        async with relay.client() as client:
            answer = await client.post("/v1/messages", content=chunks())
        assert answer.status_code == 413
        assert relay.ctx.bodies.held_bytes == 0


async def test_more_bodies_than_fit_are_a_529(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, max_bodies_bytes=100) as relay:
        async with relay.client() as client:
            answer = await client.post("/v1/messages", json=BODY | {"x": "y" * 200})
        assert answer.status_code == 529
        assert_envelope(answer.json(), "overloaded_error")
        assert relay.ctx.bodies.held_bytes == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/messages", "POST"),
        ("DELETE", "/api/v1/models", "GET"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/v1/files", "POST, GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    relay: Running, method: str, path: str, allowed: str
):
    async with relay.client() as client:
        answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert_envelope(answer.json(), "invalid_request_error")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/api/v2/messages", "/v1/messages%2fbatches", "/v1/v2/messages", "/v1/v1",
     "/v1/models/..%2f..", "/v1/files/../../x", "/api/claude/v1/messages", "/v1/complete"],
)  # fmt: skip
async def test_an_unknown_path_is_a_404_in_json(relay: Running, path: str):
    request = f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    status, body = error_of(await raw(relay, request.encode()))
    assert status == 404
    assert_envelope(body, "not_found_error")


async def test_a_header_bomb_is_refused_with_a_sentence(relay: Running):
    bomb = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"
    status, body = error_of(await raw(relay, bomb))
    assert status == 431
    assert_envelope(body, "request_too_large")


async def test_garbage_instead_of_http_is_a_400(relay: Running):
    status, body = error_of(await raw(relay, b"\x16\x03\x01\x02\x00garbage\r\n\r\n"))
    assert status == 400
    assert_envelope(body, "invalid_request_error")


async def test_two_lengths_that_differ_are_a_400(relay: Running):
    head = (
        b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
    )
    assert error_of(await raw(relay, head))[0] == 400


async def test_http_1_0_is_served(relay: Running):
    body = json.dumps(BODY).encode()
    head = f"POST /v1/messages HTTP/1.0\r\nx-api-key: {relay.key}\r\ncontent-length: {len(body)}"
    answer = await raw(relay, head.encode() + b"\r\n\r\n" + body)
    assert answer.split(b"\r\n")[0].startswith(b"HTTP/1.1 200")
    assert b'"type": "message"' in answer or b'"type":"message"' in answer


async def test_a_body_that_does_not_come_is_a_408(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, body_timeout_s=0.1) as relay:
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key: {relay.key}\r\ncontent-length: 9"
        )
        status, body = error_of(await raw(relay, head.encode() + b"\r\n\r\nabc"))
        assert status == 408
        assert_envelope(body, "timeout_error")
        await relay.settled()


async def test_an_account_with_a_wrong_secret_is_a_503_and_never_a_401(relay: Running):
    await relay.ctx.accounts.remove("main")
    await relay.ctx.accounts.add("wrong", secret="nonsense", base_url=relay.sim.base_url)
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 503
    assert_envelope(answer.json(), "api_error")
    assert "wrong" not in answer.text
    report = await relay.report()
    assert (report.total["cost_micros"], report.total["errors"]) == (0, 1)


async def test_an_account_that_cannot_be_reached_is_a_502(relay: Running):
    await relay.ctx.accounts.remove("main")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    await relay.ctx.accounts.add("far", secret="s", base_url=f"http://127.0.0.1:{port}")
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 502
    assert "Nothing was sent" in answer.json()["error"]["message"]
    assert (await relay.report()).total["cost_micros"] == 0


async def test_without_an_account_the_answer_says_how_to_add_one(relay: Running):
    await relay.ctx.accounts.remove("main")
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 503
    assert "relay account add" in answer.json()["error"]["message"]


async def test_browsers_are_let_in_only_from_origins_that_are_named(redis_url: str, tmp_path: Path):
    origin = "https://app.example.com"
    async with relay_running(redis_url, tmp_path, cors_origins=(origin,)) as relay:
        async with relay.client(headers={}) as client:
            named = await client.options("/api/v1/messages", headers={"origin": origin})
            other = await client.options("/api/v1/messages", headers={"origin": "https://evil"})
        assert named.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in other.headers


async def test_no_answer_and_no_log_line_shows_a_key(
    relay: Running, caplog: pytest.LogCaptureFixture
):
    canary = "sk-relay-canary-0123456789"
    async with relay.client(headers={"x-api-key": canary}) as client:
        answer = await client.post(f"/api/v1/messages?x={canary}", json=BODY)
    async with relay.client() as client:
        await client.post("/api/v1/messages", json=BODY)
    assert canary not in answer.text
    assert canary not in caplog.text
    assert relay.key not in caplog.text


async def test_an_upstream_that_redirects_is_a_502_and_not_followed(relay: Running):
    relay.sim.script.append(Fault(status=307, headers={"location": "https://elsewhere/"}))
    async with relay.client() as client:
        answer = await client.post("/api/v1/messages", json=BODY)
    assert answer.status_code == 502
    assert "location" not in answer.headers


async def test_names_of_models_that_nobody_serves_do_not_fill_the_counters(relay: Running):
    async with relay.client() as client:
        for number in range(3):
            answer = await client.post("/v1/messages", json={**BODY, "model": f"invented-{number}"})
            assert answer.status_code == 404
    (row,) = (await relay.report()).rows
    assert (row.model, row.counters["requests"], row.counters["errors"]) == ("unknown", 3, 3)
