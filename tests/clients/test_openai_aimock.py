"""Every client of OpenAI's two APIs through the relay to an upstream that we did not write.

The programs are those of test_openai_clients.py; aimock answers them by the fixtures below.
"""

import functools

import pytest

from .aimock import CUT, fixture, saying
from .programs import EVERY_PROGRAM, Played, Told, told_by
from .relays import Relay

pytestmark = [pytest.mark.npm, pytest.mark.slow]

CALL = {"name": "shout", "arguments": {"text": "marzipan"}}
NO_SUCH_MODEL = {"type": "not_found_error", "message": "model: gpt-of-old"}
# The first that fits answers.
FIXTURES = [
    fixture("hello", {"error": NO_SUCH_MODEL, "status": 404}, {"model": "gpt-of-old"}),
    fixture("hello", saying("Hello from the fixture.")),
    fixture("tell me", saying("Piece by piece.", output_tokens=20), chunkSize=5),
    fixture(
        "please use tool",
        {"content": "I will.", "reasoning": "It is to be shouted.", "toolCalls": [CALL]},
    ),
    fixture("go on", saying("Shouted."), {"turnIndex": 1}),
    fixture("what is this", saying("A pixel.")),
    fixture("a city", saying('{"name": "Bern", "inhabitants": 146000}')),
    fixture("no. ", saying("One of three.")),
    # The question of the streams that break off.
    fixture("x", saying("Half of an answer."), **CUT),
]


@pytest.fixture(scope="module")
def played(before_aimock: Relay, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What a program sees before aimock, by its name; each is run once."""
    return functools.cache(lambda name: told_by(name, before_aimock, tmp_path_factory.mktemp(name)))


@pytest.fixture(params=EVERY_PROGRAM)
def told(request: pytest.FixtureRequest, played: Played) -> Told:
    return played(request.param)


def test_an_answer_is_booked_as_the_upstream_counted_it(told: Told, before_aimock: Relay):
    answer = told["create"]
    assert answer["text"] == "Hello from the fixture."
    (record,) = [
        one for one in before_aimock.records(told.name) if one["request_id"] == answer["request_id"]
    ]
    (attempt,) = record["attempts"]
    assert (attempt["tokens"]["input"], attempt["tokens"]["output"]) == (1000, 10)


def test_a_stream_comes_piece_by_piece_and_adds_up(told: Told):
    stream = told["stream"]
    assert len([piece for piece in stream["pieces"] if piece]) == 3
    assert "".join(stream["pieces"]) == stream["final"] == "Piece by piece."
    assert stream["output_tokens"] == 20


def test_a_tool_is_called_and_its_result_taken(told: Told):
    tools = told["tools"]
    assert (tools["name"], tools["arguments"]) == ("shout", {"text": "marzipan"})
    assert tools["text"] == "Shouted."


def test_an_image_is_answered(told: Told):
    assert told["image"]["text"] == "A pixel."


def test_an_answer_by_a_schema_is_parsed(told: Told):
    assert told["parsed"] == {"city": {"name": "Bern", "inhabitants": 146000}}


def test_several_at_one_time_are_answered_each(told: Told):
    assert told["at_once"]["texts"] == ["One of three."] * 3


def test_an_error_keeps_its_class_and_words(told: Told):
    error = told["unknown_model"]
    assert "NotFoundError" in error["classes"]
    assert "model: gpt-of-old" in error["message"]


def test_a_cut_stream_is_no_answer(told: Told, before_aimock: Relay):
    assert told["cut_stream"].keys() == {"raised"}
    errors = [record["error"] for record in before_aimock.records(told.name)]
    assert any(error.startswith("upstream_body_failed") for error in errors)
