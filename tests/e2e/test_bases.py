"""The base addresses that people type, through a whole relay."""

import json

import pytest
import trio

from .conftest import BODY, SOON_S, Running

CHAT = {"model": "claude-opus-5", "messages": [{"role": "user", "content": "hello"}]}
RESPONSE = {"model": "claude-opus-5", "input": "hello"}
ANTHROPICS = ["", "/", "/v1", "/v1/", "/api", "/api/", "/api/v1", "/api/v1/v1", "/v1/v1",
              "/claude/v1", "//api//v1/"]  # fmt: skip
OPENAIS = ["", "/v1", "/v1/", "/api/v1", "/openai/v1", "/openai/claude/v1", "/openai/claude/v1/",
           "/openai/claude/v1/v1", "/openai", "/openai/claude", "//openai//claude/v1",
           "/api/openai/v1", "/claude/v1"]  # fmt: skip


async def test_messages_are_served_under_every_base(relay: Running):
    async with relay.client() as client:
        for base in ANTHROPICS:
            for end in ("", "/"):
                answer = await client.post(f"{relay.url}{base}/messages{end}", json=BODY)
                assert answer.status_code == 200, (base, end)
                assert relay.sim.requests[-1].target == "/v1/messages"


async def test_what_lies_below_messages_is_served_under_every_base(relay: Running):
    async with relay.client() as client:
        for base in ANTHROPICS:
            await client.post(f"{relay.url}{base}/messages/count_tokens/", json=BODY)
            assert relay.sim.requests[-1].target == "/v1/messages/count_tokens", base


async def test_openais_apis_are_served_under_every_base(relay: Running):
    async with relay.client() as client:
        for base in OPENAIS:
            chat = await client.post(f"{relay.url}{base}/chat/completions", json=CHAT)
            assert chat.json()["object"] == "chat.completion", base
            response = await client.post(f"{relay.url}{base}/responses//", json=RESPONSE)
            assert response.json()["object"] == "response", base


async def test_models_under_a_base_of_openais_are_told_in_its_words(relay: Running):
    async with relay.client() as client:
        for base in ("/openai/v1", "/openai/claude/v1/v1", "/openai"):
            assert (await client.get(f"{base}/models/")).json()["object"] == "list", base
        claudes = await client.get("/api/v1/v1//models/")
    assert "has_more" in claudes.json()


@pytest.mark.parametrize(
    "path",
    ["/openai/claude/v1/embeddings", "/v1/embeddings", "/api/v1/completions", "/openai",
     "/openai/x", "/v1/chat/completions/chat/completions", "/openai/claude/v1/messages",
     "/v1/audio/speech"],
)  # fmt: skip
async def test_what_is_served_nowhere_is_told_in_openais_words_with_its_base(
    relay: Running, path: str
):
    async with relay.client() as client:
        answer = await client.post(path, json=CHAT)
    error = answer.json()["error"]
    assert (answer.status_code, error.keys()) == (404, {"message", "type", "param", "code"})
    assert f" {relay.url}/openai/claude/v1;" in error["message"]


@pytest.mark.parametrize("path", ["/api", "/v1/complete", "/api/v1/messages/v1/messages", "/x"])
async def test_what_is_served_nowhere_is_told_in_anthropics_words_with_its_base(
    relay: Running, path: str
):
    async with relay.client() as client:
        answer = await client.post(path, json=BODY)
    told = answer.json()
    assert (answer.status_code, told["type"]) == (404, "error")
    assert f" {relay.url}/api;" in told["error"]["message"]


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse", "/api/v1beta/models",
     "/v1/models/gemini-3-pro:generateContent"],
)  # fmt: skip
async def test_geminis_api_is_told_in_its_words_that_there_is_none(relay: Running, path: str):
    async with relay.client() as client:
        answer = await client.post(path, json={})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
    assert "gemini-cli cannot use it" in error["message"]


async def test_an_error_below_a_plain_base_is_told_in_openais_words(relay: Running):
    async with relay.client(headers={"authorization": "Bearer wrong"}) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("host", ['"><script>', "a" * 300, "a b", ""])
async def test_a_host_that_is_none_is_not_repeated(relay: Running, host: str):
    async with relay.client(headers={"host": host}) as client:
        answer = await client.post("/x", json=BODY)
    if answer.status_code == 404:
        assert f"//{host}" not in answer.json()["error"]["message"] or not host


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/openai/claude/v1/", "/v1/api/hello"])
async def test_a_probe_of_every_base_is_answered(relay: Running, path: str):
    async with relay.client() as client:
        assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("form", ["http://relay.example{}", "HTTP://u:p@relay.example:80{}", "{}"])
@pytest.mark.parametrize("target", ["/api/v1/messages", "/api/v1/messages?beta=true"])
async def test_a_target_with_a_whole_address_is_served(relay: Running, form: str, target: str):
    body = json.dumps(BODY).encode()
    head = [f"POST {form.format(target)} HTTP/1.1", "host: other", f"x-api-key: {relay.key}",
            f"content-length: {len(body)}", "connection: close", "", ""]  # fmt: skip
    stream = await trio.open_tcp_stream("127.0.0.1", int(relay.url.rpartition(":")[2]))
    async with stream:
        await stream.send_all("\r\n".join(head).encode() + body)
        answer = b""
        with trio.fail_after(SOON_S):
            while part := await stream.receive_some():
                answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert relay.sim.requests[-1].target == target.removeprefix("/api")


async def test_the_host_of_a_whole_address_counts(relay: Running):
    head = ["GET http://relay.example:81/nothing HTTP/1.1", "host: other", "connection: close"]
    stream = await trio.open_tcp_stream("127.0.0.1", int(relay.url.rpartition(":")[2]))
    async with stream:
        await stream.send_all("\r\n".join([*head, "", ""]).encode())
        answer = b""
        with trio.fail_after(SOON_S):
            while part := await stream.receive_some():
                answer += part
    assert b"http://relay.example:81/api" in answer
