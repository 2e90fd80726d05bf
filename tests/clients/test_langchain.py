"""LangChain's ChatOpenAI through the relay, on Chat Completions and on the Responses API.

langchain_program acts out the scenarios; test_openai_clients.py judges what is as with any client.
"""

import sys
from pathlib import Path

import pytest

from .documented import documented
from .installed import run
from .programs import LANGCHAIN, Played, Told
from .relays import Relay, Upstream

# One process plays all scenarios, which takes seconds.
pytestmark = pytest.mark.slow


@pytest.fixture(params=["chat", "responses"])
def told(request: pytest.FixtureRequest, played: Played) -> Told:
    return played(f"langchain-{request.param}")


def test_an_answer_comes_with_its_usage_and_is_booked_at_claudes_prices(told: Told, relay: Relay):
    answer = told["create"]
    assert (answer["text"], answer["model"]) == ("Simulated answer to: hello", "claude-opus-5")
    usage = answer["usage"]
    assert [usage[f"{name}_tokens"] for name in ("input", "output", "total")] == [1000, 200, 1200]
    assert usage["input_token_details"]["cache_read"] == 900
    (record,) = [
        one for one in relay.records(told.name) if one["request_id"] == answer["request_id"]
    ]
    assert record["cost_micros"] == 100 * 5 + 900 * 0.5 + 200 * 25


def test_a_tools_result_names_its_call(told: Told, upstream: Upstream):
    _, turn, result = told.sent("PLEASE USE TOOL", upstream)["messages"]
    assert result["content"][0]["tool_use_id"] == turn["content"][-1]["id"]


def test_as_a_response_claude_gets_its_thinking_back_with_the_tools_result(
    played: Played, upstream: Upstream
):
    _, turn, _ = played("langchain-responses").sent("PLEASE USE TOOL", upstream)["messages"]
    assert [block["type"] for block in turn["content"]] == ["thinking", "text", "tool_use"]
    assert turn["content"][0]["signature"]


def test_the_pieces_of_a_call_add_up(told: Told):
    assert told["streamed_tools"] == {"name": "shout", "arguments": {"text": "anything at all"}}


def test_an_error_within_a_stream_is_raised(told: Told):
    assert "Busy." in told["error_event"]["raised"]


def test_the_documented_lines_connect(relay: Relay, tmp_path: Path):
    lines = documented("openai-chat.md", "python", "ChatOpenAI", relay)
    lines = lines.replace("sk-relay-...", relay.key("langchain-reader"))
    program = f"{lines}\nprint(model.invoke('hello').text)"
    done = run([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(LANGCHAIN))
    assert done.stdout == "Simulated answer to: hello\n", done.stderr
