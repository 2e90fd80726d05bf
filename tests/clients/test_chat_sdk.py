"""The openai SDK's Chat Completions through the relay.

chat_sdk.py acts out the scenarios and tells what the program saw; here it is judged.
"""

import pytest

from .conftest import Relay, Upstream
from .programs import Told, told_by

# One process plays all scenarios of a language, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module", params=["python", pytest.param("typescript", marks=pytest.mark.npm)]
)
def told(
    request: pytest.FixtureRequest, relay: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    return told_by("chat_sdk", request.param, relay, tmp_path_factory.mktemp("chat"))


def test_an_answer_comes_with_its_usage_and_is_booked_at_claudes_prices(told: Told, relay: Relay):
    answer = told["create"]
    assert (answer["text"], answer["finish"]) == ("Simulated answer to: hello", "stop")
    usage = answer["usage"]
    assert [usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")] == [
        1000, 200, 1200,
    ]  # fmt: skip
    assert usage["prompt_tokens_details"]["cached_tokens"] == 900
    (record,) = [
        one for one in relay.records(told.name) if one["request_id"] == answer["request_id"]
    ]
    assert record["cost_micros"] == 100 * 5 + 900 * 0.5 + 200 * 25


def test_a_stream_comes_piece_by_piece_and_adds_up(told: Told):
    stream = told["stream"]
    # The first chunk, which tells the role, has an empty text.
    assert len([piece for piece in stream["pieces"] if piece]) == 4
    assert "".join(stream["pieces"]) == stream["final"] == "Simulated answer to: tell me"
    assert stream["output_tokens"] == 7


def test_a_streams_chunks_are_of_one_answer_and_tell_its_usage_only_when_asked(told: Told):
    assert told["plain_stream"] == {"ids": 1, "first": "assistant", "last": "stop", "usage": []}


def test_what_was_thought_stands_beside_the_answer(told: Told):
    assert told["thinking"] == {"thought": "Let me see."}


def test_a_tool_is_called_and_its_result_taken(told: Told, upstream: Upstream):
    assert told["tools"] == {
        "finish": "tool_calls",
        "name": "shout",
        "arguments": {"text": "please use tool"},
        "text": "Simulated answer to: go on",
    }
    _, turn, result = told.sent("DONE", upstream)["messages"]
    assert result["content"][0]["tool_use_id"] == turn["content"][-1]["id"]


def test_an_image_reaches_claude(told: Told, upstream: Upstream):
    assert told["image"]["text"].startswith("Simulated answer to: what is this")
    (message,) = told.sent("what is this", upstream)["messages"]
    assert message["content"][1]["source"]["media_type"] == "image/png"


def test_an_answer_by_a_schema_is_parsed(told: Told, upstream: Upstream):
    assert told["parsed"] == {"city": {"name": "Bern", "inhabitants": 146000}}
    asked = told.sent("a city", upstream)
    assert set(asked["output_config"]["format"]["schema"]["required"]) == {"name", "inhabitants"}


def test_an_answer_cut_short_says_so(told: Told):
    assert told["cut_short"] == {"finish": "length", "text": "Simulated an"}


def test_several_at_one_time_are_answered_each(told: Told):
    assert told["at_once"]["texts"] == [f"Simulated answer to: no. {n}" for n in range(3)]


def test_the_models_are_listed_and_told_one_by_one(told: Told):
    assert told["models"]["one"] == "claude-opus-5"
    assert "claude-opus-5" in told["models"]["listed"]


def test_a_wrong_key_is_an_authentication_error(told: Told):
    error = told["wrong_key"]
    assert "AuthenticationError" in error["classes"]
    assert error["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("scenario", "param"),
    [("refused_field", "n"), ("refused_part", "messages[0].content[0].file.file_id")],
)
def test_what_claude_cannot_do_is_refused_by_the_fields_name(told: Told, scenario: str, param: str):
    error = told[scenario]
    assert "BadRequestError" in error["classes"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_an_unknown_model_is_not_found(told: Told):
    error = told["unknown_model"]
    assert "NotFoundError" in error["classes"]
    assert "gpt-of-old" in error["message"]


def test_a_rate_limit_of_the_upstream_keeps_its_class(told: Told):
    error = told["rate_limited"]
    assert "RateLimitError" in error["classes"]
    assert "Slowly." in error["message"]


def test_an_error_within_a_stream_is_raised(told: Told):
    error = told["error_event"]
    assert "APIError" in error["classes"]
    assert "Busy." in error["message"]


def test_a_cut_stream_is_no_answer(told: Told):
    assert told["cut_stream"].keys() == {"raised"}


def test_leaving_mid_stream_ends_the_upstreams_work_and_books_the_floor(
    told: Told, relay: Relay, upstream: Upstream
):
    upstream.wait_until_left(upstream.received(f"leave {told.key[-9:]}"))
    assert told["leaving"]["first"].startswith("Simulated answer")
    (record,) = relay.records(f"{told.name}-leaving")
    assert record["attempts"][0]["is_estimated"]
    assert 0 < record["attempts"][0]["tokens"]["output"] < 1000
