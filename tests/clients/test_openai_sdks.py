"""The openai SDKs through the relay: the Responses API and Chat Completions, in two languages.

responses_sdk and chat_sdk act out the scenarios and tell what the program saw; here is judged what
test_openai_clients.py does not judge for every client.
"""

import pytest

from .programs import Played, Told
from .relays import Relay, Upstream

# One process plays all scenarios of a language, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(params=["python", pytest.param("typescript", marks=pytest.mark.npm)])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def responses(played: Played, language: str) -> Told:
    return played(f"responses-{language}")


@pytest.fixture
def chat(played: Played, language: str) -> Told:
    return played(f"chat-{language}")


@pytest.fixture(params=["responses", "chat"])
def told(request: pytest.FixtureRequest, played: Played, language: str) -> Told:
    return played(f"{request.param}-{language}")


def test_an_error_within_a_stream_is_raised(told: Told):
    error = told["error_event"]
    assert "APIError" in error["classes"]
    assert "Busy." in error["message"]


def test_as_a_response_an_answer_comes_with_its_usage_and_is_booked_at_claudes_prices(
    responses: Told, relay: Relay
):
    answer = responses["create"]
    assert (answer["text"], answer["status"]) == ("Simulated answer to: hello", "completed")
    usage = answer["usage"]
    assert [usage[f"{name}_tokens"] for name in ("input", "output", "total")] == [1000, 200, 1200]
    assert usage["input_tokens_details"]["cached_tokens"] == 900
    (record,) = [
        one for one in relay.records(responses.name) if one["request_id"] == answer["request_id"]
    ]  # fmt: skip
    assert record["cost_micros"] == 100 * 5 + 900 * 0.5 + 200 * 25


def test_as_a_response_a_stream_begins_and_ends_with_the_response(responses: Told):
    types = responses["stream"]["types"]
    assert (types[0], types[-1]) == ("response.created", "response.completed")


def test_as_a_response_a_streams_events_are_numbered(responses: Told):
    numbers = responses["plain_stream"]["numbers"]
    assert numbers == list(range(len(numbers)))


def test_as_a_response_thinking_is_a_reasoning_item_with_its_summary(responses: Told):
    assert responses["thinking"] == {"kinds": ["reasoning", "message"], "summary": ["Let me see."]}


def test_as_a_response_a_call_comes_after_what_was_thought_and_said(responses: Told):
    assert responses["tools"]["kinds"] == ["reasoning", "message", "function_call"]


def test_as_a_response_claude_gets_its_thinking_back_with_the_tools_result(
    responses: Told, upstream: Upstream
):
    _, turn, result = responses.sent("DONE", upstream)["messages"]
    assert [block["type"] for block in turn["content"]] == ["thinking", "text", "tool_use"]
    assert turn["content"][0]["signature"]
    assert result["content"][0]["tool_use_id"] == turn["content"][2]["id"]


def test_as_a_response_an_answer_cut_short_is_incomplete(responses: Told):
    assert responses["cut_short"] == {
        "status": "incomplete", "reason": "max_output_tokens", "text": "Simulated an",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "param"),
    [
        ("refused_field", "previous_response_id"),
        ("refused_item", "input[0].content[0].file_id"),
    ],
)
def test_as_a_response_what_claude_cannot_do_is_refused_by_the_fields_name(
    responses: Told, scenario: str, param: str
):
    error = responses[scenario]
    assert "BadRequestError" in error["classes"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


def test_in_a_chat_an_answer_comes_with_its_usage_and_is_booked_at_claudes_prices(
    chat: Told, relay: Relay
):
    answer = chat["create"]
    assert (answer["text"], answer["finish"]) == ("Simulated answer to: hello", "stop")
    usage = answer["usage"]
    assert [usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")] == [
        1000, 200, 1200,
    ]  # fmt: skip
    assert usage["prompt_tokens_details"]["cached_tokens"] == 900
    (record,) = [
        one for one in relay.records(chat.name) if one["request_id"] == answer["request_id"]
    ]
    assert record["cost_micros"] == 100 * 5 + 900 * 0.5 + 200 * 25


def test_in_a_chat_chunks_are_of_one_answer_and_tell_its_usage_only_when_asked(
    chat: Told,
):
    assert chat["plain_stream"] == {"ids": 1, "first": "assistant", "last": "stop", "usage": []}


def test_in_a_chat_what_was_thought_stands_beside_the_answer(chat: Told):
    assert chat["thinking"] == {"thought": "Let me see."}


def test_in_a_chat_an_answer_ends_with_its_calls_and_a_result_names_its_call(
    chat: Told, upstream: Upstream
):
    assert chat["tools"]["finish"] == "tool_calls"
    _, turn, result = chat.sent("DONE", upstream)["messages"]
    assert result["content"][0]["tool_use_id"] == turn["content"][-1]["id"]


def test_in_a_chat_an_answer_cut_short_says_so(chat: Told):
    assert chat["cut_short"] == {"finish": "length", "text": "Simulated an"}


def test_in_a_chat_the_models_are_listed_and_told_one_by_one(chat: Told):
    assert chat["models"]["one"] == "claude-opus-5"
    assert "claude-opus-5" in chat["models"]["listed"]


@pytest.mark.parametrize(
    ("scenario", "param"),
    [("refused_field", "n"), ("refused_part", "messages[0].content[0].file.file_id")],
)
def test_in_a_chat_what_claude_cannot_do_is_refused_by_the_fields_name(
    chat: Told, scenario: str, param: str
):
    error = chat[scenario]
    assert "BadRequestError" in error["classes"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
