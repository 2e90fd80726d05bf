"""What every client of OpenAI's two APIs sees: the SDKs in two languages, and LangChain."""

import pytest

from .programs import EVERY_PROGRAM, Played, Told
from .relays import Relay, Upstream

# One process plays all scenarios of a client, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(params=EVERY_PROGRAM)
def told(request: pytest.FixtureRequest, played: Played) -> Told:
    return played(request.param)


def test_a_stream_comes_piece_by_piece_and_adds_up(told: Told):
    stream = told["stream"]
    # Some tell of the answer's begin and end by pieces without text.
    assert len([piece for piece in stream["pieces"] if piece]) == 4
    assert "".join(stream["pieces"]) == stream["final"] == "Simulated answer to: tell me"
    assert stream["output_tokens"] == 7


def test_a_tool_is_called_and_its_result_taken(told: Told):
    tools = told["tools"]
    assert (tools["name"], tools["arguments"]) == ("shout", {"text": "please use tool"})
    assert tools["text"] == "Simulated answer to: go on"


def test_an_image_reaches_claude(told: Told, upstream: Upstream):
    assert told["image"]["text"].startswith("Simulated answer to: what is this")
    (message,) = told.sent("what is this", upstream)["messages"]
    assert message["content"][1]["source"]["media_type"] == "image/png"


def test_an_answer_by_a_schema_is_parsed(told: Told, upstream: Upstream):
    assert told["parsed"] == {"city": {"name": "Bern", "inhabitants": 146000}}
    asked = told.sent("a city", upstream)
    assert set(asked["output_config"]["format"]["schema"]["required"]) == {"name", "inhabitants"}


def test_a_wrong_key_is_an_authentication_error(told: Told):
    error = told["wrong_key"]
    assert "AuthenticationError" in error["classes"]
    assert error["request_id"].startswith("req_")


def test_an_unknown_model_is_not_found(told: Told):
    error = told["unknown_model"]
    assert "NotFoundError" in error["classes"]
    assert "gpt-of-old" in error["message"]


def test_a_rate_limit_of_the_upstream_keeps_its_class(told: Told):
    error = told["rate_limited"]
    assert "RateLimitError" in error["classes"]
    assert "Slowly." in error["message"]


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


def test_several_at_one_time_are_answered_each(told: Told):
    assert told["at_once"]["texts"] == [f"Simulated answer to: no. {n}" for n in range(3)]
