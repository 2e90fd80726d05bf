"""Claude's errors by the codes that OpenAI's clients recover by."""

import json

import pytest

from relay.dialects.openai import failures
from relay.dialects.openai.asked import Choices
from relay.dialects.responses import Responses

INVALID = "invalid_request_error"
LONG = "prompt is too long: 210000 tokens > 200000 maximum"
TABLE = [
    (INVALID, LONG, "context_length_exceeded"),
    (INVALID, "Prompt is too long", "context_length_exceeded"),
    (INVALID, "Input is too long.", "context_length_exceeded"),
    (INVALID, "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000,"
     " decrease input length or `max_tokens` and try again", "context_length_exceeded"),
    ("request_too_large", "Prompt is too long", "context_length_exceeded"),
    ("request_too_large", "Request exceeds the maximum size", None),
    (INVALID, "messages.0.content: prompt is too long", None),
    (INVALID, "No tool called 'prompt is too long'.", None),
    ("api_error", LONG, None),
    ("rate_limit_error", "Slow down.", "rate_limit_exceeded"),
    ("billing_error", 'Key "a" reached its budget.', "insufficient_quota"),
    ("authentication_error", "Invalid API key.", "invalid_api_key"),
    ("overloaded_error", "Busy.", "server_is_overloaded"),
    ("not_found_error", "model: claude-of-old", "model_not_found"),
    ("not_found_error", "There is nothing at this path.", None),
    (INVALID, "model: claude-x is not among the models that this key may use.", "model_not_found"),
    (INVALID, "model: a model's name has 1 to 256 printable characters.", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "code"), TABLE)
def test_an_error_has_the_code_that_clients_recover_by(kind: str, message: str, code: str | None):
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    status, media_type, told = failures.in_openais_words(400, body)
    error = json.loads(told)["error"]
    assert (status, media_type) == (400, b"application/json")
    assert (error["code"], error["message"]) == (code, message)


def asked(*, stream: bool) -> Responses:
    dialect = Responses("req_1", Choices())
    fields = {"model": "claude-opus-5-5", "input": "hello", "stream": stream}
    dialect.read((), json.dumps(fields).encode())
    return dialect


def refusal(kind: str = INVALID, message: str = LONG) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def test_a_streamed_response_that_is_too_long_fails_by_an_event():
    status, media_type, body = asked(stream=True).refusal(400, refusal())
    frames = [json.loads(line[6:]) for line in body.decode().split("\n") if line[:6] == "data: "]
    assert (status, media_type.split(b";")[0]) == (200, b"text/event-stream")
    assert [frame["type"] for frame in frames] == [
        "response.created", "response.in_progress", "response.failed", "error",
    ]  # fmt: skip
    error = frames[2]["response"]["error"]
    assert frames[2]["response"]["status"] == "failed"
    assert error["code"] == "context_length_exceeded"
    # LangChain knows it by these words where it sees no code.
    assert error["message"] == f"Your input exceeds the context window of this model. {LONG}"


@pytest.mark.parametrize(
    ("stream", "body"),
    [(False, refusal()), (True, refusal(message="No.")), (True, refusal("rate_limit_error"))],
)
def test_every_other_error_keeps_its_status(stream: bool, body: bytes):
    status, media_type, _ = asked(stream=stream).refusal(429, body)
    assert (status, media_type) == (429, b"application/json")


def test_an_error_before_the_request_was_read_is_told_as_all_are():
    status, media_type, _ = Responses("req_1", Choices()).refusal(400, refusal())
    assert (status, media_type) == (400, b"application/json")
